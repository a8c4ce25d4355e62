/**
 * Where a model lies that a person names: a path, or the id of a model that is in the cache. No network; and no imports
 * of Node's modules, which bundlers for browsers would follow.
 */
import { MinkeError } from '@minke/core';
import { HubError } from './hub-error.ts';
import { cacheName, type HubId, isCommit, isHubId, parseHubId } from './hub-id.ts';
import { type HubSettings, hubCache } from './settings.ts';

/**
 * What `from` names: itself where it is there or cannot be an id (so that whoever reads it says what is wrong), else
 * the snapshot of the model `owner/name` or `owner/name@revision` in the cache. A path goes before a model of the
 * same name. A folder whose weights are one GGUF file, whole or split, stands for that file.
 *
 * @throws HubError `not-cached` for an id of a model that was not fetched; MinkeError `invalid-argument` for a folder
 *   of several GGUF models
 * @example
 * resolveModelPath('deepseek-ai/DeepSeek-V2-Lite'); // '/home/me/.cache/huggingface/hub/models--deepseek-ai--.../snapshots/...'
 */
export function resolveModelPath(from: string, settings: HubSettings = {}): string {
  const { statSync } = process.getBuiltinModule('node:fs');
  const found = statSync(from, { throwIfNoEntry: false });
  if (found !== undefined || !isHubId(from)) return found?.isDirectory() ? ggufIn(from) : from;
  const cache = hubCache(settings);
  const folder = cachedSnapshot(cache, parseHubId(from));
  if (folder !== undefined) return ggufIn(folder);
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

/** Parts of a split GGUF file but its first. */
const laterPart = /-(?!00001)\d{5}-of-\d{5}\.gguf$/;

/** The one GGUF file of a folder without safetensors, in it or in a folder of it; the folder itself where there is none. */
function ggufIn(folder: string): string {
  const { readdirSync } = process.getBuiltinModule('node:fs');
  const { join } = process.getBuiltinModule('node:path');
  const list = (at: string) => {
    try {
      return readdirSync(at, { withFileTypes: true });
    } catch {
      return []; // Whoever reads it says why it cannot be read.
    }
  };
  const entries = list(folder);
  if (entries.some(({ name }) => name.endsWith('.safetensors'))) return folder;
  const below = entries.flatMap((entry) =>
    entry.isDirectory() ? list(join(folder, entry.name)).map(({ name }) => join(entry.name, name)) : [],
  );
  const files = [...entries.map(({ name }) => name), ...below].filter(
    (name) => name.endsWith('.gguf') && !laterPart.test(name),
  );
  if (files.length <= 1) return files[0] === undefined ? folder : join(folder, files[0]);
  throw new MinkeError(
    'invalid-argument',
    `expected one model in ${folder}, got ${files.length} GGUF files; name one of them: ${files
      .slice(0, 8)
      .map((name) => join(folder, name))
      .join(', ')}${files.length > 8 ? ', ...' : ''}`,
  );
}
