/** Pulling from a hub on this machine that does not behave: the right bytes or a typed error, never something else. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Random } from '@minke/core';
import { describe, expect, it } from 'vitest';
import {
  cache,
  commit,
  expectFiles,
  expectGoodBlobs,
  files,
  folder,
  hub,
  id,
  modelBytes,
  pull,
  startHub,
} from '../testing/small-model.ts';
import { cachedSnapshot, type PullOptions } from './index.ts';
import type { HubFault, StandInRequest } from './stand-in.ts';

startHub();

/** A fault for the requests of the store that are numbered so. */
const storeFault =
  (fault: HubFault, when: (n: number) => boolean = (n) => n === 0, n = { count: 0 }) =>
  ({ kind }: StandInRequest) =>
    kind === 'store' && when(n.count++) ? fault : undefined;

describe('a hub with faults', () => {
  it.each<[string, HubFault]>([
    ['a dropped connection', { kind: 'drop', share: 0.3 }],
    ['a short body', { kind: 'short', share: 0.5 }],
    ['a length that is too long', { kind: 'wrong-length', difference: 7 }],
    ['a length that is too short', { kind: 'wrong-length', difference: -7 }],
    ['a busy answer', { kind: 'status', status: 429, headers: { 'retry-after': '0' } }],
    ['an overload', { kind: 'status', status: 503 }],
    ['a broken one', { kind: 'status', status: 500 }],
    ['an expired signature', { kind: 'status', status: 403 }],
    ['a range that is none', { kind: 'status', status: 416 }],
    ['another range', { kind: 'wrong-range' }],
    ['a whole file for a range', { kind: 'ignore-range' }],
    ['a compressed body', { kind: 'gzip' }],
    ['silence', { kind: 'slow', ms: 400 }],
    ['a wrong byte', { kind: 'garbage', share: 0.7 }],
  ])('still gives the right bytes after %s', async (_, fault) => {
    commit();
    hub.fault = storeFault(fault, (n) => n === 1);
    const { folder: snapshot, files: paths } = await pull({ timeoutMs: 200 });
    expectFiles(snapshot, paths);
    expectGoodBlobs();
  });

  it('that never gives ranges is read in one piece, and goes on where a connection broke', async () => {
    commit();
    let n = 0;
    const ignoring = storeFault({ kind: 'ignore-range' }, () => true);
    hub.fault = (request) =>
      request.kind === 'store' && n++ % 2 === 0 ? { kind: 'drop', share: 0.4 + n / 20 } : ignoring(request);
    const { folder: snapshot, files: paths } = await pull();
    expectFiles(snapshot, paths);
  });

  it('that serves other content is found out, and nothing of it stays', async () => {
    commit();
    hub.fault = ({ kind, range }) =>
      kind === 'store' && (range === undefined || range.startsWith('bytes=0-'))
        ? { kind: 'garbage', share: 0.5 }
        : undefined;
    await expect(pull()).rejects.toMatchObject({
      problem: 'wrong-bytes',
      message: expect.stringMatching(/expected content with sha256 \w{64}, got \w{64}, twice/),
    });
    expectGoodBlobs();
    hub.fault = () => undefined;
    expectFiles((await pull()).folder, ['model.safetensors']);
  });

  it('whose entity tag of a small file changes is asked again, then refused', async () => {
    commit();
    hub.fault = ({ kind, url }) =>
      kind === 'resolve' && url.includes('config') ? { kind: 'wrong-etag' } : undefined;
    await expect(pull()).rejects.toMatchObject({
      problem: 'unreachable',
      message: expect.stringMatching(/got content \w{40} in place of \w{40}/),
    });
    expectGoodBlobs();
  });

  it('that is busy is left alone as long as it asks, unless that is too long', async () => {
    commit();
    const began = performance.now();
    hub.fault = storeFault({ kind: 'status', status: 429, headers: { 'retry-after': '1' } });
    await pull();
    expect(performance.now() - began).toBeGreaterThan(990);
    await rm(folder(), { recursive: true });
    hub.fault = storeFault({ kind: 'status', status: 429, headers: { ratelimit: '"resolvers";r=0;t=900' } });
    await expect(pull()).rejects.toMatchObject({
      problem: 'unreachable',
      message: expect.stringContaining('asks to wait 900 s'),
    });
  });

  it('that drips is patiently read', async () => {
    commit();
    hub.fault = ({ kind }) => (kind === 'store' ? { kind: 'slow', ms: 20 } : undefined);
    expectFiles((await pull()).folder, ['model.safetensors']);
  });
});

