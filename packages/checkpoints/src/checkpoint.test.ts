import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  encodeSafetensors,
  type OpenCheckpointOptions,
  openCheckpoint,
  openSafetensors,
  type TensorData,
  writeCheckpoint,
  writeSafetensors,
} from './index.ts';

let base: string;
let folder: string;
beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'minke-checkpoint-'));
  folder = join(base, 'model');
  await mkdir(folder);
});
afterEach(() => rm(base, { recursive: true }));

const f32 = (...values: number[]): TensorData => ({
  dtype: 'F32',
  shape: [values.length],
  data: new Float32Array(values),
});
const tensors = { 'z.first': f32(1, 2), 'a.second': f32(3, 4), 'm.third': f32(5) };

async function shard(file: string, content: Record<string, TensorData>): Promise<void> {
  await writeFile(join(folder, file), await encodeSafetensors(content));
}
async function index(weightMap: Record<string, string>, metadata: object = {}): Promise<void> {
  await writeFile(
    join(folder, 'model.safetensors.index.json'),
    JSON.stringify({ metadata, weight_map: weightMap }),
  );
}
async function refused(message: RegExp, options?: OpenCheckpointOptions): Promise<void> {
  const opened = openCheckpoint(folder, options);
  await expect(opened).rejects.toMatchObject({
    code: 'invalid-file',
    message: expect.stringMatching(message),
  });
}

describe('writeCheckpoint and openCheckpoint', () => {
  it('keep a small checkpoint in one file', async () => {
    expect(await writeCheckpoint(folder, tensors)).toEqual(['model.safetensors']);
    expect(await readdir(folder)).toEqual(['model.safetensors']);
    const checkpoint = await openCheckpoint(folder);
    expect(checkpoint.metadata).toEqual({ format: 'pt' });
    expect([...checkpoint.tensors.keys()].sort()).toEqual(['a.second', 'm.third', 'z.first']);
    expect(await checkpoint.readFloat32('a.second')).toEqual(new Float32Array([3, 4]));
    await checkpoint.close();
  });

  it('shard a larger one in the given order, with an index transformers understands', async () => {
    const files = await writeCheckpoint(folder, tensors, { maxShardBytes: 12 });
    expect(files).toEqual(['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']);
    expect(JSON.parse(await readFile(join(folder, 'model.safetensors.index.json'), 'utf8'))).toEqual({
      metadata: { total_size: 20 },
      weight_map: { 'a.second': files[1], 'm.third': files[1], 'z.first': files[0] },
    });
    const checkpoint = await openCheckpoint(folder);
    expect(checkpoint.files).toEqual(files);
    expect(checkpoint.tensors.get('m.third')).toMatchObject({ dtype: 'F32', shape: [1], file: files[1] });
    for (const [name, { data }] of Object.entries(tensors)) {
      expect(await checkpoint.readFloat32(name)).toEqual(data);
    }
    await expect(checkpoint.read('none')).rejects.toMatchObject({ code: 'invalid-argument' });
    await checkpoint.close();
    await expect(checkpoint.read('m.third')).rejects.toThrow(/is closed/);
  });

  it('give a tensor larger than a shard a shard of its own', async () => {
    const files = await writeCheckpoint(folder, tensors, { maxShardBytes: 1 });
    expect(files).toHaveLength(3);
    await (await openCheckpoint(folder)).close();
  });

  it('leave no weight file of an earlier checkpoint, and no other file touched', async () => {
    await writeFile(join(folder, 'config.json'), '{}');
    await writeCheckpoint(folder, tensors, { maxShardBytes: 1 });
    await writeCheckpoint(folder, tensors, { maxShardBytes: 12 });
    expect(await readdir(folder)).toHaveLength(4);
    await writeCheckpoint(folder, { x: f32(9) });
    expect(await readdir(folder)).toEqual(['config.json', 'model.safetensors']);
    const checkpoint = await openCheckpoint(folder);
    expect([...checkpoint.tensors.keys()]).toEqual(['x']);
    await checkpoint.close();
  });

  it('write the same bytes again', async () => {
    await writeCheckpoint(folder, tensors, { maxShardBytes: 12 });
    const first = await Promise.all((await readdir(folder)).map((file) => readFile(join(folder, file))));
    await writeCheckpoint(folder, tensors, { maxShardBytes: 12 });
    const again = await Promise.all((await readdir(folder)).map((file) => readFile(join(folder, file))));
    expect(again).toEqual(first);
  });

  it('handle an empty checkpoint', async () => {
    await writeCheckpoint(folder, {});
    const checkpoint = await openCheckpoint(folder);
    expect(checkpoint.tensors.size).toBe(0);
    await checkpoint.close();
  });
});

