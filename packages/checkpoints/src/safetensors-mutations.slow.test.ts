import { expect, it } from 'vitest';
import { runMutations } from './testing/safetensors-mutations.ts';

it('200,000 damaged safetensors files open or give typed errors, in bounded time and memory', async () => {
  const started = performance.now();
  const before = process.resourceUsage().maxRSS;
  const good = await runMutations(200_000, 2_000_000);
  const grown = (process.resourceUsage().maxRSS - before) / 1024;
  console.log(
    `${good} still good, ${((performance.now() - started) / 1000).toFixed(0)} s, ${grown.toFixed(0)} MiB`,
  );
  expect(good).toBeGreaterThan(1000);
  expect(good).toBeLessThan(150_000);
  expect(grown).toBeLessThan(1024);
});
