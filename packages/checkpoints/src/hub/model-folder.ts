/**
 * The folder of a model that a person names: a folder, or the id of a model that is in the cache. No network.
 */
import { statSync } from 'node:fs';
import { cachedSnapshot } from './cache.ts';
import { HubError } from './hub-error.ts';
import { isHubId, parseHubId } from './hub-id.ts';
import { type HubSettings, hubCache } from './settings.ts';

/**
 * What `from` names: itself where it is there or cannot be an id (so that whoever reads it says what is wrong), else
 * the snapshot of the model `owner/name` or `owner/name@revision` in the cache. A folder goes before a model of the
 * same name.
 *
 * @throws HubError `not-cached` for an id of a model that was not fetched
 * @example
 * resolveModelFolder('deepseek-ai/DeepSeek-V2-Lite'); // '/home/me/.cache/huggingface/hub/models--deepseek-ai--.../snapshots/...'
 */
export function resolveModelFolder(from: string, settings: HubSettings = {}): string {
  if (statSync(from, { throwIfNoEntry: false }) !== undefined || !isHubId(from)) return from;
  const cache = hubCache(settings);
  const folder = cachedSnapshot(cache, parseHubId(from));
  if (folder !== undefined) return folder;
  throw new HubError(
    'not-cached',
    `expected a model folder, or a model in the cache, but there is no folder ${from}, and ${cache} has no such model; fetch it with: minke pull ${from}`,
  );
}
