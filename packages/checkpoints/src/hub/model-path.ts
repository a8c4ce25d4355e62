/**
 * Where a model lies that a person names: a path, or the id of a model that is in the cache. No network; and no imports
 * of Node's modules, which bundlers for browsers would follow.
 */
import { HubError } from './hub-error.ts';
import { cacheName, type HubId, isCommit, isHubId, parseHubId } from './hub-id.ts';
import { type HubSettings, hubCache } from './settings.ts';

/**
 * What `from` names: itself where it is there or cannot be an id (so that whoever reads it says what is wrong), else
 * the snapshot of the model `owner/name` or `owner/name@revision` in the cache. A path goes before a model of the
 * same name.
 *
 * @throws HubError `not-cached` for an id of a model that was not fetched
 * @example
 * resolveModelPath('deepseek-ai/DeepSeek-V2-Lite'); // '/home/me/.cache/huggingface/hub/models--deepseek-ai--.../snapshots/...'
 */
export function resolveModelPath(from: string, settings: HubSettings = {}): string {
  if (!isHubId(from)) return from;
  const { statSync } = process.getBuiltinModule('node:fs');
  if (statSync(from, { throwIfNoEntry: false }) !== undefined) return from;
  const cache = hubCache(settings);
  const folder = cachedSnapshot(cache, parseHubId(from));
  if (folder !== undefined) return folder;
  throw new HubError(
    'not-cached',
    `expected a model folder, or a model in the cache, but there is no folder ${from}, and ${cache} has no such model; fetch it with: minke pull ${from}`,
  );
}

/**
 * The snapshot folder of a model in the cache; undefined where it was not fetched.
 *
 * @param cache the cache's folder
 */
export function cachedSnapshot(cache: string, { id, revision }: HubId): string | undefined {
  const { readFileSync, statSync } = process.getBuiltinModule('node:fs');
  const { join, resolve } = process.getBuiltinModule('node:path');
  const model = join(resolve(cache), cacheName(id));
  let commit = revision;
  if (!isCommit(revision))
    try {
      commit = readFileSync(join(model, 'refs', ...revision.split('/')), 'utf8').trim();
    } catch {
      return undefined;
    }
  if (!isCommit(commit)) return undefined;
  const folder = join(model, 'snapshots', commit);
  return statSync(folder, { throwIfNoEntry: false })?.isDirectory() ? folder : undefined;
}
