// Runs the built command line inside this process: signals, exit code, standard input and output are then
// exactly those of `minke` itself, and no second Node is started.

import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { repositoryRoot } from './process.mjs';

const parentPollMs = 500;

/** Runs `minke <args>`, with paths relative to the folder in which npm or pnpm was called. */
export async function runApplication(args) {
  const { npm_lifecycle_event: script, INIT_CWD: callerFolder } = process.env;
  if (script === 'start' || script === 'minke') {
    if (callerFolder) process.chdir(callerFolder);
    endWithParent();
  }
  const main = join(repositoryRoot, 'apps/cli/dist/main.js');
  process.argv = [process.execPath, main, ...args];
  await import(pathToFileURL(main).href);
}

/**
 * npm runs scripts through a shell and passes a termination signal on to that shell only, which dies and leaves
 * its child behind. So this process ends itself, as by SIGTERM, once its parent is gone.
 */
function endWithParent() {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    process.kill(process.pid, 'SIGTERM');
  }, parentPollMs);
  timer.unref();
}
