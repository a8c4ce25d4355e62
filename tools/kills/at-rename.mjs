// Loaded before the recipe (`node --import`): kills the process group at one rename in a stage's folder, right before
// or right after it. A real SIGKILL at the one moment that a clock hits too rarely.
//
//   KILL_AT_RENAME='{"stage":"zero","target":"checkpoints/step-\\d+$","when":"before","nth":2}'

import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const { stage, target, when, nth } = JSON.parse(process.env.KILL_AT_RENAME);
const wanted = new RegExp(`stages/${stage}-[0-9a-f]{12}/(.*/)?${target}`);
let left = nth;

/** Never returns from the rename that was asked for: signal 9 to group 0, our own, arrives first. */
function atRename(path, now) {
  if (now !== when || !wanted.test(String(path).replaceAll('\\', '/'))) return;
  if (--left > 0) return;
  process.kill(0, 'SIGKILL');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10_000);
}

const { renameSync } = fs;
fs.renameSync = (from, to) => {
  atRename(to, 'before');
  renameSync(from, to);
  atRename(to, 'after');
};
const { rename } = fs.promises;
fs.promises.rename = async (from, to) => {
  atRename(to, 'before');
  await rename(from, to);
  atRename(to, 'after');
};
syncBuiltinESMExports();
