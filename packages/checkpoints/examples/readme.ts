import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromFloat32, openCheckpoint, writeCheckpoint } from '@minke/checkpoints';

const folder = await mkdtemp(join(tmpdir(), 'checkpoint-'));
const weights = Float32Array.from({ length: 6 }, (_, i) => i / 7);
await writeCheckpoint(folder, {
  'model.norm.weight': { dtype: 'F32', shape: [3], data: new Float32Array([1, 1, 1]) },
  'lm_head.weight': { dtype: 'BF16', shape: [2, 3], data: fromFloat32('BF16', weights) },
});

const checkpoint = await openCheckpoint(folder); // headers only; shards look like one file
for (const [name, { dtype, shape }] of checkpoint.tensors) console.log(name, dtype, shape);
console.log(await checkpoint.readFloat32('lm_head.weight'));
await checkpoint.close();
