/**
 * The `minke` command. Exit codes: 0 done, 1 failed with a message, 2 wrong usage, 130 interrupted.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { addBench } from './commands/bench.ts';
import { addChat } from './commands/chat.ts';
import { addEval } from './commands/eval.ts';
import { addExport } from './commands/export.ts';
import { addInspect } from './commands/inspect.ts';
import { addLogits } from './commands/logits.ts';
import { addMerge } from './commands/merge.ts';
import { addPull } from './commands/pull.ts';
import { addQuantize } from './commands/quantize.ts';
import { addServe } from './commands/serve.ts';
import { addTrain } from './commands/train.ts';
import { failure } from './failure.ts';

// A reader that leaves early (`minke logits ... | head`) is no failure.
process.stdout.on('error', (problem: NodeJS.ErrnoException) => {
  if (problem.code !== 'EPIPE') throw problem;
  process.exit(0);
});

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const program = new Command('minke')
  .description(
    'Reasoning models in TypeScript: serve, chat, pull, inspect, quantize, logits, train, merge, evaluate and measure.',
  )
  .version(version)
  .exitOverride();

addServe(program);
addChat(program);
addPull(program);
addInspect(program);
addQuantize(program);
addLogits(program);
addTrain(program);
addMerge(program);
addExport(program);
addEval(program);
addBench(program);

try {
  await program.parseAsync();
} catch (problem) {
  if (problem instanceof CommanderError) process.exit(problem.exitCode === 0 ? 0 : 2);
  const { message, exitCode } = failure(problem);
  process.stderr.write(`${message}\n`);
  process.exit(exitCode);
}
