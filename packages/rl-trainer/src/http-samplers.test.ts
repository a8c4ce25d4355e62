import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { auto } from '@minke/gpu-backends';
import { saveModel } from '@minke/transformer';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  EndpointTextSampler,
  ExportingLearner,
  type GrpoMetrics,
  type GrpoOptions,
  type HttpSamplerOptions,
  SglangSampler,
  trainGrpo,
  VllmSampler,
} from './index.ts';
import { bandit, banditConfig } from './testing/bandit.ts';
import { type ModelServer, startModelServer } from './testing/model-server.ts';

let root: string;
let backend: Awaited<ReturnType<typeof auto>>;
let server: ModelServer;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'minke-http-'));
  backend = await auto();
});
afterAll(() => {
  backend.dispose();
  rmSync(root, { recursive: true, force: true });
});
beforeEach(async () => {
  server = await startModelServer(backend);
});
afterEach(() => server.close());

const kinds = {
  sglang: {
    generate: '/generate',
    make: (options: HttpSamplerOptions) => new SglangSampler(options),
    /** An answer of the server to a request for one sample. */
    reply: (tokens: unknown, logProbs: unknown[], finish: unknown) => ({
      meta_info: {
        finish_reason: { type: finish },
        output_token_logprobs: logProbs.map((logProb, t) => [logProb, (tokens as unknown[])[t], null]),
      },
    }),
  },
  vllm: {
    generate: '/inference/v1/generate',
    make: (options: HttpSamplerOptions) => new VllmSampler(options),
    reply: (tokens: unknown, logProbs: unknown[], finish: unknown) => ({
      choices: [
        {
          token_ids: tokens,
          finish_reason: finish,
          logprobs: { content: logProbs.map((logprob) => ({ logprob })) },
        },
      ],
    }),
  },
} as const;

const request = {
  ...{ prompts: [[1, 4, 5], [1, 3], [7]], samplesPerPrompt: 4, maxNewTokens: 8, temperature: 1 },
  ...{ topP: 1, topK: 0, stopTokenIds: [0], seed: 7 },
};

async function policy() {
  const parts = await bandit(backend);
  const write = (to: string) => saveModel(parts.model, to, { dtype: 'f32' });
  const folder = mkdtempSync(join(root, 'weights-'));
  return { ...parts, learner: new ExportingLearner(parts.learner, { folder, write }) };
}

