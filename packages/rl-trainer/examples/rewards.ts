import {
  accuracyReward,
  composeRewards,
  formatReward,
  kimiLengthReward,
  languageReward,
  mathVerifier,
  rewardMetrics,
  softOverlongReward,
} from '@minke/rl-trainer';

const languages = { en: { words: ['check', 'so', 'wrong'] }, es: { words: ['comprueba', 'luego', 'mal'] } };
const score = composeRewards([
  { name: 'accuracy', reward: accuracyReward(mathVerifier()) },
  { name: 'format', reward: formatReward(), weight: 0.5 },
  { name: 'language', reward: languageReward({ languages }), weight: 0.5, ifNull: 'skip' },
  { name: 'length', reward: kimiLengthReward(), weight: 0 }, // logged only
  { name: 'overlong', reward: softOverlongReward({ maxLength: 512, cache: 128 }) },
]);

// The completions of one prompt. The prompt ends in <think>, so they begin inside the thought.
const shared = { prompt: 'What is half of 3/4?', answer: '\\frac{3}{8}', language: 'en' };
const scored = await score([
  { ...shared, completion: 'so 3/8. check: 3/8 + 3/8 = 3/4\n</think>\n\\boxed{0.375}', length: 40 },
  { ...shared, completion: 'so 3/8, luego 3/8\n</think>\n\\boxed{3/8}', length: 20 },
  { ...shared, completion: '3/2\n</think>\n\\boxed{3/2}', length: 12 },
]);
console.log(scored.totals); // [2, 1.75, 0.5]
console.log(rewardMetrics([scored])['rewards/accuracy/mean']); // 0.666...
