import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openCheckpoint } from '@minke/checkpoints';
import { afterAll, describe, expect, it } from 'vitest';
import { exportModel } from './export-model.ts';
import { loadModel, saveModel } from './load.ts';
import { fastBackend as backend, fixtureFolder } from './testing/fixtures.ts';

const root = mkdtempSync(join(tmpdir(), 'minke-export-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const sources = [
  'v3-base',
  'v32-yarn',
  'mtp-v3',
  'fp8-v3',
  'fp8-ue8m0',
  'dense-qwen2',
  'gguf/dense-llama.gguf',
  'gguf/v2-lite-fused.gguf',
  'gguf/v3-base.gguf',
  'gguf/mtp-v3.gguf',
];

describe.each(sources)('the export of %s', (name) => {
  it.each(['f32', 'bf16'] as const)('is what saveModel writes, in %s, in shards too', async (dtype) => {
    const saved = mkdtempSync(join(root, 'saved-'));
    await saveModel(await loadModel(fixtureFolder(name), { backend }), saved, { dtype });
    const out = join(root, `${name.replaceAll('/', '-')}-${dtype}`);
    const seen: number[] = [];
    const files = await exportModel(fixtureFolder(name), out, {
      dtype,
      maxShardBytes: 60_000,
      onProgress: ({ done, total }) => seen.push(done / total),
    });
    expect(files.length).toBeGreaterThan(1);
    expect(seen.at(-1)).toBe(1);
    const text = (folder: string) => readFileSync(join(folder, 'config.json'), 'utf8');
    expect(text(out)).toBe(text(saved));
    const [theirs, ours] = await Promise.all([openCheckpoint(saved), openCheckpoint(out)]);
    expect([...ours.tensors.keys()].sort()).toEqual([...theirs.tensors.keys()].sort());
    for (const [key, { dtype: type, shape }] of theirs.tensors) {
      expect(ours.tensors.get(key)).toMatchObject({ dtype: type, shape });
      expect(Buffer.compare(await ours.read(key), await theirs.read(key)), key).toBe(0);
    }
    await Promise.all([theirs.close(), ours.close()]);
  });
});

describe('an export that fails', () => {
  it('leaves nothing, and names the weights that are not finite', async () => {
    const folder = mkdtempSync(join(root, 'bad-'));
    cpSync(fixtureFolder('v3-base'), folder, { recursive: true });
    const bytes = new Uint8Array(readFileSync(join(folder, 'model.safetensors')));
    new DataView(bytes.buffer).setFloat32(bytes.length - 8, Number.NaN, true);
    writeFileSync(join(folder, 'model.safetensors'), bytes);
    const before = readdirSync(root);
    await expect(exportModel(folder, join(root, 'none'))).rejects.toMatchObject({
      code: 'invalid-file',
      message: expect.stringMatching(/finite weights, got NaN in .* \(element \d+\)/),
    });
    expect(readdirSync(root)).toEqual(before);
    await expect(exportModel(fixtureFolder('v3-base'), folder)).rejects.toMatchObject({
      code: 'invalid-argument',
    });
  });
});
