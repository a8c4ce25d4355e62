import { Engine } from '@minke/inference';
import type { DeepSeekModel } from '@minke/transformer';
import { afterAll, describe, expect, it } from 'vitest';
import { ShuffledSource } from '../example-source.ts';
import { LocalLearner } from '../local-learner.ts';
import { LocalSampler } from '../local-sampler.ts';
import { read, smallModel, testBackend, testFolders, weightsOf } from '../testing/small-model.ts';
import {
  type DistillConfig,
  type DistillMetrics,
  defaultDistill,
  distillOnPolicy,
} from './on-policy-distillation.ts';
import type { RlPrompt } from './prompt-source.ts';
import { LocalTeacher } from './teacher.ts';

const backend = await testBackend();
const newFolder = testFolders();
const engines: Engine[] = [];
afterAll(() => Promise.all(engines.map((engine) => engine.dispose())));

const prompts = () =>
  new ShuffledSource<RlPrompt>(
    Array.from({ length: 12 }, (_, i) => ({ tokens: [1, 2 + i], input: { prompt: String(i) } })),
    0,
  );
const config = (changes: Partial<DistillConfig> = {}): DistillConfig => ({
  ...defaultDistill,
  steps: 60,
  promptsPerStep: 8,
  samplesPerPrompt: 2,
  maxNewTokens: 6,
  learningRate: 1e-2,
  tokensPerMicroBatch: 60,
  checkpointEvery: 5,
  ...changes,
});
/** A student of its own weights, its sampler, and everything else of a run but settings and folder. */
function run(model: DeepSeekModel) {
  const learner = new LocalLearner(model);
  const engine = new Engine(model, {
    maxSequences: 16,
    contextLength: 32,
    form: 'expanded',
    temperedLogProbs: true,
  });
  engines.push(engine);
  const teacher = new LocalTeacher(smallModel(backend, { seed: 8 }));
  return {
    learner,
    sampler: new LocalSampler(engine),
    teacher,
    prompts: prompts(),
    stopTokenIds: [0],
  };
}

describe('distillOnPolicy', () => {
  it("brings the student to the teacher on the student's own samples", async () => {
    const lines: DistillMetrics[] = [];
    const last = await distillOnPolicy({
      ...run(smallModel(backend, { seed: 3 })),
      config: config(),
      folder: newFolder(),
      onStep: (m) => lines.push(m),
    });
    expect(lines).toHaveLength(60);
    expect(last.loss).toBeLessThan(0.35 * lines[0]!.loss);
    expect(last.loss).toBeGreaterThan(0);
    for (const m of lines) {
      expect(m['completions/mean_length']).toBeLessThanOrEqual(6);
      expect(m.entropy).toBeGreaterThan(0);
    }
  });

  it('has nothing to teach a student that is the teacher', async () => {
    const last = await distillOnPolicy({
      ...run(smallModel(backend, { seed: 8 })),
      config: config({ steps: 1, temperature: 0.7 }),
      folder: newFolder(),
    });
    expect(Math.abs(last.loss)).toBeLessThan(1e-6);
    // What is left is the balance of experts.
    expect(last.grad_norm).toBeLessThan(1e-2);
  });

  it('continues a run that died to the same bytes', async () => {
    const [whole, killed] = [newFolder(), newFolder()];
    const settings = config({ steps: 12 });
    const student = () => smallModel(backend, { seed: 3 });
    const first = student();
    await distillOnPolicy({ ...run(first), config: settings, folder: whole });
    const onStep = ({ global_step }: DistillMetrics) => {
      if (global_step === 8) throw new Error('killed');
    };
    const dying = distillOnPolicy({ ...run(student()), config: settings, folder: killed, onStep });
    await expect(dying).rejects.toThrow('killed');
    const second = smallModel(backend, { seed: 4 });
    await distillOnPolicy({ ...run(second), config: settings, folder: killed });
    expect(read(killed, 'metrics.jsonl')).toBe(read(whole, 'metrics.jsonl'));
    expect(await weightsOf(second)).toEqual(await weightsOf(first));
  });

  it('names bad settings and a teacher of another vocabulary', async () => {
    const parts = run(smallModel(backend));
    const bad = config({ steps: 0, temperature: 0, beta: 2 });
    await expect(
      distillOnPolicy({ ...parts, stopTokenIds: [], config: bad, folder: newFolder() }),
    ).rejects.toThrow(/steps.*temperature.*beta.*stopTokenIds/);
    const teacher = new LocalTeacher(smallModel(backend, { vocabSize: 30 }));
    await expect(
      distillOnPolicy({ ...parts, teacher, config: config({ steps: 1 }), folder: newFolder() }),
    ).rejects.toThrow(/step 1: .*teacherLogProbs over 24 ids/);
  });
});
