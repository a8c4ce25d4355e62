/** For tests of engines that compute or keep numbers in other forms: what a model says to three prompts. */
import type { TransformerModel } from '@minke/transformer';
import { ModelStep, type ModelStepOptions } from '../model-step.ts';

/** Three prompts of 9, 13 and 17 tokens, of a vocabulary of 128. */
export const threePrompts = [0, 1, 2].map((salt) =>
  Array.from({ length: 9 + 4 * salt }, (_, i) => (7 + 31 * i + 17 * salt) % 128),
);

/** Logits after the prompts and a generated token each. */
export async function logitsOfThree(
  model: TransformerModel,
  options: Omit<ModelStepOptions, 'slots' | 'maxTokens'>,
): Promise<number[]> {
  const step = new ModelStep(model, { slots: 3, maxTokens: 32, ...options });
  const chunks = threePrompts.map((ids, slot) => ({
    slot,
    ids: Int32Array.from(ids),
    role: 'prompt' as const,
  }));
  const next = threePrompts.map((_, slot) => ({
    slot,
    ids: Int32Array.of(slot),
    role: 'generated' as const,
  }));
  const all = [...(await step.run(chunks)), ...(await step.run(next))];
  step.dispose();
  return all;
}
