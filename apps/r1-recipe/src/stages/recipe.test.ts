import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Backend } from '@minke/core';
import { auto } from '@minke/gpu-backends';
import { localPolicy, readConversations, type Sampler, validateRl } from '@minke/rl-trainer';
import { encodeReply } from '@minke/tokenizer-merging/chat';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { generalRows, recipeTokenizer } from '../data/index.ts';
import { orderStages } from '../run/index.ts';
import { measure } from './measure.ts';
import { emptyThought } from './measure-stage.ts';
import { withNewModel } from './model-folder.ts';
import { modelShape } from './model-shapes.ts';
import { recipeStages } from './recipe.ts';
import { coin } from './rewards.ts';
import { writeRows } from './row-files.ts';
import { type RecipePreset, type RecipeSettings, recipeSettings } from './settings.ts';

const presetNames = Object.keys(recipeSettings) as RecipePreset[];
let backend: Backend;

beforeAll(async () => {
  backend = await auto();
});
afterAll(() => backend.dispose());

describe('recipeStages', () => {
  it.each(presetNames)('%s: a graph that can be run, with and without controls', (preset) => {
    const settings = recipeSettings[preset];
    for (const controls of [false, true]) {
      const stages = recipeStages(settings, { backend, controls });
      const names = orderStages(stages).map(({ name }) => name);
      expect(new Set(names).size).toBe(stages.length);
      expect(names.includes('over-optimised')).toBe(controls);
    }
    const rl = [settings.zero, settings.grpo1, settings.selfEvolution, settings.grpo2, settings.studentRl];
    for (const { config, steps } of rl) {
      expect(() => validateRl(config)).not.toThrow();
      expect(config.schedule.warmupSteps).toBeLessThan(Math.max(steps, 11));
    }
    expect(settings.grpo2.modelRewardSteps).toBeLessThan(settings.grpo2.steps);
  });

  it('names the rows that a base learns from, so that other rows make another stage of it', () => {
    const { ci } = recipeSettings;
    const rowsOf = (settings: RecipeSettings) =>
      recipeStages(settings, { backend, controls: false })
        .filter(({ name }) => ['base', 'student-base'].includes(name))
        .map((stage) => (stage.settings as { rows: string }).rows);
    const [policy, student] = rowsOf(ci);
    expect(policy).toMatch(/^[0-9a-f]{64}$/);
    expect(student).toBe(policy);
    const habits = { ...ci.mixture.habits, mostTries: ci.mixture.habits.mostTries + 1 };
    expect(rowsOf({ ...ci, mixture: { ...ci.mixture, habits } })).not.toContain(policy);
  });

  it('full measures 2,000 problems for every model', () => {
    const { arithmetic, search, parity } = recipeSettings.full.measure;
    expect(arithmetic + search + parity).toBe(2000);
  });
});

describe('modelShape', () => {
  it('has 0.8 to 1.5 million active parameters, and the student about a fifth', () => {
    const { vocabSize } = recipeTokenizer();
    const active = (['policy', 'student'] as const).map((shape) => {
      const c = modelShape(shape, vocabSize);
      const { hiddenSize: d, numHeads: heads, kvLoraRank: kv, qLoraRank: q, numLayers: layers } = c;
      const qk = c.qkNopeHeadDim + c.qkRopeHeadDim;
      const rank = q as number;
      const attention =
        d * rank +
        rank * heads * qk +
        d * (kv + c.qkRopeHeadDim) +
        kv * heads * (c.qkNopeHeadDim + c.vHeadDim);
      const moe = c.moe as NonNullable<typeof c.moe>;
      const experts = 3 * d * moe.expertSize * (moe.topK + 1) + d * moe.experts;
      const output = heads * c.vHeadDim * d;
      return (
        layers * (attention + output) +
        3 * d * c.intermediateSize +
        (layers - 1) * experts +
        2 * vocabSize * d
      );
    }) as [number, number];
    expect(active[0]).toBeGreaterThan(0.8e6);
    expect(active[0]).toBeLessThan(1.5e6);
    expect(active[1] / active[0]).toBeGreaterThan(0.12);
    expect(active[1] / active[0]).toBeLessThan(0.3);
  });
});

describe('measure', () => {
  const settings = {
    ...recipeSettings.ci.measure,
    ...{
      arithmetic: 12,
      search: 6,
      parity: 6,
      beyond: 2,
      general: 6,
      sampledProblems: 4,
      maxNewTokens: 12,
    },
  };

  it('gives the same rows twice, over the problems asked for, and records to compare by', async () => {
    const measured = await withNewModel('student', { backend, seed: 0 }, async (language) => {
      const policy = await localPolicy(language, { contextLength: 128, reference: false });
      try {
        const once = await measure(policy, language, settings, { seed: 0 });
        expect(await measure(policy, language, settings, { seed: 0 })).toEqual(once);
        return once;
      } finally {
        await policy.dispose();
      }
    });
    const row = (name: string) => measured.rows.find(({ metric }) => metric === name);
    expect(row('pass@1')).toMatchObject({ value: 0, n: 24 });
    expect(row('set/search')).toMatchObject({ n: 6 });
    expect(row('truncated')?.value).toBeGreaterThan(0.5);
    expect(row('general/helpful')).toMatchObject({ n: 6 });
    expect(measured.records).toHaveLength(30);
    expect(new Set(measured.records.map(({ id }) => id)).size).toBe(30);
  });

  it('asks for answers without thinking in the tokens that direct answers are trained on', async () => {
    await withNewModel('student', { backend, seed: 0 }, async (language) => {
      const { tokenizer, template } = language;
      const opensThought = true;
      const direct = [...encodeReply(tokenizer, template, { reasoning: '', content: '' }, { opensThought })];
      const end = direct.slice(0, -1);
      const policy = await localPolicy(language, { contextLength: 128, reference: false });
      const prompts: (readonly number[])[] = [];
      const sample: Sampler['sample'] = (request, signal) => {
        prompts.push(...request.prompts);
        return policy.sampler.sample(request, signal);
      };
      try {
        const watched = { ...policy, sampler: { ...policy.sampler, sample } };
        await measure(watched, language, settings, { seed: 0, prefix: emptyThought });
      } finally {
        await policy.dispose();
      }
      expect(prompts.length).toBeGreaterThan(0);
      for (const prompt of prompts) expect(prompt.slice(-end.length)).toEqual(end);
    });
  });
});

describe('writeRows', () => {
  it('writes what readConversations reads', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'minke-rows-'));
    try {
      const rows = [0, 1, 2].map(generalRows({ seed: 1 }));
      writeRows(join(folder, 'rows.jsonl'), rows);
      const read = await readConversations(join(folder, 'rows.jsonl'));
      expect(JSON.stringify(read)).toContain(JSON.stringify(rows[2]?.question));
      expect(read).toHaveLength(3);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('coin', () => {
  it('falls the same for the same text, and on either side in half of all texts', async () => {
    const group = Array.from({ length: 400 }, (_, i) => ({ prompt: 'p', completion: `${i}`, length: 1 }));
    const scores = await coin(7).reward(group, {});
    expect(await coin(7).reward(group, {})).toEqual(scores);
    const heads = scores.filter((score) => score === 1).length;
    expect(heads).toBeGreaterThan(150);
    expect(heads).toBeLessThan(250);
    expect(scores.every((score) => score === 0 || score === 1)).toBe(true);
  });
});
