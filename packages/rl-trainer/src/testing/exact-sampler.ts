import type { Sampler } from '../interfaces.ts';

/** A sampler that says that its log-probabilities are the learner's. */
export const asExact = (sampler: Sampler): Sampler => ({
  exact: true,
  sample: (request, signal) => sampler.sample(request, signal),
  update: (policy) => sampler.update(policy),
});
