import { type Backend, MinkeError } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { Arena } from '@minke/tensor';
import { afterAll, describe, expect, it } from 'vitest';
import { Engine, type EngineOptions, type GenerationRequest } from './engine.ts';
import { ModelStep } from './model-step.ts';
import { argmax, drawToken } from './sampling.ts';
import { testLanguage } from './testing/test-language.ts';
import type { TokenStream } from './token-queue.ts';

const language = testLanguage();
const { model } = language;
const engines: Engine[] = [];
function newEngine(options: EngineOptions = {}, of = model): Engine {
  const engine = new Engine(of, { maxSequences: 4, contextLength: 96, ...options });
  engines.push(engine);
  return engine;
}
afterAll(() => Promise.all(engines.map((engine) => engine.dispose())));

const greedy = { temperature: 0, topP: 1, topK: 0, minP: 0 };
const random = { temperature: 1, topP: 0.95, topK: 0, minP: 0 };
const prompt = (length: number, salt = 0): number[] =>
  Array.from({ length }, (_, i) => (7 + 31 * i + 17 * salt) % 290);
function request(values: Partial<GenerationRequest> = {}): GenerationRequest {
  return {
    promptIds: prompt(5),
    maxNewTokens: 12,
    sampling: greedy,
    seed: 0,
    stopTokenIds: [],
    ...values,
  };
}
async function tokensOf(stream: TokenStream): Promise<number[]> {
  const tokens: number[] = [];
  for await (const { token } of stream) tokens.push(token);
  return tokens;
}
const idle = { running: 0, waiting: 0 };
async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  const problem = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return MinkeError.isInstance(problem) ? problem.code : undefined;
}
function thrownBy(f: () => unknown): MinkeError {
  try {
    f();
  } catch (problem) {
    if (MinkeError.isInstance(problem)) return problem;
  }
  throw new Error('expected a MinkeError');
}

