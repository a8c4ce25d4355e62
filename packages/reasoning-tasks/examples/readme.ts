import { Random } from '@minke/core';
import {
  chainOfThought,
  completionText,
  dataset,
  generate,
  split,
  TaskStream,
  toJsonLines,
  verify,
} from '@minke/reasoning-tasks';

const problem = generate('products', new Random(1), 3);
console.log(problem.prompt, '->', problem.answer, `(${split(problem)})`);
console.log(chainOfThought(problem));
console.log(verify(problem, completionText(problem))); // { score: 1, extracted: problem.answer }
console.log(verify(problem, 'Hm.\n</think>\nThe answer is 7.')); // { score: 0, extracted: '7' }

const held = [...dataset('number_sorting', 'test', { seed: 0, count: 3 })]; // never in a training stream
for (const line of toJsonLines(held)) process.stdout.write(line);

const stream = new TaskStream({ seed: 7 }); // endless mixture of all families, split `train`
stream.next();
const resumed = TaskStream.fromState(JSON.parse(JSON.stringify(stream.state())));
console.log(resumed.next().id === stream.next().id); // true
