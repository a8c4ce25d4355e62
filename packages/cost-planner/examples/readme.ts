import {
  cacheBytesPerToken,
  countParameters,
  deepseekV3Training,
  gpuHours,
  trainingCost,
  trainingFlopsPerToken,
} from '@minke/cost-planner';
import { presets } from '@minke/transformer';

const v3 = presets['DeepSeek-V3'];
const { total, active } = countParameters(v3); // 671,026,419,200 and 37,552,297,472
const flopsPerToken = trainingFlopsPerToken(v3, 4096); // 250 GFLOP
console.log({ total, active, flopsPerToken, cacheBytes: cacheBytesPerToken(v3) });
console.log(trainingCost(deepseekV3Training)); // { gpuHours: 2788000, price: 5576000 }

const half = { ...v3, numLayers: 30 };
const hours = gpuHours({
  tokens: 1e12,
  flopsPerToken: trainingFlopsPerToken(half, 4096),
  achievedFlops: 385e12,
});
console.log(`a trillion tokens through half of it: ${Math.round(hours)} H800 hours`);