describe('ModelStep', () => {
  it('gives the logits of the full forward pass, prompt in pieces and token by token', async () => {
    const ids = prompt(23);
    const arena = new Arena(model.backend);
    const full = await model.forward(model.batch(arena, [ids])).logits.read();
    arena.reset();
    const vocabulary = model.config.vocabSize;
    const at = (i: number) => full.subarray(i * vocabulary, (i + 1) * vocabulary);
    const step = new ModelStep(model, { slots: 2, maxTokens: 32 });
    const close = (logits: Float32Array, i: number) => {
      for (let v = 0; v < vocabulary; v++)
        expect(Math.abs((logits[v] as number) - (at(i)[v] as number))).toBeLessThan(1e-4);
    };
    const chunk = (from: number, to: number, role: 'prompt' | 'generated') => [
      { slot: 1, ids: Int32Array.from(ids.slice(from, to)), role },
    ];
    close(await step.run(chunk(0, 7, 'prompt')), 6);
    close(await step.run(chunk(7, 12, 'prompt')), 11);
    for (let i = 12; i < ids.length; i++) close(await step.run(chunk(i, i + 1, 'generated')), i);
    expect(step.length(1)).toBe(23);
    step.dispose();
  });

  it('gives a prompt the same bits in one piece as in several', async () => {
    const ids = Int32Array.from(prompt(40));
    const step = new ModelStep(model, { slots: 2, maxTokens: 48 });
    const whole = await step.run([{ slot: 0, ids, role: 'prompt' }]);
    await step.run([{ slot: 1, ids: ids.subarray(0, 13), role: 'prompt' }]);
    const pieces = await step.run([{ slot: 1, ids: ids.subarray(13), role: 'prompt' }]);
    expect(pieces).toEqual(whole);
    step.dispose();
  });

  it('gives the same bits when it runs a kept decoding pass as when it records one', async () => {
    const rows = (slots: readonly number[], salt: number) =>
      slots.map((slot) => ({ slot, ids: Int32Array.of(3 + salt + slot), role: 'generated' as const }));
    const order = [[0, 1], [0, 1], [1, 2], [2], [1], [2, 0], [0, 1, 2], [2, 1]];
    const run = async (fresh: boolean) => {
      const results: Float32Array[] = [];
      let step = new ModelStep(model, { slots: 3, maxTokens: 16 });
      for (const slot of [0, 1, 2])
        await step.run([{ slot, ids: Int32Array.from(prompt(3 + slot)), role: 'prompt' }]);
      for (const [i, slots] of order.entries()) {
        if (fresh) {
          step.dispose();
          step = new ModelStep(model, { slots: 3, maxTokens: 16 });
          for (const slot of [0, 1, 2])
            await step.run([{ slot, ids: Int32Array.from(prompt(3 + slot)), role: 'prompt' }]);
          for (const [j, earlier] of order.slice(0, i).entries())
            for (const row of rows(earlier, j)) await step.run([row]);
        }
        results.push(await step.run(rows(slots, i)));
      }
      step.dispose();
      return results;
    };
    expect(await run(false)).toEqual(await run(true));
  });

  it('draws what the host draws from the same logits, with the same log-probabilities', async () => {
    const settings = [greedy, random, { temperature: 0.7, topP: 1, topK: 5, minP: 0.1 }];
    const step = new ModelStep(model, { slots: 3, maxTokens: 16 });
    const other = new ModelStep(model, { slots: 3, maxTokens: 16 });
    const chunks = (length: number, role: 'prompt' | 'generated') =>
      [0, 1, 2].map((slot) => ({ slot, ids: Int32Array.from(prompt(length, slot)), role }));
    for (const [round, chunk] of [
      chunks(4, 'prompt'),
      chunks(1, 'generated'),
      chunks(1, 'generated'),
    ].entries()) {
      const draws = settings.map((sampling, i) => ({
        chunk: i,
        sampling,
        random: { seed: 7 + i, stream: 0, position: 2 * round },
      }));
      const drawn = await step.draw(chunk, draws);
      const logits = await other.run(chunk);
      const { vocabSize } = model.config;
      draws.forEach(({ sampling, random }, i) => {
        const expected = drawToken(logits.subarray(i * vocabSize, (i + 1) * vocabSize), sampling, random);
        expect(drawn[i]?.token).toBe(expected.token);
        expect(drawn[i]?.logProb).toBeCloseTo(expected.logProb, 4);
        expect(drawn[i]?.drawnLogProb).toBeCloseTo(expected.drawnLogProb, 4);
      });
    }
    step.dispose();
    other.dispose();
  });

  it('with the expanded form pinned gives the bits of a forward pass without a cache', async () => {
    const ids = prompt(14);
    const vocabulary = model.config.vocabSize;
    using arena = new Arena(model.backend);
    const full = await model.forward(model.batch(arena, [ids])).logits.read();
    const step = new ModelStep(model, { slots: 3, maxTokens: 16, form: 'expanded' });
    await step.run([{ slot: 2, ids: Int32Array.from(ids.slice(0, 9)), role: 'prompt' }]);
    step.share(2, 0);
    for (let i = 9; i < 14; i++) {
      const one = { ids: Int32Array.of(ids[i] as number), role: 'generated' as const };
      const logits = await step.run([
        { ...one, slot: 0 },
        { ...one, slot: 2 },
      ]);
      const expected = Float32Array.from(full.subarray(i * vocabulary, (i + 1) * vocabulary));
      expect(logits.subarray(0, vocabulary)).toEqual(expected);
      expect(logits.subarray(vocabulary)).toEqual(expected);
    }
    step.dispose();
  });

  it('leaves the cache as it was when a pass fails', async () => {
    const step = new ModelStep(model, { slots: 2, maxTokens: 8 });
    await step.run([{ slot: 0, ids: Int32Array.of(5, 6), role: 'prompt' }]);
    const tooLong = { slot: 1, ids: new Int32Array(9), role: 'prompt' } as const;
    await expect(
      step.run([{ slot: 0, ids: Int32Array.of(7), role: 'generated' }, tooLong]),
    ).rejects.toMatchObject({ code: 'context-overflow' });
    expect([step.length(0), step.length(1)]).toEqual([2, 0]);
    step.dispose();
  });
});

