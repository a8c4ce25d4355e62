/** A V3-shaped model of a few thousand parameters, for tests of the stages. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Backend } from '@minke/core';
import { auto } from '@minke/gpu-backends';
import { Arena } from '@minke/tensor';
import { DeepSeekModel } from '@minke/transformer';
import { afterAll } from 'vitest';
import { smallConfig } from './small-config.ts';

/** The same weights for the same seed. */
export function smallModel(
  backend: Backend,
  {
    seed = 1,
    vocabSize = 24,
    maxPositions = 64,
  }: { seed?: number; vocabSize?: number; maxPositions?: number } = {},
): DeepSeekModel {
  const arena = new Arena(backend, { persistent: true });
  return DeepSeekModel.init({ ...smallConfig, vocabSize, maxPositions }, { arena, seed });
}

/** This machine's backend, until the tests of the file are over. Threads do not help models this small. */
export async function testBackend(options: { readonly threads?: number } = {}): Promise<Backend> {
  const backend = await auto(options);
  afterAll(() => backend.dispose());
  return backend;
}

/** Names of new folders, removed after the tests of the file. */
export function testFolders(): () => string {
  const root = mkdtempSync(join(tmpdir(), 'minke-stage-'));
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  let next = 0;
  return () => join(root, String(next++));
}

/** A file of a run's folder as text. */
export const read = (folder: string, name: string): string => readFileSync(join(folder, name), 'utf8');

/** All weights, for comparisons by bytes. */
export const weightsOf = async (model: DeepSeekModel): Promise<number[]> =>
  (await Promise.all([...model.parameters().values()].map((p) => p.read()))).flatMap((part) =>
    Array.from(part),
  );

/**
 * The same model with a larger head. A random one is too small for an adapter, which leaves it as it is, to make any
 * token certain.
 */
export async function withLargeHead(model: DeepSeekModel): Promise<DeepSeekModel> {
  model.headWeight.write((await model.headWeight.read()).map((w) => 3 * w));
  return model;
}
