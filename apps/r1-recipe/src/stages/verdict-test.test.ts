import { type Backend, Random } from '@minke/core';
import { auto } from '@minke/gpu-backends';
import type { LanguageModel } from '@minke/inference';
import { answerSentence } from '@minke/reasoning-tasks';
import { localPolicy, type Sample, type Sampler } from '@minke/rl-trainer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { heldOutProblems, type ReasoningTask } from '../data/index.ts';
import { wrongAnswer } from '../data/thoughts.ts';
import { withNewModel } from './model-folder.ts';
import { sampleInSteps } from './stepped-sampling.ts';
import { promptIds } from './task-prompts.ts';
import { answersUnder, testVerdicts, type VerdictArm } from './verdict-test.ts';

let backend: Backend;
beforeAll(async () => {
  backend = await auto();
});
afterAll(() => backend.dispose());

const withLanguage = <T>(work: (language: LanguageModel) => Promise<T>) =>
  withNewModel('student', { backend, seed: 3 }, work);

/**
 * A policy by rule: it tries a wrong candidate, then the right one, and answers with the first that is said to be right,
 * or with the wrong one. What it says itself is true, or, where it is blind, always `right`.
 */
function rulePolicy(tasks: readonly ReasoningTask[], language: LanguageModel, blind: boolean) {
  const { tokenizer, stopTokenIds } = language;
  const prompts = tasks.map((task) => promptIds(task, language));
  const decode = (tokens: readonly number[]) => tokenizer.decode([...tokens]);
  const next = ({ metadata, answer, language: own }: ReasoningTask, written: string): string => {
    const wrong = wrongAnswer(metadata, new Random(1)) as string;
    const candidates = [wrong, answer];
    const said = written.split('\n').filter((line) => ['right', 'wrong', 'bien', 'mal'].includes(line));
    const words = own === 'es' ? ['bien', 'mal'] : ['right', 'wrong'];
    const start = written === '' ? '' : '\n';
    const believed = said.indexOf(words[0] as string);
    if (believed < 0 && said.length < 2) {
      const verdict = words[blind || said.length === 1 ? 0 : 1];
      return `${start}${own === 'es' ? 'prueba' : 'try'} ${candidates[said.length]}\n${verdict}`;
    }
    const chosen = candidates[Math.max(0, believed)] as string;
    return `\n</think>\n\n${answerSentence({ ...metadata, answer: chosen })}`;
  };
  const sampler: Sampler = {
    update: async () => {},
    sample: async ({ prompts: asked, stopTokenIds: stops }) =>
      asked.map((ids, prompt): Sample => {
        const at = prompts.findIndex((own) => own.every((id, i) => id === ids[i]));
        const written = decode(ids.slice((prompts[at] as number[]).length));
        const piece = [...tokenizer.encode(next(tasks[at] as ReasoningTask, written)), ...stopTokenIds];
        const end = piece.findIndex((id) => stops.includes(id));
        return { prompt, tokens: piece.slice(0, end + 1), logProbs: [], finish: 'stop', policyVersion: 0 };
      }),
  };
  return { sampler, decode };
}

describe('answersUnder', () => {
  it('gives a policy whose answers hang on its verdicts what the verdicts are worth', () =>
    withLanguage(async (language) => {
      const tasks = heldOutProblems('search', 200, 0) as ReasoningTask[];
      const mean = async (arm: VerdictArm, blind: boolean) => {
        const replies = await answersUnder(arm, tasks, rulePolicy(tasks, language, blind), language, {
          maxNewTokens: 200,
          seed: 5,
        });
        return {
          score: replies.reduce((sum, { score }) => sum + score, 0) / replies.length,
          changed: replies.reduce((sum, { changed }) => sum + changed, 0),
        };
      };
      expect(await mean('own', false)).toEqual({ score: 1, changed: 0 });
      expect(await mean('true', false)).toEqual({ score: 1, changed: 0 });
      expect(await mean('own', true)).toEqual({ score: 0, changed: 0 });
      expect(await mean('true', true)).toEqual({ score: 1, changed: 200 });
      // Right after a rejection of the first and a belief in the second: a quarter.
      for (const blind of [false, true]) {
        const { score } = await mean('coin', blind);
        expect(score).toBeGreaterThan(0.15);
        expect(score).toBeLessThan(0.35);
        expect(await mean('coin', blind)).toMatchObject({ score });
      }
    }));
});

describe('sampleInSteps', () => {
  it('gives the uninterrupted samples where nothing is replaced', () =>
    withLanguage(async (language) => {
      const policy = await localPolicy(language, { contextLength: 128, reference: false });
      try {
        const tasks = heldOutProblems('search', 6, 0);
        const prompts = tasks.map((task) => promptIds(task, language));
        const { stopTokenIds } = language;
        const whole = await policy.sampler.sample({
          ...{ prompts, samplesPerPrompt: 1, maxNewTokens: 24, temperature: 0, topP: 1, topK: 0 },
          ...{ stopTokenIds, seed: 0 },
        });
        const breakTokenIds = [...new Set(whole.flatMap(({ tokens }) => tokens.slice(3, 20)))];
        let asked = 0;
        const stepped = await sampleInSteps(
          policy.sampler,
          { prompts, maxNewTokens: 24, stopTokenIds, breakTokenIds },
          (_, tokens) => {
            asked++;
            return tokens.at(-1) as number;
          },
        );
        expect(asked).toBeGreaterThan(20);
        expect(stepped.map(({ tokens }) => tokens)).toEqual(
          whole.map(({ tokens, finish }) => (finish === 'stop' ? tokens.slice(0, -1) : tokens)),
        );
      } finally {
        await policy.dispose();
      }
    }));
});

describe('testVerdicts', () => {
  it('reports three accuracies with their paired differences', () =>
    withLanguage(async (language) => {
      const tasks = heldOutProblems('search', 40, 0) as ReasoningTask[];
      const settings = { search: 40, maxNewTokens: 200 };
      const rows = await testVerdicts(rulePolicy(tasks, language, true), language, settings, 0);
      const of = (detail: string) =>
        rows.find(({ metric }) => metric === `causal test of verdicts/${detail}`)?.value as number;
      expect([of('own'), of('true'), of('true minus own'), of('replies with a verdict')]).toEqual([
        0, 1, 1, 1,
      ]);
      expect(of('own minus coin')).toBeCloseTo(-of('coin'), 12);
      expect(rows.every(({ n, seeds }) => n === 40 && seeds[0] === 0)).toBe(true);
    }));
});
