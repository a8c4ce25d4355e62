/**
 * For tests: products of two digits, a calculator, and a small model that knows how to ask it but seldom does.
 *
 * Ids stand for pieces of text. A prompt is `7*8=`. The policy may answer at once, or write `<calc>7*8</calc>`, read
 * `<result>56</result>`, and answer `</think>\nThe answer is 56` (id 0 ends it).
 */
import { type Backend, Random } from '@minke/core';
import { Engine } from '@minke/inference';
import { Calculator, pose } from '@minke/reasoning-tasks';
import { Arena } from '@minke/tensor';
import { DeepSeekModel } from '@minke/transformer';
import { ShuffledSource } from '../example-source.ts';
import {
  type EnvironmentOptions,
  type Episode,
  environmentReward,
  episodesOf,
  LocalLearner,
  LocalReference,
  LocalSampler,
  presets,
  type RlConfig,
  type RlPrompt,
  type TrainingSequence,
} from '../index.ts';
import { constantAfter } from '../schedule.ts';
import { smallConfig } from './small-config.ts';

const pieces = [
  ...['', '<calc>', '</calc>', '*', '=', '</think>\n', 'The answer is ', '<result>', '</result>'],
  ...'0123456789',
];

export const decodePieces = (tokens: readonly number[]): string =>
  tokens.map((id) => pieces[id] ?? '?').join('');

/** Ids of a text, longest piece first; `=` in the place of what no piece stands for. */
export function encodePieces(text: string): number[] {
  const ids: number[] = [];
  for (let at = 0; at < text.length; ) {
    const id = pieces.findIndex((piece) => piece !== '' && text.startsWith(piece, at));
    ids.push(id === -1 ? pieces.indexOf('=') : id);
    at += id === -1 ? 1 : (pieces[id] as string).length;
  }
  return ids;
}

const problems = Array.from({ length: 64 }, (_, i) => {
  const facts = { left: 2 + (i % 8), right: 2 + Math.floor(i / 8) };
  return { facts, problem: pose('products', facts, 1, new Random(i)) };
});

export const calculatorPrompts = (seed = 0): ShuffledSource<RlPrompt> =>
  new ShuffledSource(
    problems.map(({ facts: { left, right }, problem }) => ({
      tokens: encodePieces(`${left}*${right}=`),
      input: { prompt: `${left}*${right}=`, answer: problem.answer, metadata: problem },
    })),
    seed,
  );

export const calculatorConfig: RlConfig = {
  ...presets['r1-zero'],
  objective: { ...presets['r1-zero'].objective, beta: 0 },
  groupSize: 8,
  promptsPerStep: 8,
  minibatches: 1,
  maxCompletionLength: 24,
  learningRate: 5e-3,
  schedule: constantAfter(2),
  referenceEvery: 0,
};

/** A calculator that an episode of the test watches or spoils. */
export const calculatorEpisodes = (
  change: (episode: Calculator) => Episode = (episode) => episode,
): EnvironmentOptions => ({
  begin: (prompt) => change(episodesOf(() => new Calculator())(prompt) as Calculator),
});

/** Examples of how the calculator is asked, and as many of guesses: a cold start. */
function demonstrations(random: Random, count: number): TrainingSequence[] {
  return Array.from({ length: count }, (_, i) => {
    const { left, right } = random.pick(problems).facts;
    const prompt = encodePieces(`${left}*${right}=`);
    const call = encodePieces(`<calc>${left}*${right}</calc>`);
    const reply = encodePieces(`<result>${left * right}</result>`);
    const said = i % 2 === 0 ? left * right : random.integer(4, 82);
    const answer = [...encodePieces(`</think>\nThe answer is ${said}`), 0];
    const parts = i % 2 === 0 ? [call, reply, answer] : [answer];
    return {
      tokens: [...prompt, ...parts.flat()],
      completionStart: prompt.length,
      mask: parts.flatMap((part) => part.map(() => (part === reply ? 0 : 1))),
    };
  });
}

/** A policy after its cold start, with everything that `trainGrpo` needs but the settings of the run. */
export async function calculatorTask(backend: Backend, { coldStart = 0 }: { coldStart?: number } = {}) {
  const config = { ...smallConfig, vocabSize: pieces.length, hiddenSize: 32, qkNopeHeadDim: 8, vHeadDim: 8 };
  const model = DeepSeekModel.init(config, { arena: new Arena(backend, { persistent: true }), seed: 1 });
  const learner = new LocalLearner(model);
  const random = new Random(9);
  for (let step = 0; step < coldStart; step++) {
    const batch = demonstrations(random, 32);
    const tokens = batch.reduce((sum, { mask = [] }) => sum + mask.filter(Boolean).length, 0);
    const spec = { name: 'cross_entropy', outputs: 'sums' } as const;
    await learner.forwardBackward(batch, spec, { sequences: batch.length, tokens });
    await learner.optimStep({ learningRate: 1e-2 * (1 - step / coldStart) });
  }
  const engine = new Engine(model, {
    ...{ maxSequences: 64, contextLength: 32, maxWaiting: 1000, form: 'expanded', temperedLogProbs: true },
  });
  return {
    model,
    engine,
    learner,
    sampler: new LocalSampler(engine, { decode: decodePieces }),
    reference: await LocalReference.of(model),
    prompts: calculatorPrompts(),
    rewards: [{ name: 'accuracy', reward: environmentReward() }],
    decode: decodePieces,
    encode: encodePieces,
    environment: calculatorEpisodes(),
    stopTokenIds: [0],
    config: calculatorConfig,
    seed: 3,
  };
}