describe('openCheckpoint refuses', () => {
  it('a missing folder and a folder without weights', async () => {
    await refused(/found neither model.safetensors nor model.safetensors.index.json$/);
    await writeFile(join(folder, 'pytorch_model.bin'), '');
    await refused(/pytorch_model.bin is a pickle.*convert it/);
    await rm(folder, { recursive: true });
    await refused(/cannot list the folder/);
    await mkdir(folder);
  });

  it('an index that names a missing shard', async () => {
    await shard('a.safetensors', { x: f32(1) });
    await index({ x: 'a.safetensors', y: 'b.safetensors', z: 'c.safetensors' });
    await refused(/names 2 missing files, first b.safetensors; download them/);
  });

  it.each([
    '../outside.safetensors',
    '/etc/passwd',
    'sub/a.safetensors',
    '..\\outside.safetensors',
    'C:a.safetensors',
    '..',
    '.',
    '',
    'a\0.safetensors',
  ])('a shard path that could leave the folder: %j', async (path) => {
    await writeFile(join(base, 'outside.safetensors'), await encodeSafetensors({ x: f32(1) }));
    await index({ x: path });
    await refused(/expected the name of a file in the same folder/);
  });

  it('a symbolic link out of the folder, for a shard or the single file', async () => {
    const outside = join(base, 'outside.safetensors');
    await writeFile(outside, await encodeSafetensors({ x: f32(1) }));
    await symlink(outside, join(folder, 'a.safetensors'));
    await index({ x: 'a.safetensors' });
    await refused(/a.safetensors is a symbolic link out of the folder/);
    await rm(join(folder, 'model.safetensors.index.json'));
    await symlink(outside, join(folder, 'model.safetensors'));
    await refused(/model.safetensors is a symbolic link out of the folder/);
    // A sibling whose name begins like the folder's is outside too.
    await mkdir(`${folder}-other`);
    await writeFile(join(`${folder}-other`, 'm'), await encodeSafetensors({ x: f32(1) }));
    await rm(join(folder, 'model.safetensors'));
    await symlink(join(`${folder}-other`, 'm'), join(folder, 'model.safetensors'));
    await refused(/symbolic link out of the folder/);
  });

  it('a loop of symbolic links and a dangling one', async () => {
    await symlink('b.safetensors', join(folder, 'a.safetensors'));
    await symlink('a.safetensors', join(folder, 'b.safetensors'));
    await index({ x: 'a.safetensors' });
    await refused(/a loop of symbolic links/);
    await rm(join(folder, 'b.safetensors'));
    await refused(/cannot be resolved/);
  });

  it('a tensor in two shards', async () => {
    await shard('a.safetensors', { x: f32(1), y: f32(2) });
    await shard('b.safetensors', { x: f32(3), z: f32(4) });
    await index({ x: 'a.safetensors', y: 'a.safetensors', z: 'b.safetensors' });
    await refused(/tensor "x" is in both a.safetensors and b.safetensors/);
  });

  it('a tensor that the index names twice', async () => {
    await shard('a.safetensors', { x: f32(1) });
    const twice = '{"weight_map":{"x":"a.safetensors","x":"b.safetensors"}}';
    await writeFile(join(folder, 'model.safetensors.index.json'), twice);
    await refused(/the key "x" appears twice/);
  });

  it('a tensor in another shard than the index says, in none, or not in the index', async () => {
    await shard('a.safetensors', { x: f32(1) });
    await shard('b.safetensors', { y: f32(1) });
    await index({ x: 'b.safetensors', y: 'a.safetensors' });
    await refused(/tensor "x" is in a.safetensors, but model.safetensors.index.json says b.safetensors/);
    await index({ x: 'a.safetensors', y: 'b.safetensors', z: 'b.safetensors' });
    await refused(/says that b.safetensors holds tensor "z", but it does not/);
    await shard('b.safetensors', { y: f32(1), extra: f32(2) });
    await index({ x: 'a.safetensors', y: 'b.safetensors' });
    await refused(/tensor "extra" is in b.safetensors, but .* says nothing of it/);
  });

  it('a total_size that is neither the tensors nor the files, unless told not to look', async () => {
    await shard('a.safetensors', { x: f32(1) });
    await index({ x: 'a.safetensors' }, { total_size: 5 });
    await refused(/says total_size 5, but the tensors take 4 bytes.*checkTotalSize: false/);
    await (await openCheckpoint(folder, { checkTotalSize: false })).close();
    const { size } = await import('node:fs').then((fs) => fs.statSync(join(folder, 'a.safetensors')));
    for (const total of [4, size]) {
      await index({ x: 'a.safetensors' }, { total_size: total });
      await (await openCheckpoint(folder)).close();
    }
  });

  it.each<[string, string, RegExp]>([
    ['an array', '[]', /expected an object/],
    ['no weight_map', '{"metadata":{}}', /expected a weight_map/],
    ['an empty weight_map', '{"weight_map":{}}', /expected a weight_map/],
    ['a file that is a number', '{"weight_map":{"x":1}}', /the file of tensor "x"/],
    ['a __proto__ tensor', '{"weight_map":{"__proto__":"a.safetensors"}}', /"__proto__" is not allowed/],
    ['a fractional total_size', '{"metadata":{"total_size":1.5}}', /metadata.total_size/],
    ['deep nesting', `{"x":${'['.repeat(100_000)}`, /nested deeper/],
    ['truncated text', '{"weight_map":{"x":"a.safe', /does not end/],
  ])('an index with %s', async (_, text, message) => {
    await writeFile(join(folder, 'model.safetensors.index.json'), text);
    await refused(message);
  });

  it('an index that is not UTF-8', async () => {
    await writeFile(join(folder, 'model.safetensors.index.json'), new Uint8Array([0x7b, 0xff]));
    await refused(/it is not UTF-8/);
  });

  it('a truncated shard, naming it', async () => {
    const [, second] = await writeCheckpoint(folder, tensors, { maxShardBytes: 12 });
    await truncate(join(folder, second!), 150);
    await refused(/model-00002-of-00002.safetensors\).*cut short/);
  });

  it('a Git LFS pointer in place of a shard', async () => {
    const [first] = await writeCheckpoint(folder, tensors, { maxShardBytes: 12 });
    await writeFile(join(folder, first!), 'version https://git-lfs.github.com/spec/v1\n');
    await refused(/Git LFS pointer/);
  });
});

