import { Random } from '@minke/core';
import {
  Calculator,
  Curriculum,
  chainOfThought,
  completionText,
  dataset,
  generate,
  readRows,
  split,
  TaskStream,
  toJsonLines,
  verdictsOf,
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

const puzzle = generate('countdown', new Random(2), 1); // one of 28 further families
const thought = chainOfThought(puzzle, { wrongTries: 1, seed: 3 }); // tries, checks, rejects, retries
console.log(`${puzzle.prompt}\n${thought}`);
console.log(verdictsOf(puzzle, thought).map(({ said, holds }) => [said, holds])); // right and wrong are true
console.log(verify(puzzle, `</think>\nThe answer is 0 + ${puzzle.answer}.`).score); // 0: uses another number

const curriculum = new Curriculum({ seed: 1, weights: { gcd: 1 }, pacing: { by: 'success', window: 20 } });
for (let i = 0; i < 30; i++) curriculum.report(curriculum.next(), 1);
console.log(curriculum.level('gcd')); // 2

for await (const { messages } of readRows(toJsonLines([puzzle]), 'messages')) console.log(messages.length); // 2

const calculator = new Calculator();
calculator.reset(problem);
console.log(calculator.step('<calc>(1/3 + 1/6) * 4</calc>').reply); // <result>2</result>
