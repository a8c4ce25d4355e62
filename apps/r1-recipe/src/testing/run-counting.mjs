// Runs the counting stages in a folder: the process that tests kill.
//
//   node run-counting.mjs <folder> <pause in ms>

import { runStages } from '../../dist/index.js';
import { countingStages } from './counting-recipe.mjs';

const [folder, pause] = process.argv.slice(2);
const controller = new AbortController();
process.once('SIGINT', () => controller.abort());
try {
  await runStages(countingStages({ count: 120, pauseMs: Number(pause) }), {
    folder,
    recipe: 'counting',
    seed: 3,
    command: 'run-counting',
    commit: 'test',
    signal: controller.signal,
    onEvent: (event) => process.stdout.write(`${JSON.stringify({ ...event, plan: undefined })}\n`),
  });
} catch (problem) {
  process.stderr.write(`${problem.message}\n`);
  process.exitCode = problem.code === 'aborted' ? 130 : 1;
}