describe.each(Object.keys(kinds) as (keyof typeof kinds)[])('a sampler on %s', (kind) => {
  const { make, generate, reply } = kinds[kind];
  const quick = () => ({ baseURL: server.baseURL, retryDelayMs: 1 });

  it('trains on-policy, with the log-probabilities of our engine unharmed', async () => {
    const parts = await policy();
    const lines: GrpoMetrics[] = [];
    const options = {
      ...parts,
      sampler: make(quick()),
      steps: 3,
      onStep: (line: GrpoMetrics) => lines.push(line),
    };
    await trainGrpo({ ...options, folder: mkdtempSync(join(root, 'run-')) });
    expect(lines.map((line) => line['rollout/logprob_diff_max'])).toEqual([0, 0, 0]);
    expect(lines.map((line) => line['policy/version'])).toEqual([0, 1, 2]);
    expect(server.asked.filter((path) => path === generate)).toHaveLength(3 * 64);
  });

  it('samples ahead of training', async () => {
    const parts = await policy();
    const lines: GrpoMetrics[] = [];
    const settings: Partial<GrpoOptions> = {
      maxStaleness: 2,
      steps: 5,
      config: { ...banditConfig, promptsPerStep: 2 },
    };
    await trainGrpo({
      ...{ ...parts, ...settings, steps: 5, sampler: make(quick()) },
      ...{ folder: mkdtempSync(join(root, 'run-')), onStep: (line: GrpoMetrics) => lines.push(line) },
    });
    expect(lines.map((line) => line['rollout/lag'])).toEqual([0, 1, 2, 2, 2]);
  });

  it('gives equal samples to equal requests, of lengths of their own', async () => {
    const { learner } = await policy();
    const sampler = make(quick());
    await sampler.update(await learner.exportForSampler());
    const samples = await sampler.sample({ ...request, maxNewTokensOf: [8, 1, 8] });
    expect(samples.map(({ prompt }) => prompt)).toEqual([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]);
    expect(await sampler.sample({ ...request, maxNewTokensOf: [8, 1, 8] })).toEqual(samples);
    for (const { prompt, tokens, finish } of samples) {
      if (prompt === 1) expect(tokens).toHaveLength(1);
      expect(finish).toBe(tokens.at(-1) === 0 ? 'stop' : 'length');
    }
    expect(await sampler.sample({ ...request, seed: 8 })).not.toEqual(samples);
  });

  it('asks again where that can help, and gives up with the reason', async () => {
    const busy = (at: number, response: { writeHead(status: number): unknown; destroy(): unknown }) => {
      if (at === 0) response.writeHead(503);
      if (at === 1) return void response.destroy();
      return at === 0 ? 'loading' : reply([3, 0], [-1, -2], 'stop');
    };
    server.answers.set(generate, busy as never);
    const one = { ...request, prompts: [[1]], samplesPerPrompt: 1 };
    expect(await make(quick()).sample(one)).toMatchObject([
      { tokens: [3, 0], logProbs: [-1, -2], finish: 'stop' },
    ]);
    server.answers.set(generate, (_, response) => {
      response.writeHead(500);
      return 'out of memory';
    });
    const failing = make({ ...quick(), retries: 2 }).sample(one);
    await expect(failing).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringMatching(/3 attempts.*out of memory/),
    });
    server.answers.set(generate, () => undefined);
    await expect(make({ ...quick(), retries: 0, timeoutMs: 40 }).sample(one)).rejects.toThrow(
      'no answer in 40 ms',
    );
    const stop = new AbortController();
    const waiting = make(quick()).sample(request, stop.signal);
    setTimeout(() => stop.abort(), 20);
    await expect(waiting).rejects.toMatchObject({ code: 'aborted' });
  });

  it('refuses answers that are not what they should be', async () => {
    const one = { ...request, prompts: [[1]], samplesPerPrompt: 1 };
    for (const [answer, message, code] of [
      ['<html>', /got <html>/, 'unsupported'],
      ['null', /got null/, 'unsupported'],
      [{}, /got \{\}/, 'unsupported'],
      [reply([], [], 'stop'), /1 to 8 tokens, got 0/, 'unsupported'],
      [reply(Array(9).fill(1), Array(9).fill(-1), 'length'), /1 to 8 tokens, got 9/, 'unsupported'],
      [reply([1.5], [-1], 'stop'), /token ids, got 1.5/, 'unsupported'],
      [reply(['a'], [-1], 'stop'), /token ids, got "a"/, 'unsupported'],
      [reply([1], [null], 'stop'), /log-probabilities of at most 0, got null/, 'unsupported'],
      [reply([1], [2], 'stop'), /log-probabilities of at most 0, got 2/, 'unsupported'],
      [reply([1], [-1], 'tool_calls'), /stop or length, got "tool_calls"/, 'unsupported'],
      [reply([1], [-1], 'abort'), /the server aborted/, 'internal'],
    ] as const) {
      server.answers.set(generate, () => answer);
      const sampled = make(quick()).sample(one);
      await expect(sampled).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    }
    server.answers.set(generate, (_, response) => {
      response.writeHead(401);
      return 'no key';
    });
    const before = server.asked.length;
    await expect(make(quick()).sample(one)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('401 no key'),
    });
    expect(server.asked.length - before).toBe(1);
    expect(() => make({ baseURL: 'localhost' })).toThrow(/http\(s\) baseURL/);
  });

  it('updates by folders, and notices a server that went back to other weights', async () => {
    const { learner } = await policy();
    const sampler = make({ ...quick(), retries: 0 });
    await expect(sampler.update({ version: 0, location: null })).rejects.toThrow(/ExportingLearner/);
    await expect(sampler.update({ version: 0, location: 'relative' })).rejects.toMatchObject({
      code: 'unsupported',
    });
    await expect(sampler.update({ version: 0, location: join(root, 'nowhere') })).rejects.toMatchObject({
      code: 'internal',
    });
    const exported = await learner.exportForSampler();
    await sampler.update(exported);
    expect((await sampler.sample(request))[0]?.policyVersion).toBe(exported.version);
    server.restart();
    await expect(sampler.sample(request)).rejects.toThrow(
      /expected samples of policy 0, got ones of "default"/,
    );
    await sampler.update(exported);
    expect(await sampler.sample(request)).toHaveLength(12);
    const seen = make({ ...quick(), locate: (folder) => folder.replace('/elsewhere', root) });
    await seen.update({ version: 0, location: exported.location?.replace(root, '/elsewhere') as string });
    expect(await seen.sample(request)).toHaveLength(12);
  });
});

