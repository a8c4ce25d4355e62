import { expect, it } from 'vitest';
import { runMutations } from '../testing/tokenizer-mutations.ts';

it('200,000 damaged tokenizer.json files load as they say or give typed errors, in bounded time and memory', () => {
  const started = performance.now();
  const before = process.memoryUsage.rss();
  const { good, slowest } = runMutations(200_000, 1_000_000);
  const grown = (process.memoryUsage.rss() - before) / 1e6;
  const seconds = (performance.now() - started) / 1000;
  console.log(
    `${good} still load, ${seconds.toFixed(0)} s, ${slowest.toFixed(2)} s the slowest, ${grown.toFixed(0)} MB more resident`,
  );
  expect(good).toBeGreaterThan(5000);
  expect(good).toBeLessThan(150_000);
  expect(slowest).toBeLessThan(2);
  expect(grown).toBeLessThan(500);
});
