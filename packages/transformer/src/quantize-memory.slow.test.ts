// Resident memory while a checkpoint of 400 MB is quantised and while it loads, with experts one by one and packed:
// `pnpm test:slow`.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { streamCheckpoint, type TensorSpec } from '@minke/checkpoints';
import { Arena } from '@minke/tensor';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { DeepSeekConfig, MoeShape } from './config.ts';
import { huggingFaceConfigText } from './hugging-face-config.ts';
import { loadModel } from './load.ts';
import { packedSource, parameterShapes, publishedTensors } from './names.ts';
import { presets } from './presets.ts';
import { isLatentProjection, quantizableParameters, tokenTable } from './quantizable.ts';
import { quantizeModel } from './quantize-model.ts';
import { fastBackend as backend } from './testing/fixtures.ts';

const base = presets['DeepSeek-V2-Lite'] as DeepSeekConfig;
const config: DeepSeekConfig = {
  ...base,
  ...{ vocabSize: 8192, hiddenSize: 1024, intermediateSize: 2048, numLayers: 2, numHeads: 8 },
  ...{ bosTokenId: 0, eosTokenIds: [1], maxPositions: 2048, yarn: null },
  moe: { ...(base.moe as MoeShape), expertSize: 1024 },
};
const MiB = 2 ** 20;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'minke-quantize-memory-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Writes random bf16 weights; bytes. */
async function write(out: string, specs: ReadonlyMap<string, TensorSpec>): Promise<number> {
  const { mkdir } = await import('node:fs/promises');
  await mkdir(out);
  await writeFile(join(out, 'config.json'), huggingFaceConfigText(config));
  const pool = Uint16Array.from(
    { length: 1 << 20 },
    (_, i) => 0x3c00 + ((i * 2654435761) % 512) + (i % 2) * 0x8000,
  );
  const stream = await streamCheckpoint(out, specs, { maxShardBytes: 150e6 });
  for (const [name, { shape }] of specs)
    for (let left = shape.reduce((a, b) => a * b, 1); left > 0; left -= pool.length)
      await stream.append(name, pool.subarray(0, Math.min(left, pool.length)));
  await stream.finish();
  return stream.byteLength;
}

function specsOf(packed: boolean): Map<string, TensorSpec> {
  const spec = (shape: readonly number[]): TensorSpec => ({ dtype: 'BF16', shape });
  if (!packed) return new Map(publishedTensors(config).map(({ name, shape }) => [name, spec(shape)]));
  return new Map(
    [...parameterShapes(config)].flatMap(([name, shape]): [string, TensorSpec][] => {
      const source = packedSource(name);
      if (source === null) return [[name, spec(shape)]];
      const [experts, rows, columns] = shape as readonly [number, number, number];
      if (source.half === 1) return [];
      return [[source.name, spec(source.half === null ? shape : [experts, 2 * rows, columns])]];
    }),
  );
}

/** Bytes of the model's weights in memory: blocks of 4 bits, of 8 twice for latents, the table in bf16, the rest in f32. */
function blocksAndRest(): number {
  const rounded = quantizableParameters(config);
  let total = 0;
  for (const [name, shape] of parameterShapes(config)) {
    const count = shape.reduce((a, b) => a * b, 1);
    if (name === tokenTable) total += 2 * count;
    else if (isLatentProjection(name)) total += 2 * (count / 32) * 34;
    else total += rounded.has(name) ? (count / 32) * 18 : 4 * count;
  }
  return total;
}

test.each([
  ['one by one', false],
  ['packed', true],
])('with experts %s, memory is that of some pieces, then that of the blocks', async (name, packed) => {
  const source = join(folder, name);
  const bytes = await write(source, specsOf(packed));
  expect(bytes).toBeGreaterThan(400e6);
  let peak = 0;
  const before = process.memoryUsage().rss;
  const look = () => {
    peak = Math.max(peak, process.memoryUsage().rss - before);
  };
  await quantizeModel(source, join(folder, `${name} q4`), { backend, type: 'q4_0', onProgress: look });
  const quantising = peak;

  peak = 0;
  const again = process.memoryUsage().rss;
  const arena = new Arena(backend, { persistent: true });
  await loadModel(join(folder, `${name} q4`), {
    backend,
    arena,
    onProgress: () => {
      peak = Math.max(peak, process.memoryUsage().rss - again);
    },
  });
  const { bytes: model } = arena;
  arena.dispose();
  console.log(
    `${name}: ${(bytes / MiB).toFixed(0)} MiB; quantising took ${(quantising / MiB).toFixed(0)} MiB, loading ${(peak / MiB).toFixed(0)} for ${(model / MiB).toFixed(0)} MiB of weights`,
  );
  expect(quantising).toBeLessThan(96 * MiB);
  expect(model).toBeLessThan(1.01 * blocksAndRest());
  expect(peak).toBeLessThan(model + 96 * MiB);
});
