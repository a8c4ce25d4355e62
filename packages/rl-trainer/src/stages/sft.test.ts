import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaultSampling } from '@minke/inference';
import { TaskStream } from '@minke/reasoning-tasks';
import { Arena } from '@minke/tensor';
import { deepseekR1Template, deepseekSpecialTokens } from '@minke/tokenizer-merging/chat';
import { trainBpe } from '@minke/tokenizer-merging/tokenizer';
import { DeepSeekModel, parseConfig } from '@minke/transformer';
import { describe, expect, it } from 'vitest';
import { type Example, packExamples } from '../batch.ts';
import { ShuffledSource } from '../example-source.ts';
import { LocalLearner } from '../local-learner.ts';
import type { LocalLearnerOptions } from '../local-training.ts';
import { formatReward } from '../rewards/format.ts';
import { TaskSource } from '../task-source.ts';
import { testBackend, testFolders } from '../testing/small-model.ts';
import { heldOutSamples } from './held-out-samples.ts';
import { localPolicy } from './local-policy.ts';
import { taskPrompts } from './prompt-source.ts';
import {
  defaultSft,
  defaultSftLearner,
  type SftConfig,
  type SftMetrics,
  type SftOptions,
  trainSft,
} from './sft.ts';
import { LocalTeacher } from './teacher.ts';

const modelConfig = parseConfig({
  model_type: 'deepseek_v3',
  vocab_size: 160,
  hidden_size: 32,
  num_hidden_layers: 3,
  first_k_dense_replace: 1,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  q_lora_rank: 16,
  kv_lora_rank: 16,
  qk_nope_head_dim: 8,
  qk_rope_head_dim: 8,
  v_head_dim: 8,
  intermediate_size: 64,
  moe_intermediate_size: 16,
  n_routed_experts: 8,
  num_experts_per_tok: 2,
  n_shared_experts: 1,
  n_group: 1,
  topk_group: 1,
  routed_scaling_factor: 2.5,
  norm_topk_prob: true,
  initializer_range: 0.1,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  max_position_embeddings: 256,
  tie_word_embeddings: false,
});

const tokenizer = trainBpe(['What is the sum of 0 and 0? The answer is 0. c1;=+-*>'], {
  vocabSize: 150 + 130,
  specialTokens: deepseekSpecialTokens,
  digits: 'individual',
});
const vocabulary = tokenizer.vocabSize;
const config = (changes: Partial<SftConfig>): SftConfig => ({
  ...defaultSft,
  steps: 8,
  tokensPerStep: 400,
  checkpointEvery: 3,
  schedule: { ...defaultSft.schedule, warmupSteps: 2 },
  ...changes,
});

const backend = await testBackend();
const newFolder = testFolders();

const newModel = (): DeepSeekModel =>
  DeepSeekModel.init(
    { ...modelConfig, vocabSize: vocabulary },
    { arena: new Arena(backend, { persistent: true }), seed: 1 },
  );
const learnerOf = (model: DeepSeekModel, options: Partial<LocalLearnerOptions> = {}): LocalLearner =>
  new LocalLearner(model, { ...defaultSftLearner, ...options });
const newSource = (): TaskSource =>
  new TaskSource(new TaskStream({ seed: 5, weights: { chain_sum: 1 } }), tokenizer, deepseekR1Template);
const weights = (model: DeepSeekModel): string =>
  [...model.parameters().values()]
    .map((p) => Buffer.from(p.readSync?.().buffer as ArrayBuffer).toString('base64'))
    .join();

