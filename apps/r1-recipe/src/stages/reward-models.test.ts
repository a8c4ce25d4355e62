import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { auto } from '@minke/gpu-backends';
import { LocalScorer } from '@minke/rl-trainer';
import { afterAll, expect, it } from 'vitest';
import { withNewModel } from './model-folder.ts';
import { openRewardModel } from './reward-models.ts';

const folder = mkdtempSync(join(tmpdir(), 'minke-reward-models-'));
const backend = await auto({ threads: 1 });
afterAll(() => {
  backend.dispose();
  rmSync(folder, { recursive: true, force: true });
});

it('opens a reward model, and gives back all of its memory with it, also where it cannot be opened', async () => {
  const format = await withNewModel('student', { backend, seed: 0 }, async (language) => {
    const scorer = new LocalScorer(language.model, { seed: 0 });
    await scorer.saveModel(join(folder, 'helpful/model'), { dtype: 'f32' });
    await scorer.dispose();
    return { tokenizer: language.tokenizer, template: language.template };
  });
  const before = backend.memoryUse();
  for (let time = 0; time < 2; time++) {
    const opened = await openRewardModel('helpful', folder, { backend, format });
    expect(backend.memoryUse().bytes).toBeGreaterThan(before.bytes + 1e5);
    const scores = await opened.model([{ prompt: 'hello', response: 'hello there' }]);
    expect(scores.every(Number.isFinite)).toBe(true);
    await opened.dispose();
    expect(backend.memoryUse()).toEqual(before);
  }
  await expect(openRewardModel('safe', folder, { backend, format })).rejects.toThrow();
  expect(backend.memoryUse()).toEqual(before);
});
