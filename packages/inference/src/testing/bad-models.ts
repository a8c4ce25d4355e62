/**
 * For tests of what is refused: a small model in a folder, the same with files changed, and the check that all have to
 * pass: a typed error of a few words, soon, with nothing left in the backend's memory.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ErrorCode, MinkeError } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { afterAll, beforeAll, expect } from 'vitest';
import { loadLanguageModel } from '../language-model.ts';
import { saveLanguageModel } from '../save-language-model.ts';
import { testLanguage } from './test-language.ts';

/** Content of a file, null for none, or where a symbolic link points. */
export type FileChange = Uint8Array | string | null | { readonly link: string };

let root: string;
/** A folder with config.json, model.safetensors (f32), tokenizer.json and what belongs to them. */
export let goodFolder: string;

/** Makes the folder for all tests of a file. */
export function useGoodFolder(): void {
  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'minke-bad-'));
    goodFolder = join(root, 'good');
    await saveLanguageModel(testLanguage(), goodFolder, { dtype: 'f32' });
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));
}

/** A copy of the good folder with these files instead of its own. */
export function folderWith(changes: Readonly<Record<string, FileChange>>): string {
  const folder = mkdtempSync(join(root, 'model-'));
  cpSync(goodFolder, folder, { recursive: true });
  for (const [name, change] of Object.entries(changes)) {
    rmSync(join(folder, name), { force: true });
    if (change === null) continue;
    if (typeof change === 'object' && 'link' in change) symlinkSync(change.link, join(folder, name));
    else writeFileSync(join(folder, name), change);
  }
  return folder;
}

/** A file of this content. */
export function fileOf(name: string, bytes: Uint8Array): string {
  const path = join(mkdtempSync(join(root, 'file-')), name);
  writeFileSync(path, bytes);
  return path;
}

/** The error of `work`: a MinkeError of this code whose message matches, within 20 seconds. */
export async function expectRefused(
  work: () => unknown,
  code: ErrorCode,
  message: RegExp,
): Promise<MinkeError> {
  const started = performance.now();
  const error: unknown = await (async () => work())().then(
    () => expect.fail('nothing was refused'),
    (problem: unknown) => problem,
  );
  if (!MinkeError.isInstance(error)) throw error;
  expect(error.message).toMatch(message);
  expect(error.code).toBe(code);
  expect(error.message.length).toBeLessThan(1500);
  expect(performance.now() - started).toBeLessThan(20_000);
  return error;
}

/** Loading a path is refused so, and all memory is given back. */
export async function expectLoadRefused(path: string, code: ErrorCode, message: RegExp): Promise<void> {
  const backend = createReference();
  await expectRefused(() => loadLanguageModel(path, { backend }), code, message);
  expect(backend.memoryUse().bytes).toBe(0);
  backend.dispose();
}

/** Loading a path succeeds. */
export async function expectLoads(path: string): Promise<void> {
  const backend = createReference();
  const { model } = await loadLanguageModel(path, { backend });
  expect(model.parameters().size).toBeGreaterThan(10);
  backend.dispose();
}

/** Largest resident memory of this process so far, bytes. */
export const peakMemory = (): number => process.resourceUsage().maxRSS * 1024;

/** Makes a named pipe, which would make a careless reader wait for ever. */
export function namedPipe(path: string): void {
  execFileSync('mkfifo', [path]);
}
