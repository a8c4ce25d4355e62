/** A small model on a hub of this machine, pulled into a cache of its own: what the tests of pulls share. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random } from '@minke/core';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import { type PulledModel, type PullOptions, pullModel } from '../hub/index.ts';
import { StandInHub } from '../hub/stand-in.ts';

export const id = 'someone/small';
export const modelBytes = 40_000;
export const files = {
  'config.json': Buffer.from('{"a":1}'),
  'empty.txt': Buffer.alloc(0),
  'model.safetensors': noise(1, modelBytes),
  'sub/copy.safetensors': noise(1, modelBytes),
  'pytorch_model.bin': noise(2, 3_000),
};

export let hub: StandInHub;
export let cache: string;

/** A hub for all tests of a file, and an empty cache for each. */
export function startHub(): void {
  beforeAll(async () => {
    hub = await StandInHub.start();
  });
  afterAll(() => hub.close());
  beforeEach(async () => {
    cache = await mkdtemp(join(tmpdir(), 'minke-hub-'));
    hub.fault = () => undefined;
    hub.requests.length = 0;
  });
  afterEach(() => rm(cache, { recursive: true, force: true }));
}

/** Publishes the model; its commit. */
export const commit = (): string => hub.add(id, { files });

/** Quick settings against the stand-in. */
export const settings = (more: PullOptions = {}): PullOptions => ({
  endpoint: hub.endpoint,
  token: null,
  cache,
  retryDelayMs: 1,
  segmentBytes: 8_192,
  ...more,
});
export const pull = (more: PullOptions = {}): Promise<PulledModel> => pullModel(id, settings(more));
export const folder = (): string => join(cache, 'models--someone--small');

function noise(seed: number, length: number): Buffer {
  const random = new Random(seed);
  return Buffer.from(Uint8Array.from({ length }, () => random.uint32() & 255));
}

/** Every blob has the content that its name says. */
export function expectGoodBlobs(): void {
  const blobs = join(folder(), 'blobs');
  let names: string[];
  try {
    names = readdirSync(blobs).filter((name) => !name.endsWith('.incomplete'));
  } catch {
    return;
  }
  for (const name of names) {
    const bytes = readFileSync(join(blobs, name));
    const sum =
      name.length === 64
        ? createHash('sha256').update(bytes)
        : createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes);
    expect(sum.digest('hex')).toBe(name);
  }
}

export function expectFiles(snapshot: string, paths: readonly string[]): void {
  for (const path of paths)
    expect(readFileSync(join(snapshot, path)).equals(files[path as keyof typeof files])).toBe(true);
}
