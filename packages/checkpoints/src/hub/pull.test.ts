/** Pulling from a hub on this machine that behaves, and from one that does not. */
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random } from '@minke/core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { cachedSnapshot, listModel, type PullOptions, pullModel } from './index.ts';
import { type HubFault, StandInHub, type StandInRequest } from './stand-in.ts';

let hub: StandInHub;
let cache: string;
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

const id = 'someone/small';
const modelBytes = 40_000;
const files = {
  'config.json': Buffer.from('{"a":1}'),
  'empty.txt': Buffer.alloc(0),
  'model.safetensors': noise(1, modelBytes),
  'sub/copy.safetensors': noise(1, modelBytes),
  'pytorch_model.bin': noise(2, 3_000),
};
const commit = () => hub.add(id, { files });
/** Quick settings against the stand-in. */
const settings = (more: PullOptions = {}): PullOptions => ({
  endpoint: hub.endpoint,
  token: null,
  cache,
  retryDelayMs: 1,
  segmentBytes: 8_192,
  ...more,
});
const pull = (more: PullOptions = {}) => pullModel(id, settings(more));
const folder = () => join(cache, 'models--someone--small');

function noise(seed: number, length: number): Buffer {
  const random = new Random(seed);
  return Buffer.from(Uint8Array.from({ length }, () => random.uint32() & 255));
}

