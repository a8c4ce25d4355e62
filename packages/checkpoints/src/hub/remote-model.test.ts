/** Looking at a model on a hub without fetching it. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../checkpoint.ts';
import { encodeSafetensors } from '../encode.ts';
import { openGguf } from '../gguf.ts';
import { buildGguf } from '../testing/gguf-builder.ts';
import { cache, hub, settings, startHub } from '../testing/small-model.ts';
import { openRemoteModel, pullModel } from './index.ts';

startHub();
const id = 'someone/large';
const open = (options = {}) => openRemoteModel(id, { ...settings(), timeoutMs: 2000, ...options });
const zeros = (n: number) => ({ dtype: 'F32' as const, shape: [n], data: new Float32Array(n) });
const gguf = fileURLToPath(new URL('../../../inference/fixtures/tiny.gguf', import.meta.url));

async function shards(): Promise<Record<string, Uint8Array>> {
  return {
    'config.json': Buffer.from('{"a": 1}'),
    'model-1.safetensors': await encodeSafetensors({ a: zeros(400_000), b: zeros(3) }),
    'model-2.safetensors': await encodeSafetensors({ c: zeros(500_000) }),
    'model.safetensors.index.json': Buffer.from(
      JSON.stringify({
        metadata: { total_size: 4 * 900_003 },
        weight_map: { a: 'model-1.safetensors', b: 'model-1.safetensors', c: 'model-2.safetensors' },
      }),
    ),
  };
}

describe('a model on a hub', () => {
  it('shows the tensors of its shards, as they are once it is fetched, for the bytes of its headers', async () => {
    hub.add(id, { files: await shards() });
    const model = await open();
    const { files, tensors } = await model.openSafetensors();
    expect(files).toEqual(['model-1.safetensors', 'model-2.safetensors']);
    expect(model.received).toBeLessThan(2 * (256 << 10) + 1000);
    expect(hub.requests.filter(({ kind }) => kind === 'store')).toHaveLength(2);
    expect(await model.readText('config.json')).toBe('{"a": 1}');
    expect(await model.readText('tokenizer.json')).toBeUndefined();
    const { folder } = await pullModel(id, settings({ cache }));
    const checkpoint = await openCheckpoint(folder);
    expect([...tensors]).toEqual([...checkpoint.tensors]);
    await checkpoint.close();
  });

  it('shows the metadata of a GGUF file, whole or split', async () => {
    const part = (no: number, name: string) =>
      buildGguf({
        values: [
          ['split.no', { type: 2, value: no }],
          ['split.count', { type: 2, value: 2 }],
          ['split.tensors.count', { type: 5, value: 40 }],
        ],
        tensors: Array.from({ length: 20 }, (_, i) => ({
          ...{ name: `${name}${i}`, type: 0, sizes: [20_000], data: new Uint8Array(80_000) },
        })),
      }).bytes;
    const files = {
      'tiny.gguf': readFileSync(gguf),
      'q/m-00001-of-00002.gguf': part(0, 'a'),
      'q/m-00002-of-00002.gguf': part(1, 'b'),
    };
    hub.add(id, { files });
    const model = await open();
    const local = await openGguf(gguf);
    const remote = await model.openGguf('tiny.gguf');
    expect(remote.values).toEqual(local.values);
    expect([...remote.tensors.keys()]).toEqual([...local.tensors.keys()]);
    expect(await remote.readFloat32('output_norm.weight')).toEqual(
      await local.readFloat32('output_norm.weight'),
    );
    const before = model.received;
    const { tensors } = await model.openGguf('q/m-00001-of-00002.gguf');
    expect([tensors.size, tensors.get('b19')?.shape]).toEqual([40, [20_000]]);
    expect(model.received - before).toBe(2 << 20); // of 3.2 MB
    await local.close();
  });

  it('reads through a server that drops connections, or ignores ranges', async () => {
    hub.add(id, { files: await shards() });
    const expected = [...(await (await open()).openSafetensors()).tensors];
    let dropped = 0;
    hub.fault = ({ kind }) => (kind === 'store' && dropped++ < 4 ? { kind: 'drop', share: 0.3 } : undefined);
    expect([...(await (await open()).openSafetensors()).tensors]).toEqual(expected);
    hub.fault = ({ kind }) => (kind === 'store' ? { kind: 'ignore-range' } : undefined);
    expect([...(await (await open()).openSafetensors()).tensors]).toEqual(expected);
  });

  it.each([
    ['a file that is not there', async (m: Model) => m.openGguf('x.gguf'), /expected a file x\.gguf/],
    ['no weights', async (m: Model) => m.openSafetensors('model.safetensors'), /expected a file model\.saf/],
    [
      'weights that are none',
      async (m: Model) => m.openSafetensors('bad.safetensors'),
      /someone\/large\/bad/,
    ],
    ['text that is none', async (m: Model) => m.readText('bad.safetensors'), /it is not UTF-8/],
  ])('says so of %s', async (_, act, message) => {
    hub.add(id, { files: { 'bad.safetensors': new Uint8Array(2000).fill(200) } });
    await expect(act(await open())).rejects.toThrow(message);
  });

  it('whose index names other files than there are is refused', async () => {
    const files = await shards();
    hub.add(id, {
      files: { ...files, 'model-2.safetensors': await encodeSafetensors({ d: zeros(500_000) }) },
    });
    await expect((await open()).openSafetensors()).rejects.toThrow(/tensor "d" is in model-2/);
    const { 'model-2.safetensors': _, ...rest } = files;
    hub.add(id, { files: rest });
    await expect((await open()).openSafetensors()).rejects.toThrow(/expected a file model-2\.safetensors/);
  });
});

type Model = Awaited<ReturnType<typeof openRemoteModel>>;
