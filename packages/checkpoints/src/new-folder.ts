/**
 * A folder that is whole or not there: filled under a temporary name beside its place, then renamed. Node only.
 */
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { MinkeError } from '@minke/core';
import { syncFolder } from './writer.ts';

/**
 * Makes the folder `path` of what `fill` writes into the folder it is given. Where `fill` fails nothing is left; a
 * killed process can leave a hidden folder `.<name>.<token>.tmp`.
 *
 * @throws MinkeError 'invalid-argument' if there is something at `path` already, an empty folder apart; what `fill` throws.
 * @example
 * await newFolder('out', (folder) => writeFile(join(folder, 'config.json'), text));
 */
export async function newFolder<T>(path: string, fill: (folder: string) => Promise<T>): Promise<T> {
  const target = resolve(path);
  await expectNothing(target);
  const parent = dirname(target);
  await mkdir(parent, { recursive: true });
  const temporary = join(parent, `.${basename(target)}.${globalThis.crypto.randomUUID()}.tmp`);
  await mkdir(temporary);
  try {
    const result = await fill(temporary);
    await syncFolder(temporary);
    // Once more: hours may have passed, and renaming replaces an empty folder only.
    await expectNothing(target);
    if (process.platform === 'win32') await rm(target, { recursive: true, force: true });
    await rename(temporary, target);
    await syncFolder(parent);
    return result;
  } catch (problem) {
    await rm(temporary, { recursive: true, force: true });
    throw problem;
  }
}

async function expectNothing(target: string): Promise<void> {
  const there = await readdir(target).catch((problem: NodeJS.ErrnoException) => {
    if (problem.code === 'ENOENT') return [];
    if (problem.code === 'ENOTDIR') return [target];
    throw problem;
  });
  if (there.length > 0)
    throw new MinkeError(
      'invalid-argument',
      `expected a folder that is not there yet or is empty, got ${target} with ${there.length} file${there.length === 1 ? '' : 's'}; name another one or remove it`,
    );
}
