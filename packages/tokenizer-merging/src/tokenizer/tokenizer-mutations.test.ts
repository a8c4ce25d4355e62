// A part of tokenizer-mutations.slow.test.ts that is quick enough for every day.
import { expect, it } from 'vitest';
import { goodFiles, loadAndUse, runMutations } from '../testing/tokenizer-mutations.ts';

it('starts from files that load', () => {
  for (const file of goodFiles) expect(loadAndUse(file)).toBe(true);
});

it('2,000 damaged files load as they say or give typed errors', () => {
  const { good, slowest } = runMutations(2000, 1);
  expect(good).toBeGreaterThan(50);
  expect(good).toBeLessThan(1500);
  expect(slowest).toBeLessThan(2);
});
