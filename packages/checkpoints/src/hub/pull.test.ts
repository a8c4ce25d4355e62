/** Pulling from a hub on this machine that behaves. */
import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync } from 'node:fs';
import { mkdtemp, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
  settings,
  startHub,
} from '../testing/small-model.ts';
import { cachedSnapshot, listModel, pullModel } from './index.ts';
import { StandInHub } from './stand-in.ts';

startHub();

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
    const elsewhere = await mkdtemp(join(tmpdir(), 'minke-elsewhere-'));
    mkdirSync(join(folder(), 'snapshots', sha), { recursive: true });
    symlinkSync(elsewhere, join(folder(), 'snapshots', sha, 'sub'));
    await expect(pull()).rejects.toMatchObject({ problem: 'refused' });
    expect(readdirSync(elsewhere)).toEqual([]);
    await rm(elsewhere, { recursive: true });
  });
});
