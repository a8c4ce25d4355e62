import { expect, it } from 'vitest';
import { recipeTokenizer } from '../data/index.ts';
import { modelShape } from '../stages/model-shapes.ts';
import { flopsOf, workOf } from './token-work.ts';

const step = {
  step_time: 2,
  'time/sampling': 0.5,
  'time/update': 0.25,
  'throughput/sampled_tokens_per_second': 1000,
  'throughput/trained_tokens_per_second': 400,
};

it('counts tokens of reinforcement by its own counters, and in older logs by clocks', () => {
  const counted = { ...step, num_sampled_tokens: 7, num_forwarded_tokens: 5, num_trained_tokens: 9 };
  expect(workOf([[step, counted]])).toEqual({ sampled: 7, forwarded: 5, trained: 9 });
  expect(workOf([[step, { ...step, kl: 0.1 }]])).toEqual({ sampled: 2000, forwarded: 200, trained: 400 });
});

it('counts those of supervised training and of sampling, and adds logs up', () => {
  const fit = [{ num_tokens: 500 }, { num_tokens: 1000 }];
  const drawn = [
    { sampled: 4, num_tokens: 50 },
    { sampled: 4, num_tokens: 150 },
  ];
  expect(workOf([fit, drawn, []])).toEqual({ sampled: 200, forwarded: 0, trained: 1000 });
  expect(workOf([])).toEqual({ sampled: 0, forwarded: 0, trained: 0 });
});

it('takes 2 FLOPs for each active parameter and token, three times that with gradient', () => {
  const config = modelShape('policy', recipeTokenizer().vocabSize);
  const one = flopsOf({ sampled: 1, forwarded: 0, trained: 0 }, config);
  expect(one).toBeGreaterThan(2 * 0.8e6);
  expect(one).toBeLessThan(2 * 1.5e6);
  expect(flopsOf({ sampled: 1, forwarded: 1, trained: 2 }, config)).toBeCloseTo(8 * one, 0);
});
