import { expect, it } from 'vitest';
import { runMutations } from './testing/gguf-mutations.ts';

it('200,000 damaged GGUF files open or give typed errors, in bounded time and memory', async () => {
  const started = performance.now();
  const good = await runMutations(200_000, 1_000_000);
  console.log(`${good} still good, ${((performance.now() - started) / 1000).toFixed(0)} s`);
  expect(good).toBeGreaterThan(1000);
  expect(good).toBeLessThan(150_000);
});
