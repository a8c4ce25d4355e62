import { auto } from '@minke/gpu-backends';
import { deepseekV3Gate, loadStatistics, MoeLayer } from '@minke/moe-router';
import { Arena } from '@minke/tensor';

const backend = await auto();
const shape = { hiddenSize: 64, expertSize: 32, experts: 16, topK: 4 };
const moe = MoeLayer.init({ ...deepseekV3Gate, ...shape }, { backend, seed: 0, std: 0.1 });

using step = new Arena(backend);
const x = step.tensor(
  Array.from({ length: 256 * 64 }, (_, i) => Math.sin(i)),
  [256, 64],
);
const { output, load } = moe.forward(x); // output [256, 64], load [16]
moe.updateBias(load, { gamma: 1e-3 });
console.log(output.shape, loadStatistics(await load.read()).maxVio.toFixed(2));