/** Every blob has the content that its name says. */
function expectGoodBlobs(): void {
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

function expectFiles(snapshot: string, paths: readonly string[]): void {
  for (const path of paths)
    expect(readFileSync(join(snapshot, path)).equals(files[path as keyof typeof files])).toBe(true);
}

describe('a model', () => {
  it('comes whole into the layout of the Python client, each content once, without doubles of its weights', async () => {
    const sha = commit();
    const seen: number[] = [];
    const pulled = await pull({ onProgress: ({ done }) => seen.push(done) });
    const { 'pytorch_model.bin': _, ...wanted } = files;
    const bytes = Object.values(wanted).reduce((sum, { length }) => sum + length, 0);
    expect(pulled).toEqual({
      ...{ id, revision: 'main', commit: sha, folder: join(folder(), 'snapshots', sha) },
      ...{ files: Object.keys(wanted), bytes, received: bytes - modelBytes },
    });
    expectFiles(pulled.folder, pulled.files);
    expectGoodBlobs();
    expect(readFileSync(join(folder(), 'refs', 'main'), 'utf8')).toBe(sha);
    const pointer = join(pulled.folder, 'sub', 'copy.safetensors');
    expect(lstatSync(pointer).isSymbolicLink()).toBe(true);
    const sum = createHash('sha256').update(files['model.safetensors']).digest('hex');
    expect(readlinkSync(pointer)).toBe(join('..', '..', '..', 'blobs', sum));
    expect(seen.at(-1)).toBe(bytes - modelBytes);
    expect(seen.every((done, i) => i === 0 || done >= (seen[i - 1] as number))).toBe(true);
    expect(readdirSync(join(cache, '.locks', 'models--someone--small'))).toEqual([]);
    expect(cachedSnapshot(cache, { id, revision: 'main' })).toBe(pulled.folder);
    expect(cachedSnapshot(cache, { id, revision: sha })).toBe(pulled.folder);
    expect(cachedSnapshot(cache, { id, revision: 'other' })).toBeUndefined();
  });

  it('is not fetched twice, and only what patterns name is fetched', async () => {
    commit();
    const first = await pull({ include: ['*.json', '[!a-l]*.bin'] });
    expect(first.files).toEqual(['config.json', 'pytorch_model.bin']);
    const second = await pull();
    expect(second.received).toBe(modelBytes);
    const again = await pull({ include: ['*'] });
    expect(again.received).toBe(0);
    expectFiles(again.folder, Object.keys(files));
    await expect(pull({ include: ['*.gguf'] })).rejects.toMatchObject({
      problem: 'no-such-file',
      message: expect.stringMatching(/match \*\.gguf, but it has config\.json, /),
    });
  });

  it('follows a branch to its new commit and keeps the old one', async () => {
    const old = commit();
    await pull();
    const now = hub.add(id, { files: { ...files, 'config.json': Buffer.from('{"a":2}') } });
    expect(now).not.toBe(old);
    const { received, folder: snapshot } = await pull();
    expect(received).toBe(7);
    expect(snapshot).toBe(join(folder(), 'snapshots', now));
    expect(readFileSync(join(folder(), 'refs', 'main'), 'utf8')).toBe(now);
    expect(readdirSync(join(folder(), 'snapshots')).sort()).toEqual([old, now].sort());
  });

  it('comes from tags, references and commits', async () => {
    const sha = hub.add(id, { files, revisions: ['v1.0', 'refs/pr/1'] });
    for (const revision of ['v1.0', 'refs/pr/1', sha]) {
      const options = settings({ include: ['config.json'] });
      const { commit: got } = await pullModel(`${id}@${revision}`, options);
      expect(got).toBe(sha);
      expect(cachedSnapshot(cache, { id, revision })).toBe(join(folder(), 'snapshots', sha));
    }
    await expect(pull()).rejects.toMatchObject({ problem: 'no-such-revision' });
  });

  it('is listed without being fetched', async () => {
    const sha = commit();
    const listing = await listModel(id, settings());
    expect(listing).toMatchObject({ id, revision: 'main', commit: sha });
    expect(listing.files.map(({ path, size }) => [path, size])).toEqual(
      Object.entries(files).map(([path, { length }]) => [path, length]),
    );
    expect(hub.requests.map(({ kind }) => kind)).toEqual(['api']);
  });

  it('that is refetched over a blob of a wrong size has the right one', async () => {
    commit();
    const { folder: snapshot } = await pull();
    await truncate(join(snapshot, 'model.safetensors'), 50);
    expect((await pull()).received).toBe(modelBytes);
    expectGoodBlobs();
  });
});

describe('a token', () => {
  it('goes to the hub and never to the store behind it', async () => {
    hub.add(id, { files, token: 'hf_secret' });
    await expect(pull()).rejects.toMatchObject({
      problem: 'no-such-model',
      message: expect.stringContaining('HF_TOKEN'),
    });
    await expect(pull({ token: 'hf_wrong' })).rejects.toMatchObject({ problem: 'no-such-model' });
    const { received } = await pull({ token: 'hf_secret' });
    expect(received).toBeGreaterThan(modelBytes);
    expect(hub.requests.some(({ kind }) => kind === 'store')).toBe(true);
    expect(hub.leaks).toBe(0);
  });

  it('is asked for where the owner wants terms accepted', async () => {
    hub.add(id, { files, gated: true });
    await expect(pull()).rejects.toMatchObject({
      problem: 'gated',
      message: expect.stringContaining(`accept them on ${hub.endpoint}/${id}`),
    });
    expect((await pull({ token: 'any' })).received).toBeGreaterThan(modelBytes);
  });
});

describe('a clear error', () => {
  it.each([
    ['a model that is not there', 'nobody/nothing', 'no-such-model'],
    ['a text that is no id', 'just-a-name', undefined],
    ['an id that leads out', '../../etc', undefined],
    ['a revision that leads out', `${id}@../../x`, undefined],
  ])('for %s', async (_, from, problem) => {
    commit();
    const failed = pullModel(from, settings());
    await expect(failed).rejects.toMatchObject({ code: 'invalid-argument', ...(problem && { problem }) });
  });

  it('where there is no hub', async () => {
    const gone = await StandInHub.start();
    const { endpoint } = gone;
    await gone.close();
    const failed = pull({ endpoint, retries: 1 });
    await expect(failed).rejects.toMatchObject({
      problem: 'unreachable',
      message: expect.stringMatching(/in 2 attempts, got .*ECONNREFUSED/),
    });
  });

  it('where the disk has no room, before the first byte', async () => {
    hub.add(id, { files }, (listing) => ({
      ...listing,
      siblings: (listing.siblings as object[]).map((sibling) =>
        'lfs' in sibling
          ? { ...sibling, size: 1e15, lfs: { ...(sibling.lfs as object), size: 1e15 } }
          : sibling,
      ),
    }));
    await expect(pull()).rejects.toMatchObject({
      problem: 'no-space',
      message: expect.stringMatching(/expected \d+ GB free .* set HF_HOME/),
    });
    expect(hub.requests.map(({ kind }) => kind)).toEqual(['api']);
  });

  const sibling = (rfilename: unknown, more: object = {}) => ({
    rfilename,
    ...{ size: 1, blobId: '0'.repeat(40) },
    ...more,
  });
  it.each<[string, unknown]>([
    ['text', 'hello'],
    ['null', null],
    ['no commit', { sha: 'main', siblings: [] }],
    ['no files', { siblings: 5 }],
    ['a path out of the folder', { siblings: [sibling('../../evil')] }],
    ['an absolute path', { siblings: [sibling('/etc/passwd')] }],
    ['a path of Windows', { siblings: [sibling('a\\..\\b')] }],
    ['a drive', { siblings: [sibling('C:evil')] }],
    ['a NUL', { siblings: [sibling('a\0b')] }],
    ['an empty name', { siblings: [sibling('')] }],
    ['a dot', { siblings: [sibling('a/./b')] }],
    ['a long name', { siblings: [sibling('a'.repeat(256))] }],
    ['a number for a name', { siblings: [sibling(5)] }],
    ['a file twice', { siblings: [sibling('a'), sibling('a')] }],
    ['a file that is a folder too', { siblings: [sibling('a/b'), sibling('a')] }],
    ['a negative size', { siblings: [sibling('a', { size: -1 })] }],
    ['a fractional size', { siblings: [sibling('a', { size: 1.5 })] }],
    ['no digest', { siblings: [sibling('a', { blobId: undefined })] }],
    ['a digest that is a path', { siblings: [sibling('a', { blobId: '../../../../tmp/evil' })] }],
    ['a weak digest of a large file', { siblings: [sibling('a', { lfs: { sha256: '0'.repeat(40) } })] }],
    ['too many files', { siblings: Array(100_001).fill(sibling('a')) }],
  ])('for a listing with %s', async (_, change) => {
    const isObject = typeof change === 'object' && change !== null;
    hub.add(id, { files }, (listing) => (isObject ? { ...listing, ...change } : change));
    await expect(pull()).rejects.toMatchObject({ problem: 'bad-listing', code: 'invalid-file' });
    expect(readdirSync(cache)).toEqual([]);
  });

  it('for another commit than the one asked for', async () => {
    const sha = hub.add(id, { files }, (listing) => ({ ...listing, sha: 'f'.repeat(40) }));
    await expect(pullModel(`${id}@${sha}`, settings())).rejects.toMatchObject({ problem: 'bad-listing' });
  });

  it('for redirects without end and to other protocols', async () => {
    commit();
    hub.fault = ({ url }) => ({ kind: 'redirect', location: url });
    await expect(pull()).rejects.toMatchObject({ problem: 'refused' });
    hub.fault = () => ({ kind: 'redirect', location: 'file:///etc/passwd' });
    await expect(pull()).rejects.toMatchObject({ problem: 'refused' });
  });

  it('for a folder of the cache that is a link to elsewhere', async () => {
    const sha = commit();
    const { symlinkSync, mkdirSync } = await import('node:fs');
    const elsewhere = await mkdtemp(join(tmpdir(), 'minke-elsewhere-'));
    mkdirSync(join(folder(), 'snapshots', sha), { recursive: true });
    symlinkSync(elsewhere, join(folder(), 'snapshots', sha, 'sub'));
    await expect(pull()).rejects.toMatchObject({ problem: 'refused' });
    expect(readdirSync(elsewhere)).toEqual([]);
    await rm(elsewhere, { recursive: true });
  });
});

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
