import { evaluate, formatReport, passAtK, wilson } from '@minke/evaluation';
import { heldOut } from '@minke/reasoning-tasks';

const problems = heldOut('number_comparison', 'test', { seed: 0, count: 200 });

// A model is any function from prompts to completions; this one always names the first number it sees.
const complete = async (prompts: string[]) =>
  prompts.map((prompt) => `It was named first.\n</think>\nThe answer is ${/\d+/.exec(prompt)?.[0]}.`);

const report = await evaluate({ problems, complete, batchSize: 50 });
console.log(formatReport(report)); // about half of the answers are right
console.log(report.families.number_comparison?.failures[0]);

console.log(wilson(90, 100)); // { value: 0.9, low: 0.8256..., high: 0.9447... }
console.log(passAtK(10, 3, 5)); // 0.9166...: five of ten samples, three of them right
