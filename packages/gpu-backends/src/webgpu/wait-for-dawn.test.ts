/** Waiting without a whole core: what is awaited comes through, and the event loop turns seldom meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { waitForDawn } from './wait-for-dawn.ts';

/** Turns of the event loop until `work` is done. */
async function turnsDuring(work: Promise<unknown>): Promise<number> {
  let turns = 0;
  let done = false;
  const count = () => {
    turns++;
    if (!done) setImmediate(count);
  };
  setImmediate(count);
  await work;
  done = true;
  return turns;
}

it('gives what the work gives, and throws what it throws', async () => {
  expect(await waitForDawn(sleep(5, 'numbers'))).toBe('numbers');
  const lost = new Error('device lost');
  await expect(waitForDawn(Promise.reject(lost))).rejects.toBe(lost);
});

it('lets the event loop rest until the last of several is done, and only until then', async () => {
  const [short, long] = [waitForDawn(sleep(20)), waitForDawn(sleep(100))];
  // A loop that only turns does so thousands of times in 100 ms.
  expect(await turnsDuring(Promise.all([short, long]))).toBeLessThan(1000);
  const plain = await turnsDuring(sleep(100));
  expect(plain).toBeGreaterThan(1000);
});
