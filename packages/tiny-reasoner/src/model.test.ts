import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Backend } from '@minke/core';
import { backendInfo, createBackend } from '@minke/gpu-backends';
import {
  complete,
  Engine,
  type EngineOptions,
  type LanguageModel,
  loadLanguageModel,
  ModelStep,
} from '@minke/inference';
import { loadStatistics } from '@minke/moe-router';
import { familyNames, heldOut, TaskStream } from '@minke/reasoning-tasks';
import { packExamples, TaskSource } from '@minke/rl-trainer';
import { Arena } from '@minke/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { modelFolder } from './index.ts';

let backend: Backend;
let language: LanguageModel;
beforeAll(async () => {
  const { picked } = await backendInfo();
  backend = await createBackend(picked ?? 'reference');
  language = await loadLanguageModel(modelFolder, { backend });
});
afterAll(() => backend.dispose());

async function ask(model: LanguageModel, questions: readonly string[]): Promise<string[]> {
  const engine = new Engine(model.model, { maxSequences: 16 });
  const answers = await Promise.all(
    questions.map((content) => complete(engine, model, [{ role: 'user', content }], { temperature: 0 })),
  );
  await engine.dispose();
  return answers.map(({ text }) => text);
}

describe('the embedded model', () => {
  it('is a V3-shaped model of 2 to 6 million parameters in under 12 MB', () => {
    const { config } = language.model;
    expect(config).toMatchObject({
      qLoraRank: expect.any(Number),
      firstDenseLayers: 1,
      moe: { method: 'noaux_tc' },
    });
    let parameters = 0;
    for (const tensor of language.model.parameters().values()) parameters += tensor.size;
    expect(parameters).toBeGreaterThan(2e6);
    expect(parameters).toBeLessThan(6e6);
    const bytes = readdirSync(modelFolder).reduce(
      (sum, name) => sum + statSync(join(modelFolder, name)).size,
      0,
    );
    expect(bytes).toBeLessThan(12e6);
  });

  it('has the tokenizer that the recipe makes', () => {
    const folder = mkdtempSync(join(tmpdir(), 'minke-tokenizer-'));
    execFileSync(process.execPath, [
      fileURLToPath(new URL('../recipe/make-tokenizer.mjs', import.meta.url)),
      folder,
    ]);
    const made = readFileSync(join(folder, 'tokenizer.json'), 'utf8');
    rmSync(folder, { recursive: true });
    expect(JSON.parse(readFileSync(join(modelFolder, 'tokenizer.json'), 'utf8'))).toEqual(JSON.parse(made));
  });

  it('thinks, then answers the question of the page', async () => {
    const [text] = await ask(language, ['What is 348 + 977?']);
    expect(text).toContain('</think>');
    expect(text?.split('</think>')[1]).toContain('1325');
  });

  it('in 8 bits is as near the exact logits with a cache in bf16 as with one in f32', async () => {
    const { model, tokenizer } = language;
    const text = Array.from({ length: 16 }, (_, i) => `What is ${37 * i + 8} + ${91 * i}? Sort ${i} 9 4 17.`);
    const ids = [...tokenizer.encode(text.join(' '))].slice(0, 200);
    const [prompt, rest] = [ids.slice(0, 100), ids.slice(100)];
    const logits = async (
      options: Pick<EngineOptions, 'cacheType' | 'quantize'>,
      pieces: readonly (readonly number[])[],
    ) => {
      const step = new ModelStep(model, { slots: 1, maxTokens: 200, ...options });
      const all: number[] = [];
      for (const piece of pieces) {
        const role = piece.length === 1 ? 'generated' : 'prompt';
        all.push(...(await step.run([{ slot: 0, ids: Int32Array.from(piece), role }])));
      }
      step.dispose();
      return all;
    };
    for (const pieces of [
      [prompt, rest],
      [prompt, ...rest.map((id) => [id])],
    ]) {
      const exact = await logits({}, pieces);
      const far = async (cacheType: 'f32' | 'bf16') => {
        const got = await logits({ cacheType, quantize: 'q8_0' }, pieces);
        return Math.hypot(...got.map((x, i) => x - exact[i]!)) / Math.hypot(...exact);
      };
      const [f32, bf16] = [await far('f32'), await far('bf16')];
      expect(bf16).toBeGreaterThan(0);
      expect(bf16).toBeLessThan(1.25 * f32);
    }
  });

  it('uses every expert of every layer', async () => {
    const source = new TaskSource(
      new TaskStream({ seed: 9, split: 'validation' }),
      language.tokenizer,
      language.template,
    );
    const { sequences } = packExamples(Array.from({ length: 60 }, () => source.next()));
    using arena = new Arena(backend);
    const { loads } = language.model.forward(language.model.batch(arena, sequences));
    expect(loads.length).toBe(5);
    for (const load of loads) {
      const { dead, maxVio } = loadStatistics(await load.read());
      expect(dead).toBe(0);
      expect(maxVio).toBeLessThan(1);
    }
  });

  it('answers held-out problems of every family, no less than its card says within the interval', async () => {
    const report = JSON.parse(readFileSync(new URL('../report.json', import.meta.url), 'utf8')) as {
      stages: { stage: string; metric: string; low: number }[];
    };
    for (const family of familyNames) {
      const problems = heldOut(family, 'test', { seed: 1, count: 16 });
      const texts = await ask(
        language,
        problems.map(({ prompt }) => prompt),
      );
      const right = problems.filter((problem, i) =>
        texts[i]?.split('</think>')[1]?.includes(problem.answer),
      ).length;
      const stated = report.stages.find(({ metric }) => metric === `pass@1/${family}`);
      expect(stated, family).toBeDefined();
      // 16 problems: four standard deviations below the card's lower bound would be no accident.
      const low = stated?.low as number;
      expect(right / 16, family).toBeGreaterThan(low - 4 * Math.sqrt((low * (1 - low) + 0.01) / 16));
    }
  });
});

describe('greedy answers', () => {
  it('are the same with the WebAssembly kernels', async () => {
    const wasm = await createBackend('wasm');
    const problems = familyNames.flatMap((family) => heldOut(family, 'test', { seed: 2, count: 2 }));
    const questions = problems.map(({ prompt }) => prompt);
    const other = await ask(await loadLanguageModel(modelFolder, { backend: wasm }), questions);
    expect(other).toEqual(await ask(language, questions));
    wasm.dispose();
  });
});