describe('Engine', () => {
  it('computes a prompt once for requests that start together, with the tokens each gets alone', async () => {
    const seeds = [1, 2, 3, 4];
    const sample = (engine: Engine, seed: number) =>
      tokensOf(engine.generate(request({ promptIds: prompt(30), sampling: random, seed })));
    const alone: number[][] = [];
    for (const seed of seeds) alone.push(await sample(newEngine(), seed));
    const rows: number[] = [];
    const { draw } = ModelStep.prototype;
    ModelStep.prototype.draw = function (chunks, draws) {
      rows.push(...chunks.filter(({ role }) => role === 'prompt').map(({ ids }) => ids.length));
      return draw.call(this, chunks, draws);
    };
    try {
      const engine = newEngine({ promptChunk: 12 });
      expect(await Promise.all(seeds.map((seed) => sample(engine, seed)))).toEqual(alone);
    } finally {
      ModelStep.prototype.draw = draw;
    }
    expect(rows).toEqual([12, 12, 6]);
  });

  it('ends a request where its caller says so, and none but it when the caller fails', async () => {
    const engine = newEngine();
    const whole = await tokensOf(newEngine().generate(request()));
    const seen: number[] = [];
    const stopWhen = (token: number) => seen.push(token) === 3;
    const stream = engine.generate(request({ stopWhen }));
    const broken = engine.generate(
      request({
        stopWhen: () => {
          throw new MinkeError('internal', 'of the caller');
        },
      }),
    );
    const events = await stream.rest();
    expect(events.map(({ token }) => token)).toEqual(whole.slice(0, 3));
    expect(seen).toEqual(whole.slice(0, 3));
    expect(events.at(-1)?.finish).toBe('stop');
    await expect(tokensOf(broken)).rejects.toThrow('of the caller');
    expect(await tokensOf(engine.generate(request()))).toEqual(whole);
  });

  it('hands a shared prompt on when the request that computes it leaves', async () => {
    const shared = { promptIds: prompt(30), sampling: random };
    const [second, third] = [2, 3].map((seed) => request({ ...shared, seed }));
    const alone = [
      await tokensOf(newEngine().generate(second!)),
      await tokensOf(newEngine().generate(third!)),
    ];
    const engine = newEngine({ promptChunk: 8 });
    const abort = new AbortController();
    const first = tokensOf(engine.generate(request({ ...shared, seed: 1, signal: abort.signal })));
    const others = [second!, third!].map((each) => tokensOf(engine.generate(each)));
    setImmediate(() => setImmediate(() => abort.abort()));
    expect(await codeOf(first)).toBe('aborted');
    expect(await Promise.all(others)).toEqual(alone);
    expect(engine.load).toEqual(idle);
  });

  it('reads a shared prompt where it lies, whoever of the group leaves first, and uses every place again', async () => {
    const groups = Array.from({ length: 12 }, (_, i) => Math.floor(i / 3));
    const requests = groups.map((group, i) =>
      request({
        promptIds: prompt(20 + group, group),
        sampling: random,
        seed: i,
        maxNewTokens: 1 + ((5 * i) % 13),
      }),
    );
    const alone: number[][] = [];
    for (const one of requests)
      alone.push(await tokensOf(newEngine({ maxSequences: 1, form: 'expanded' }).generate(one)));
    const engine = newEngine({ maxSequences: 4, form: 'expanded' });
    for (let round = 0; round < 2; round++)
      expect(await Promise.all(requests.map((one) => tokensOf(engine.generate(one))))).toEqual(alone);
    expect(engine.load).toEqual(idle);
  });

  it('generates what repeated full forward passes would choose', async () => {
    const tokens = await tokensOf(newEngine().generate(request()));
    const arena = new Arena(model.backend);
    const ids = prompt(5);
    for (let i = 0; i < 12; i++) {
      const { logits } = model.forward(model.batch(arena, [ids]), { outputs: 'last' });
      ids.push(argmax(Float32Array.from(await logits.read())));
      arena.reset();
    }
    expect(tokens).toEqual(ids.slice(5));
  });

  it('gives every request of a batch exactly what it gets alone', async () => {
    const requests = Array.from({ length: 9 }, (_, i) =>
      request({
        promptIds: prompt(3 + 5 * i, i),
        maxNewTokens: 5 + 3 * (i % 4),
        sampling: i % 2 ? random : greedy,
        seed: i,
      }),
    );
    const alone: number[][] = [];
    for (const one of requests)
      alone.push(await tokensOf(newEngine({ maxSequences: 1, promptChunk: 200 }).generate(one)));
    const engine = newEngine({ maxSequences: 4, promptChunk: 8 });
    const together = await Promise.all(requests.map((one) => tokensOf(engine.generate(one))));
    expect(together).toEqual(alone);
    expect(engine.load).toEqual(idle);
  });

  it.each(['expanded', undefined] as const)(
    'gives the same tokens from packed weights, also after the weights have changed, form %s',
    async (form) => {
      const own = testLanguage().model;
      const options = form === undefined ? {} : { form };
      const [plain, packed] = [newEngine(options, own), newEngine({ ...options, packWeights: true }, own)];
      expect([plain.packedBytes, packed.packedBytes > 0]).toEqual([0, true]);
      const both = async () => {
        const streams = [plain, packed].map((engine) =>
          engine.generate(request({ sampling: random, seed: 4 })).rest(),
        );
        const [a, b] = await Promise.all(streams);
        expect(b).toEqual(a);
        return a;
      };
      const before = await both();
      for (const p of own.parameters().values()) p.write(p.readSync().map((value) => value * 1.25));
      expect(await both()).not.toEqual(before);
    },
  );

  it('draws the same tokens from the same seed, others from another', async () => {
    const engine = newEngine();
    const draw = (seed: number) => tokensOf(engine.generate(request({ sampling: random, seed })));
    const [a, b, c] = await Promise.all([draw(3), draw(3), draw(4)]);
    expect(a).toEqual(b);
    expect(a).not.toEqual(c);
  });

  it('ends at a stop token, which it reports, and at the length limit', async () => {
    const engine = newEngine();
    const free = await tokensOf(engine.generate(request()));
    const stop = free[4] as number;
    const events = [];
    for await (const event of engine.generate(request({ stopTokenIds: [stop] }))) events.push(event);
    expect(events.at(-1)).toMatchObject({ token: stop, finish: 'stop' });
    expect(events.map(({ token }) => token)).toEqual(free.slice(0, free.indexOf(stop) + 1));
    const ended = [];
    for await (const event of engine.generate(request({ maxNewTokens: 2 }))) ended.push(event.finish);
    expect(ended).toEqual([null, 'length']);
  });

  it('ends when the context is full', async () => {
    const engine = newEngine({ contextLength: 20 });
    const tokens = await tokensOf(
      engine.generate(request({ promptIds: prompt(13), maxNewTokens: Number.MAX_SAFE_INTEGER })),
    );
    expect(tokens).toHaveLength(7);
  });

  it('refuses a prompt that leaves no room, with both numbers', () => {
    const problem = thrownBy(() =>
      newEngine({ contextLength: 20 }).generate(request({ promptIds: prompt(20) })),
    );
    expect(problem.code).toBe('context-overflow');
    expect(problem.details).toEqual({ promptTokens: 20, contextLength: 20 });
  });

  it('refuses wrong requests at once', () => {
    const engine = newEngine();
    for (const wrong of [
      { promptIds: [] },
      { promptIds: [model.config.vocabSize] },
      { promptIds: [-1] },
      { promptIds: [0.5] },
      { maxNewTokens: 0 },
      { maxNewTokens: 1.5 },
      { seed: -1 },
      { seed: Number.NaN },
      { sampling: { ...greedy, topP: 0 } },
      { sampling: { ...greedy, temperature: Number.NaN } },
    ]) {
      expect(thrownBy(() => engine.generate(request(wrong))).code).toBe('invalid-argument');
    }
    expect(engine.load).toEqual(idle);
  });

  it('lets requests wait up to its limit, refuses the next, and serves it later', async () => {
    const engine = newEngine({ maxSequences: 1, maxWaiting: 2 });
    const accepted = [1, 2, 3].map((salt) =>
      tokensOf(engine.generate(request({ promptIds: prompt(4, salt) }))),
    );
    expect(thrownBy(() => engine.generate(request())).code).toBe('out-of-memory');
    expect((await Promise.all(accepted)).map((tokens) => tokens.length)).toEqual([12, 12, 12]);
    expect(await tokensOf(engine.generate(request()))).toHaveLength(12);
    expect(engine.load).toEqual(idle);
  });

  it('frees the place of a request that is cancelled while running, waiting, or before it began', async () => {
    const engine = newEngine({ maxSequences: 1 });
    const expected = await tokensOf(engine.generate(request()));
    const [running, waiting] = [new AbortController(), new AbortController()];
    const first = engine.generate(request({ maxNewTokens: 90, signal: running.signal }));
    const second = codeOf(tokensOf(engine.generate(request({ signal: waiting.signal }))));
    const before = codeOf(tokensOf(engine.generate(request({ signal: AbortSignal.abort() }))));
    await first.next();
    expect(engine.load.running).toBe(1);
    running.abort();
    waiting.abort();
    const rest = (async () => {
      for await (const _ of first);
    })();
    expect(await Promise.all([codeOf(rest), second, before])).toEqual(['aborted', 'aborted', 'aborted']);
    expect(engine.load).toEqual(idle);
    expect(await tokensOf(engine.generate(request()))).toEqual(expected);
  });

  it('frees the place of a request whose consumer leaves the loop', async () => {
    const engine = newEngine({ maxSequences: 1 });
    for await (const _ of engine.generate(request({ maxNewTokens: 90 }))) break;
    expect(engine.load).toEqual(idle);
    const never = engine.generate(request({ maxNewTokens: 90 }));
    await never.return();
    expect(engine.load).toEqual(idle);
    expect(await tokensOf(engine.generate(request()))).toHaveLength(12);
  });

  it('ends running and waiting requests with aborted when disposed, and gives its memory back', async () => {
    const backend = createReference();
    const own = testLanguage({ backend }).model;
    const before = backend.memoryUse();
    const engine = new Engine(own, { maxSequences: 1, contextLength: 96 });
    const running = engine.generate(request({ maxNewTokens: 90 }));
    const waiting = tokensOf(engine.generate(request()));
    await running.next();
    const rest = (async () => {
      for await (const _ of running);
    })();
    const over = engine.dispose();
    expect(await Promise.all([codeOf(rest), codeOf(waiting)])).toEqual(['aborted', 'aborted']);
    await over;
    await engine.dispose();
    expect(backend.memoryUse()).toEqual(before);
    expect(thrownBy(() => engine.generate(request())).code).toBe('invalid-argument');
  });

  it('holds no more memory after many requests than after a few', async () => {
    const backend = createReference();
    const engine = newEngine({}, testLanguage({ backend }).model);
    const burst = () =>
      Promise.all(
        [1, 2, 3].map((salt) => tokensOf(engine.generate(request({ promptIds: prompt(6, salt) })))),
      );
    for (let i = 0; i < 2; i++) await burst();
    const { bytes } = backend.memoryUse();
    for (let i = 0; i < 8; i++) await burst();
    expect(backend.memoryUse().bytes).toBe(bytes);
  });
});