describe('an interrupted pull', () => {
  it('keeps what came, and the next one fetches only the rest', async () => {
    commit();
    const controller = new AbortController();
    const first = pull({
      signal: controller.signal,
      ranges: 1,
      onProgress: ({ received }) => {
        if (received > 20_000) controller.abort();
      },
    });
    await expect(first).rejects.toMatchObject({ code: 'aborted' });
    expect(cachedSnapshot(cache, { id, revision: 'main' })).toBeUndefined();
    const { received, folder: snapshot } = await pull();
    expect(received).toBeGreaterThan(0);
    expect(received).toBeLessThan(20_010);
    expectFiles(snapshot, ['model.safetensors', 'config.json']);
    expectGoodBlobs();
    expect(readdirSync(join(folder(), 'blobs')).some((name) => name.endsWith('.incomplete'))).toBe(false);
  });

  it('whose unfinished file was damaged begins again', async () => {
    commit();
    hub.fault = storeFault({ kind: 'drop', share: 0.5 }, (n) => n === 2);
    await expect(pull({ retries: 0, ranges: 1 })).rejects.toMatchObject({ problem: 'unreachable' });
    const [name] = readdirSync(join(folder(), 'blobs')).filter((file) => file.endsWith('.incomplete'));
    const partial = join(folder(), 'blobs', name as string);
    const bytes = readFileSync(partial);
    expect(bytes.length).toBeGreaterThan(10_000);
    bytes[10] = (bytes[10] as number) ^ 1;
    writeFileSync(partial, bytes);
    hub.fault = () => undefined;
    expectFiles((await pull()).folder, ['model.safetensors']);
  });

  it('beside another of the same model shares the work with it', async () => {
    commit();
    hub.fault = ({ kind }) => (kind === 'store' ? { kind: 'slow', ms: 20 } : undefined);
    const both = await Promise.all([pull({ include: ['*'] }), pull({ include: ['*'] })]);
    for (const { folder: snapshot } of both) expectFiles(snapshot, Object.keys(files));
    // Each blob came once.
    expect(both.reduce((sum, { received }) => sum + received, 0)).toBe(modelBytes + 3_000 + 7);
    expect(readdirSync(join(cache, '.locks', 'models--someone--small'))).toEqual([]);
  });

  it('ends at once where its signal was given before', async () => {
    commit();
    await expect(pull({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' });
    expect(hub.requests).toEqual([]);
  });
});

it.each([0, 50, 100, 150, 200])(
  'after any faults (seeds from %i), a pull gives the right bytes or a typed error, and one without faults completes it',
  async (first) => {
    const sha = commit();
    let completed = 0;
    let failed = 0;
    for (let seed = first; seed < first + 50; seed++) {
      const random = new Random(1000 + seed);
      const chance = random.uniform() * 0.7;
      const any = (): HubFault => {
        const share = random.uniform();
        const status = [429, 503, 500, 401, 403, 404, 416, 408][Math.floor(random.uniform() * 8)] as number;
        const faults: HubFault[] = [
          { kind: 'drop', share },
          { kind: 'short', share },
          { kind: 'wrong-length', difference: Math.floor(share * 40) - 20 },
          { kind: 'garbage', share },
          { kind: 'ignore-range' },
          { kind: 'wrong-range' },
          { kind: 'wrong-etag' },
          { kind: 'gzip' },
          { kind: 'status', status },
          { kind: 'status', status: 429, headers: { 'retry-after': '0' } },
          { kind: 'redirect', location: `http://localhost:1/${share}` },
          { kind: 'slow', ms: 5 },
        ];
        return faults[Math.floor(random.uniform() * faults.length)] as HubFault;
      };
      hub.fault = ({ kind }) => {
        if (random.uniform() >= chance) return undefined;
        const fault = any();
        // Nothing but TLS could tell that the listing itself has another byte.
        return fault.kind === 'garbage' && kind === 'api' ? undefined : fault;
      };
      const options: PullOptions = {
        ...{ retries: 3, retryDelayMs: 0, timeoutMs: 1000 },
        ...{ files: 1 + (seed % 3), ranges: 1 + (seed % 4), connections: 1 + (seed % 5) },
        include: ['*'],
      };
      try {
        const { folder: snapshot } = await pull(options);
        expectFiles(snapshot, Object.keys(files));
        completed++;
      } catch (problem) {
        expect(problem, `seed ${seed}: ${(problem as Error).stack}`).toMatchObject({ name: 'HubError' });
        failed++;
      }
      expectGoodBlobs();
      if (seed % 5 < 4) continue;
      // Faults end, and the cache starts anew.
      hub.fault = () => undefined;
      expectFiles((await pull({ include: ['*'] })).folder, Object.keys(files));
      expect(cachedSnapshot(cache, { id, revision: 'main' })).toBe(join(folder(), 'snapshots', sha));
      await rm(folder(), { recursive: true });
    }
    expect(hub.leaks).toBe(0);
    expect(Math.min(completed, failed)).toBeGreaterThan(0);
  },
);