describe('trainSft', () => {
  it('learns an example by heart', async () => {
    const ids = (text: string): Int32Array => Int32Array.from(tokenizer.encode(text));
    const example: Example = { ids: ids('What is 0 + 0? The answer is 0.'), completionStart: 6 };
    const last = await trainSft({
      learner: learnerOf(newModel(), { weightDecay: 0 }),
      source: new ShuffledSource([example], 0),
      config: config({
        steps: 120,
        tokensPerStep: 64,
        learningRate: 5e-3,
        checkpointEvery: 1000,
      }),
      folder: newFolder(),
    });
    expect(last.loss).toBeLessThan(0.05);
    expect(last.mean_token_accuracy).toBe(1);
  });

  it('continues a run that died between checkpoints to the same bytes', async () => {
    const whole = newModel();
    const wholeFolder = newFolder();
    await trainSft({
      learner: learnerOf(whole),
      source: newSource(),
      config: config({}),
      folder: wholeFolder,
    });

    const folder = newFolder();
    const die = (metrics: SftMetrics): void => {
      if (metrics.global_step === 5) throw new Error('killed');
    };
    const options = { config: config({}), folder };
    await expect(
      trainSft({ learner: learnerOf(newModel()), ...options, source: newSource(), onStep: die }),
    ).rejects.toThrow('killed');
    const resumed = newModel();
    const steps: number[] = [];
    await trainSft({
      learner: learnerOf(resumed),
      ...options,
      source: newSource(),
      onStep: (m) => steps.push(m.global_step),
    });
    expect(steps).toEqual([4, 5, 6, 7, 8]);
    expect(weights(resumed)).toBe(weights(whole));
    const metrics = (at: string): string => readFileSync(join(at, 'metrics.jsonl'), 'utf8');
    expect(metrics(folder)).toBe(metrics(wholeFolder));

    const again = newModel();
    const last = await trainSft({ learner: learnerOf(again), ...options, source: newSource() });
    expect(last.global_step).toBe(8);
    expect(weights(again)).toBe(weights(whole));
  });

  it('logs what the policy answers at each checkpoint, the same when it was stopped and when it died', async () => {
    const problems = new TaskStream({ seed: 9, split: 'test', weights: { chain_sum: 1 } });
    const held = taskPrompts(problems, { tokenizer, template: deepseekR1Template });
    const prompts = [held.next(), held.next()];
    const run = async (folder: string, changes: Partial<SftOptions> = {}) => {
      const language = {
        ...{ model: newModel(), tokenizer, template: deepseekR1Template, stopTokenIds: [1] },
        sampling: defaultSampling,
      };
      const local = await localPolicy(language, { contextLength: 64, reference: false });
      const rewards = [{ name: 'format', reward: formatReward() }];
      const samples = heldOutSamples({ ...local, prompts, rewards, maxNewTokens: 12 });
      try {
        await trainSft({ ...local, source: newSource(), config: config({}), folder, samples, ...changes });
      } finally {
        await local.dispose();
      }
    };
    const logs = (folder: string) =>
      ['samples.jsonl', 'metrics.jsonl'].map((name) => readFileSync(join(folder, name), 'utf8'));
    const whole = newFolder();
    await run(whole);
    const lines = (logs(whole)[0] as string)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.map(({ global_step, id }) => [global_step, id])).toEqual(
      [3, 6, 8].flatMap((step) => [0, 1].map((p) => [step, `held-out.${p}`])),
    );
    for (const [i, line] of lines.entries()) {
      expect(line).toMatchObject({ prompt: prompts[i % 2]?.input.prompt, policy_version: line.global_step });
      expect(line.reward).toBe(line.rewards.format);
      expect(line.length).toBeGreaterThan(0);
    }
    const [stopped, died] = [newFolder(), newFolder()];
    const stop = new AbortController();
    const at = (step: number, act: () => void) => ({
      onStep: (m: SftMetrics) => m.global_step === step && act(),
    });
    const aborting = { ...at(4, () => stop.abort()), signal: stop.signal };
    await expect(run(stopped, aborting)).rejects.toThrow('stopped after step 4');
    const die = () => {
      throw new Error('killed');
    };
    await expect(run(died, at(7, die))).rejects.toThrow('killed');
    // What a kill while samples are written leaves.
    writeFileSync(join(died, 'samples.jsonl'), '{"global_step":8,', { flag: 'a' });
    for (const folder of [stopped, died]) {
      await run(folder);
      expect(logs(folder)).toEqual(logs(whole));
    }
  });

  it('refuses to continue a run with another configuration', async () => {
    const folder = newFolder();
    await trainSft({
      learner: learnerOf(newModel()),
      source: newSource(),
      config: config({ steps: 1 }),
      folder,
    });
    const changed = config({ steps: 2 });
    await expect(
      trainSft({ learner: learnerOf(newModel()), source: newSource(), config: changed, folder }),
    ).rejects.toThrow('another configuration');
  });

  it('stops after the current step when told to, with a checkpoint', async () => {
    const folder = newFolder();
    const stop = new AbortController();
    const onStep = (m: SftMetrics): void => {
      if (m.global_step === 2) stop.abort();
    };
    const options = { source: newSource(), config: config({}), folder };
    await expect(
      trainSft({ learner: learnerOf(newModel()), ...options, onStep, signal: stop.signal }),
    ).rejects.toThrow('stopped after step 2');
    const steps: number[] = [];
    await trainSft({
      learner: learnerOf(newModel()),
      ...options,
      source: newSource(),
      onStep: (m) => steps.push(m.global_step),
    });
    expect(steps[0]).toBe(3);
  });

  it('stops when it diverges, names the last good checkpoint, and saves no numbers that are none', async () => {
    const diverging = (learningRate: number) => {
      const folder = newFolder();
      const schedule = { ...defaultSft.schedule, warmupSteps: 0 };
      const run = trainSft({
        ...{ learner: learnerOf(newModel()), source: newSource(), folder },
        config: config({ learningRate, schedule, checkpointEvery: 1 }),
      });
      return { run, folder };
    };
    const huge = diverging(1e30);
    await expect(huge.run).rejects.toThrow(
      /trainSft: step 2: .*became (NaN|-?Infinity); the checkpoint of step 1 is no good: .*; there is no checkpoint yet that is good, .*lower learning rate/,
    );
    expect(readFileSync(join(huge.folder, 'metrics.jsonl'), 'utf8').trim().split('\n')).toHaveLength(1);
    const beyond = diverging(1e39);
    await expect(beyond.run).rejects.toThrow(/trainSft: step 1: saveState: \S+ became (NaN|-?Infinity)/);
    expect(readdirSync(join(beyond.folder, 'checkpoints'))).toEqual([]);
  });

  it('refuses to continue with other settings of the learner', async () => {
    const folder = newFolder();
    const once = { source: newSource(), config: config({ steps: 2, checkpointEvery: 1 }), folder };
    const die = (): void => {
      throw new Error('killed');
    };
    await expect(
      trainSft({
        learner: learnerOf(newModel()),
        ...once,
        config: config({ steps: 4, checkpointEvery: 1 }),
        onStep: (m) => m.global_step === 2 && die(),
      }),
    ).rejects.toThrow('killed');
    const learner = learnerOf(newModel(), { weightDecay: 0.2 });
    const again = trainSft({
      learner,
      ...once,
      source: newSource(),
      config: config({ steps: 4, checkpointEvery: 1 }),
    });
    await expect(again).rejects.toThrow(/saved with the settings/);
  });

  it('is the same run in micro-batches, up to rounding', async () => {
    const run = async (tokensPerMicroBatch: number) => {
      const lines: SftMetrics[] = [];
      await trainSft({
        learner: learnerOf(newModel()),
        source: newSource(),
        config: config({ steps: 3, tokensPerMicroBatch }),
        folder: newFolder(),
        onStep: (m) => lines.push(m),
      });
      return lines;
    };
    const [whole, parts] = [await run(8192), await run(100)];
    for (const [i, line] of whole.entries()) {
      expect(parts[i]!.loss).toBeCloseTo(line.loss, 4);
      expect(parts[i]!.grad_norm / line.grad_norm).toBeCloseTo(1, 2);
      expect(parts[i]!.mean_token_accuracy).toBeCloseTo(line.mean_token_accuracy, 2);
      expect(parts[i]!.balance_loss).toBeCloseTo(line.balance_loss, 5);
      expect(parts[i]).toMatchObject({ num_tokens: line.num_tokens, learning_rate: line.learning_rate });
    }
  });

  it('learns the distributions of a teacher, where there is one', async () => {
    const teacher = newModel();
    await trainSft({
      learner: learnerOf(teacher),
      source: newSource(),
      config: config({ steps: 30, learningRate: 5e-3 }),
      folder: newFolder(),
    });
    const losses: number[] = [];
    const student = newModel();
    await trainSft({
      learner: learnerOf(student),
      teacher: new LocalTeacher(teacher),
      source: newSource(),
      config: config({ steps: 40, learningRate: 5e-3 }),
      folder: newFolder(),
      onStep: ({ loss }) => losses.push(loss),
    });
    expect(losses[0]).toBeGreaterThan(1);
    expect(losses.at(-1)).toBeLessThan(0.15 * losses[0]!);
    const still = { weightDecay: 0, biasUpdateGamma: 0, balanceAlpha: 0 };
    const own = await trainSft({
      learner: learnerOf(student, still),
      teacher: new LocalTeacher(student),
      source: newSource(),
      config: config({ steps: 1, learningRate: 0 }),
      folder: newFolder(),
    });
    expect(Math.abs(own.loss)).toBeLessThan(1e-6);
  });

  it('names every absurd setting', async () => {
    const bad = config({ steps: 0, learningRate: Number.NaN, tokensPerStep: 1.5 });
    const run = trainSft({
      learner: learnerOf(newModel()),
      source: newSource(),
      config: bad,
      folder: newFolder(),
    });
    await expect(run).rejects.toThrow(/steps.*tokensPerStep.*learningRate/);
  });

  it('keeps experts more even with the bias update than without', async () => {
    const final = async (gamma: number): Promise<number> => {
      const vios: number[] = [];
      await trainSft({
        learner: learnerOf(newModel(), { biasUpdateGamma: gamma, balanceAlpha: 0 }),
        source: newSource(),
        config: config({
          steps: 60,
          learningRate: 3e-3,
          checkpointEvery: 1000,
        }),
        folder: newFolder(),
        onStep: (m) => vios.push(m.max_vio),
      });
      return vios.slice(-20).reduce((a, b) => a + b, 0) / 20;
    };
    const [without, withUpdate] = [await final(0), await final(1e-2)];
    expect(withUpdate).toBeLessThan(without * 0.7);
  });
});

describe('a packed batch', () => {
  it('has the loss of its examples one by one', async () => {
    const model = newModel();
    const source = newSource();
    const examples = [source.next(), source.next(), source.next()];
    const lossOf = async (batch: readonly Example[]): Promise<{ sum: number; count: number }> => {
      const config1 = config({
        steps: 1,
        tokensPerStep: 4000,
        learningRate: 0,
      });
      const packed = packExamples(batch);
      const finite = new ShuffledSource(batch, 0);
      const tokens = packed.rows;
      const still = { weightDecay: 0, biasUpdateGamma: 0, balanceAlpha: 0 };
      const m = await trainSft({
        learner: learnerOf(model, still),
        source: finite,
        config: { ...config1, tokensPerStep: tokens },
        folder: newFolder(),
      });
      return { sum: m.loss * packed.targets.length, count: packed.targets.length };
    };
    const together = await lossOf(examples);
    let sum = 0;
    for (const example of examples) sum += (await lossOf([example])).sum;
    expect(together.sum).toBeCloseTo(sum, 3);
  });
});