describe('Engine on a backend that fails', () => {
  /** The reference backend, with reads that fail while `broken` says so. */
  function unreliable(): { backend: Backend; broken: { reads: (length: number) => boolean } } {
    const broken = { reads: (_: number) => false };
    const reference = createReference();
    const read: Backend['read'] = async (buffer, offset, length) => {
      if (broken.reads(length ?? buffer.length)) throw new Error('the device was lost');
      return reference.read(buffer, offset, length);
    };
    const backend = new Proxy<Backend>(reference, {
      get(target, name) {
        if (name === 'read') return read;
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
    return { backend, broken };
  }

  it('tries the requests of a failed step one by one, so that all of them survive', async () => {
    const { backend, broken } = unreliable();
    const own = testLanguage({ backend }).model;
    const requests = [1, 2, 3].map((salt) => request({ promptIds: prompt(5, salt) }));
    const expected = await Promise.all(requests.map((each) => tokensOf(newEngine().generate(each))));
    const engine = newEngine({}, own);
    let failures = 0;
    // Shared steps fail, steps of one request do not.
    broken.reads = (length) => length > 1 && ++failures > 0;
    expect(await Promise.all(requests.map((each) => tokensOf(engine.generate(each))))).toEqual(expected);
    expect(failures).toBeGreaterThan(3);
    expect(engine.load).toEqual(idle);
  });

  it('ends only the request that fails alone, and serves the next', async () => {
    const { backend, broken } = unreliable();
    const own = testLanguage({ backend }).model;
    const engine = newEngine({}, own);
    const expected = await tokensOf(newEngine().generate(request()));
    let failing = false;
    broken.reads = () => failing;
    failing = true;
    await expect(tokensOf(engine.generate(request()))).rejects.toThrow('the device was lost');
    failing = false;
    expect(engine.load).toEqual(idle);
    expect(await tokensOf(engine.generate(request()))).toEqual(expected);
  });
});
