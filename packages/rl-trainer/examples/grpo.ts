import { auto } from '@minke/gpu-backends';
import { loadLanguageModel } from '@minke/inference';
import { TaskStream } from '@minke/reasoning-tasks';
import {
  formatReward,
  localPolicy,
  presets,
  taskAccuracyReward,
  taskPrompts,
  trainGrpo,
} from '@minke/rl-trainer';

const folder = process.argv[2] ?? 'model'; // config.json, safetensors, tokenizer.json
const language = await loadLanguageModel(folder, { backend: await auto() });
const local = await localPolicy(language, { contextLength: 192 });
const last = await trainGrpo({
  ...local,
  prompts: taskPrompts(new TaskStream({ seed: 1, weights: { chain_sum: 1 } }), language),
  rewards: [
    { name: 'accuracy', reward: taskAccuracyReward() },
    { name: 'format', reward: formatReward() },
  ],
  config: {
    ...presets['r1-zero'],
    ...{ groupSize: 8, promptsPerStep: 4, minibatches: 1, maxCompletionLength: 96, learningRate: 1e-4 },
  },
  ...{ steps: 2, seed: 0, folder: `zero-${process.pid}` }, // a killed run continues from here
});
console.log(`reward ${last.reward} after ${last.num_tokens} tokens`);
await local.dispose();
