/**
 * The `minke` executable.
 */
import { run } from './program.ts';

// A reader that leaves (`minke logits ... | head`) is no error.
process.stdout.on('error', (problem: NodeJS.ErrnoException) => {
  if (problem.code !== 'EPIPE') throw problem;
  process.exit(0);
});
process.exitCode = await run(process.argv.slice(2));