describe('EndpointTextSampler', () => {
  const prompts = [
    { tokens: [1, 2], text: 'one' },
    { tokens: [1, 3], text: 'two' },
  ];
  const encode = (text: string) => [...text].map((letter) => letter.charCodeAt(0) % 20);
  const asked = {
    ...request,
    prompts: prompts.map(({ tokens }) => tokens),
    samplesPerPrompt: 2,
    maxNewTokens: 40,
  };

  it('gives the texts of a chat endpoint as ids, without log-probabilities', async () => {
    server.answers.set('/v1/chat/completions', (at) => ({
      choices: [
        {
          message: { content: 'four', reasoning_content: 'so' },
          finish_reason: at === 0 ? 'length' : 'stop',
        },
      ],
    }));
    const sampler = new EndpointTextSampler({
      baseURL: `${server.baseURL}/v1`,
      model: 'm',
      prompts,
      encode,
      concurrency: 1,
    });
    const samples = await sampler.sample(asked);
    const ids = encode('so\n</think>\nfour');
    expect(samples.map(({ prompt }) => prompt)).toEqual([0, 0, 1, 1]);
    expect(samples[0]).toEqual({ prompt: 0, tokens: ids, logProbs: [], finish: 'length', policyVersion: 0 });
    expect(samples[1]).toMatchObject({ tokens: [...ids, 0], finish: 'stop' });
    const [short] = await sampler.sample({ ...asked, maxNewTokens: 3 });
    expect(short).toMatchObject({ tokens: ids.slice(0, 3), finish: 'length' });
    const unknown = sampler.sample({ ...asked, prompts: [[9]] });
    await expect(unknown).rejects.toThrow(/a prompt that it was made with/);
    await expect(sampler.sample({ ...asked, topK: 5 })).rejects.toThrow(/topK 0/);
    await expect(sampler.update({ version: 1, location: root })).rejects.toMatchObject({
      code: 'unsupported',
    });
  });

  it('is refused by reinforcement learning', async () => {
    server.answers.set('/v1/chat/completions', () => ({
      choices: [{ message: { content: '9' }, finish_reason: 'stop' }],
    }));
    const parts = await bandit(backend);
    const all = Array.from({ length: 8 }, (_, k) => ({ tokens: [1, k], text: String(k) }));
    const sampler = new EndpointTextSampler({
      baseURL: `${server.baseURL}/v1`,
      model: 'm',
      prompts: all,
      encode,
    });
    const frozen = { sample: sampler.sample.bind(sampler), update: async () => {} };
    const run = trainGrpo({ ...parts, sampler: frozen, steps: 1, folder: mkdtempSync(join(root, 'run-')) });
    await expect(run).rejects.toThrow(/samplingLogProbs/);
  });
});