it('openCheckpoint follows the links of a Hugging Face cache into its blobs', async () => {
  const snapshot = join(base, 'models--a--b', 'snapshots', 'c0ffee');
  const blobs = join(base, 'models--a--b', 'blobs');
  await mkdir(snapshot, { recursive: true });
  await mkdir(blobs);
  await writeFile(join(blobs, '4d7a'), await encodeSafetensors({ x: f32(1) }));
  await symlink('../../blobs/4d7a', join(snapshot, 'model.safetensors'));
  const checkpoint = await openCheckpoint(snapshot);
  expect(await checkpoint.readFloat32('x')).toEqual(new Float32Array([1]));
  await checkpoint.close();
  // Where models share content, the blob is a link too.
  await mkdir(join(base, 'blobs', '5e'), { recursive: true });
  await rename(join(blobs, '4d7a'), join(base, 'blobs', '5e', '5eed'));
  await symlink('../../blobs/5e/5eed', join(blobs, '4d7a'));
  await (await openCheckpoint(snapshot)).close();
});

describe('writeSafetensors', () => {
  it('replaces a file only when the new one is whole', async () => {
    const path = join(folder, 'x.safetensors');
    await writeSafetensors(path, { x: f32(1) });
    let during: Float32Array | undefined;
    await writeSafetensors(path, {
      x: {
        dtype: 'F32',
        shape: [1],
        data: async () => {
          const old = await openSafetensors(path);
          during = await old.readFloat32('x');
          await old.close();
          return new Float32Array([2]);
        },
      },
    });
    expect(during).toEqual(new Float32Array([1]));
    const now = await openSafetensors(path);
    expect(await now.readFloat32('x')).toEqual(new Float32Array([2]));
    await now.close();
  });

  it('leaves the old file and no other when it fails halfway', async () => {
    const path = join(folder, 'x.safetensors');
    await writeSafetensors(path, { x: f32(1) });
    const before = await readFile(path);
    const failing = () => Promise.reject(new Error('no more data'));
    await expect(
      writeSafetensors(path, { a: f32(1), b: { dtype: 'F32', shape: [1], data: failing } }),
    ).rejects.toThrow('no more data');
    expect(await readFile(path)).toEqual(before);
    expect(await readdir(folder)).toEqual(['x.safetensors']);
  });

  it.each<[string, Record<string, TensorData>, object, RegExp]>([
    ['data of another size', { x: { ...f32(1), shape: [2] } }, {}, /expected 8 bytes of data, got 4/],
    [
      'a fractional dimension',
      { x: { ...f32(1), shape: [0.5] } },
      {},
      /a shape of whole numbers, got \[0.5\]/,
    ],
    ['a shape that overflows', { x: { ...f32(1), shape: [2 ** 40, 2 ** 40] } }, {}, /more than 2\^53/],
    ['an unknown dtype', { x: { ...f32(1), dtype: 'f32' as 'F32' } }, {}, /unknown dtype "f32"/],
    ['the name __metadata__', { __metadata__: f32(1) }, {}, /cannot name a tensor/],
    [
      'the name __proto__',
      JSON.parse('{"__proto__":{"dtype":"F32","shape":[],"data":{}}}'),
      {},
      /cannot name a tensor/,
    ],
    ['half a surrogate pair in a name', { '\ud800': f32(1) }, {}, /cannot name a tensor/],
    ['metadata that is no string', { x: f32(1) }, { epoch: 3 }, /expected metadata of strings, got epoch: 3/],
  ])('refuses %s', async (_, given, metadata, message) => {
    const written = writeSafetensors(join(folder, 'x'), given, {
      metadata: metadata as Record<string, string>,
    });
    await expect(written).rejects.toMatchObject({
      code: 'invalid-argument',
      message: expect.stringMatching(message),
    });
    expect(await readdir(folder)).toEqual([]);
  });
});
