/** For tests of engines that compute or keep numbers in other forms: what a model says to three prompts. */
import type { TransformerModel } from '@minke/transformer';
import { expect } from 'vitest';
import type { Engine } from '../engine.ts';
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

/** A request to an engine, drawn at random from a seed. */
export const drawn = {
  ...{ maxNewTokens: 14, seed: 4, stopTokenIds: [] },
  sampling: { temperature: 1, topP: 0.95, topK: 0, minP: 0 },
};

/** Expects of an engine that each prompt has the same answer in a batch as alone; returns the answers. */
export async function sameInBatchAndAlone(engine: Engine) {
  const together = await Promise.all(
    threePrompts.map((promptIds) => engine.generate({ ...drawn, promptIds }).rest()),
  );
  for (const [p, promptIds] of threePrompts.entries())
    expect(await engine.generate({ ...drawn, promptIds }).rest()).toEqual(together[p]);
  return together;
}

/** Expects the same logits behind the last prompt whether it comes at once or in three pieces. */
export async function sameInPieces(
  model: TransformerModel,
  options: Omit<ModelStepOptions, 'slots' | 'maxTokens'>,
): Promise<void> {
  const step = new ModelStep(model, { slots: 2, maxTokens: 32, ...options });
  const ids = Int32Array.from(threePrompts[2]!);
  const chunk = (slot: number, start: number, end: number) =>
    step.run([{ slot, ids: ids.subarray(start, end), role: 'prompt' }]);
  const whole = await chunk(0, 0, ids.length);
  await chunk(1, 0, 5);
  await chunk(1, 5, 6);
  expect(await chunk(1, 6, ids.length)).toEqual(whole);
  step.dispose();
}
