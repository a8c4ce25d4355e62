/**
 * Waiting for Dawn in Node. While something is awaited, Dawn asks its device in every turn of the event loop, which turns
 * without a pause: a whole core, which a software adapter would compute with. Here each turn rests.
 */

/** Of the time waited so far, what a turn rests; so an answer comes at most that much later. */
const share = 1 / 16;
/** Longest rest, in milliseconds: everything else in the process waits as long. */
const longest = 1;

const cell = new Int32Array(new SharedArrayBuffer(4));
let awaited = 0;
let since = 0;
let turning = false;

function turn(): void {
  turning = awaited > 0;
  if (!turning) return;
  Atomics.wait(cell, 0, 0, Math.min((performance.now() - since) * share, longest));
  setImmediate(turn);
}

/** `work`, with rests in the event loop until it is done. */
export async function waitForDawn<T>(work: Promise<T>): Promise<T> {
  since = performance.now();
  awaited++;
  if (!turning) setImmediate(turn);
  turning = true;
  try {
    return await work;
  } finally {
    awaited--;
  }
}
