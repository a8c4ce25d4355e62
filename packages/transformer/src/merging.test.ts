// A model that merges: identity, causality, steps, going back, and that a leaking variant would be noticed.

import { type Backend, Random } from '@minke/core';
import { availableBackends } from '@minke/gpu-backends/testing';
import type { AttentionForm } from '@minke/mla-attention';
import { deepseekV3Gate } from '@minke/moe-router';
import { Arena, affine, crossEntropy, gatherRows, sum, type Tensor } from '@minke/tensor';
import {
  copyBack,
  type MergeBatch,
  type MergePlan,
  ratioLoss,
  SoftTokenMerger,
  tokenBitmapText,
} from '@minke/tokenizer-merging/merging';
import { describe, expect, it } from 'vitest';
import {
  type DeepSeekConfig,
  DeepSeekModel,
  type MergingConfig,
  type MergingState,
  MergingTransformer,
  mergingStateBytes,
  presets,
} from './index.ts';

const config: DeepSeekConfig = {
  ...presets['DeepSeek-V3'],
  vocabSize: 61,
  hiddenSize: 36,
  intermediateSize: 52,
  numLayers: 4,
  numHeads: 3,
  qLoraRank: 21,
  kvLoraRank: 17,
  qkNopeHeadDim: 12,
  qkRopeHeadDim: 4,
  vHeadDim: 9,
  moe: { ...deepseekV3Gate, expertSize: 19, experts: 8, topK: 2, groups: 2, topGroups: 1 },
  firstDenseLayers: 1,
  mtpLayers: 0,
  yarn: null,
  maxPositions: 64,
  initStd: 0.2,
  bosTokenId: 0,
  eosTokenIds: [1],
};
const V = config.vocabSize;
const merging: MergingConfig = { preLayers: 1, postLayers: 1, maxRun: 4, offsets: true, refine: true };
const everyThird = tokenBitmapText(Uint8Array.from({ length: V }, (_, id) => Number(id % 3 === 0)));
const draw = new Random(11);
const tokens = (count: number) => Array.from({ length: count }, () => draw.integer(0, V));
const sequences = [23, 1, 14].map(tokens);
const text = sequences[0] as number[];
const rows = (numbers: ArrayLike<number>, start: number, end: number) =>
  Array.from({ length: (end - start) * V }, (_, i) => numbers[start * V + i] as number);

/** A model with merging whose every parameter is random; `merger` makes another merger of the same parameters. */
function build(backend: Backend, merger = SoftTokenMerger, settings = merging) {
  const arena = new Arena(backend, { persistent: true });
  const model = DeepSeekModel.init(config, { arena, seed: 3 });
  const made = MergingTransformer.init(model, settings, { arena });
  const random = new Random(4);
  for (const parameter of made.mergingParameters().values()) {
    const square = parameter.shape.join() === `${config.hiddenSize},${config.hiddenSize}`;
    const unit = (i: number) => Number(square && i % (config.hiddenSize + 1) === 0);
    parameter.write(Float32Array.from({ length: parameter.size }, (_, i) => unit(i) + 0.2 * random.normal()));
  }
  return new MergingTransformer(model, settings, {
    merger: new merger(made.merger.config, made.merger.parameters()),
    ...(made.convolution && { convolution: made.convolution }),
    ...{ inflator: made.inflator, sizeBias: made.sizeBias },
  });
}

async function logitsOf(
  model: MergingTransformer,
  batch: readonly (readonly number[])[],
  options: Pick<MergeBatch, 'threshold' | 'boundaries'> = {},
): Promise<{ logits: ArrayLike<number>; plan: MergePlan }> {
  using arena = new Arena(model.backend);
  const { logits, plan } = await model.forward(model.model.batch(arena, batch), options);
  return { logits: await logits.read(), plan };
}

/** New tokens of sequences of a state, [sequence, ids]. */
async function step(
  model: MergingTransformer,
  state: MergingState,
  pieces: readonly (readonly [sequence: number, ids: readonly number[]])[],
  form?: AttentionForm,
): Promise<ArrayLike<number>> {
  using arena = new Arena(model.backend);
  const requests = pieces.map(([sequence, { length }]) => ({
    sequence,
    count: length,
    role: 'prompt' as const,
  }));
  const ids = pieces.flatMap(([, own]) => own);
  const batch = { ids: arena.tensor(ids, [ids.length], 'i32'), ...state.append(arena, requests) };
  return (await model.forward(batch, { state, ...(form && { form }) })).logits.read();
}

/** Numbers up to a token that change with the tokens after it. */
async function leaks(model: MergingTransformer): Promise<number> {
  const { logits } = await logitsOf(model, [text]);
  let count = 0;
  for (const t of [0, 3, 8, 15, 21]) {
    const changed = text.map((id, i) => (i > t ? (id + 7 + i) % V : id));
    const other = await logitsOf(model, [changed]);
    for (let i = 0; i < (t + 1) * V; i++) if (!Object.is(other.logits[i], logits[i])) count++;
  }
  return count;
}

/** Makes entries of the last token of each run, which lies after the boundary: what must not be. */
class LeakingMerger extends SoftTokenMerger {
  override merge(h: Tensor, plan: MergePlan, batch?: MergeBatch): Tensor {
    super.merge(h, plan, batch);
    const last = Array.from(plan.size, (_, entry) => plan.entryOfToken.lastIndexOf(entry));
    return gatherRows(h, h.arena.tensor(last, [last.length], 'i32'));
  }
}

describe.each(await availableBackends())('a model that merges, on %s', (_, backend) => {
  const model = build(backend);

  it('merges something and not everything, and its middle cache has a row for each entry', async () => {
    const { plan } = await logitsOf(model, sequences);
    expect(plan.size.some((size) => size > 1)).toBe(true);
    expect(plan.boundary.some((b, t) => b === 1 && plan.forced[t] === 0)).toBe(true);
    using state = model.createState({ maxTokens: 32, maxEntries: 30, sequences: 3 });
    await step(
      model,
      state,
      sequences.map((ids, b) => [b, ids]),
    );
    expect(sequences.map((_, b) => state.entries(b))).toEqual(
      sequences.map((_, b) => plan.entryOffsets[b + 1]! - plan.entryOffsets[b]!),
    );
    expect(sequences.map((_, b) => state.length(b))).toEqual(sequences.map(({ length }) => length));
    expect(state.bytes).toBe(4 * 3 * (2 * 32 * 21 + 2 * 30 * 22 + (4 + 1 + 2 * 32) * 36));
    for (const form of ['expanded', 'absorbed'] as const)
      for (const [sizeBias, convKernel] of [
        ['learned', 1],
        [0, 3],
        [0.5, 4],
      ] as const) {
        const own = { ...merging, sizeBias, convKernel };
        const size = { maxTokens: 11, maxEntries: 7, sequences: 2, rollback: 3, form };
        using other = MergingTransformer.init(model.model, own, {}).createState(size);
        const { outer, middle, merge } = mergingStateBytes(config, own, size);
        expect([other.outer.bytes, other.middle.bytes, other.merge.bytes]).toEqual([outer, middle, merge]);
        expect(other.bytes).toBe(outer + middle + merge);
      }
  });

  it('is the model without merging at threshold 0, bit for bit', async () => {
    using arena = new Arena(backend);
    const plain = await model.model.forward(model.model.batch(arena, sequences)).logits.read();
    const { logits } = await logitsOf(model, sequences, { threshold: 0 });
    expect(logits).toEqual(plain);
    expect((await logitsOf(model, sequences)).logits).not.toEqual(plain);
  });

  it('has the balance loss of the model at threshold 0, and one over entries where tokens are merged', async () => {
    using arena = new Arena(backend);
    const batch = model.batch(arena, sequences);
    const plain = model.model.balanceLoss(model.model.hidden(batch), batch, { alpha: 0.5 });
    const same = await model.hidden(batch, { threshold: 0 });
    const merged = await model.hidden(batch);
    const losses = [same, merged].map((result) => model.balanceLoss(result, batch, { alpha: 0.5 }));
    const [expected, own, other] = await Promise.all(
      [plain, ...losses].map(async (t) => (await t.read())[0]),
    );
    expect(own).toBeCloseTo(expected as number, 5);
    expect(other).not.toBeCloseTo(expected as number, 3);
    expect(merged.entrySegments.map(({ count }) => count)).toEqual(
      sequences.map((_, b) => merged.plan.entryOffsets[b + 1]! - merged.plan.entryOffsets[b]!),
    );
    const chosen = await Promise.all(
      merged.loads.map(async (load) => Array.from(await load.read()).reduce((a, b) => a + b)),
    );
    const [tokens, entries] = [sequences.flat().length, merged.plan.size.length];
    expect(chosen).toEqual([entries, entries, tokens].map((rows) => rows * 2));
  });

  it('gives a sequence the same logits alone as in a batch', async () => {
    const { logits } = await logitsOf(model, sequences);
    let row = 0;
    for (const sequence of sequences) {
      const alone = await logitsOf(model, [sequence]);
      expect(Array.from(alone.logits)).toEqual(rows(logits, row, row + sequence.length));
      row += sequence.length;
    }
  });

  it.each(['expanded', 'absorbed'] as const)(
    'computes the same token by token and in chunks as at once, %s',
    async (form) => {
      const at = async (chunks: readonly number[]) => {
        using state = model.createState({ maxTokens: 32, form });
        const logits: number[] = [];
        let start = 0;
        for (let i = 0; start < text.length; i++) {
          const ids = text.slice(start, start + (chunks[i % chunks.length] as number));
          logits.push(...Array.from(await step(model, state, [[0, ids]], form)));
          start += ids.length;
        }
        return logits;
      };
      const whole = await at([text.length]);
      expect(await at([1])).toEqual(whole);
      expect(await at([9, 1, 1, 4])).toEqual(whole);
      // What a trainer computes.
      if (form === 'expanded') expect(whole).toEqual(Array.from((await logitsOf(model, [text])).logits));
    },
  );

  it.each([
    ['every second token', { router: 'stride' }],
    ['random boundaries', { router: 'random', tokensPerEntry: 1.5 }],
    ['changes copied back', copyBack],
    ['a paced router', { router: 'paced' }],
    ['a convolution before', { convKernel: 4 }],
    ['entries that begin at some tokens', { router: 'tokens', boundaryTokens: everyThird }],
  ] as const)(
    'computes the same in pieces and at once, sees no future, and without a convolution is the plain model at threshold 0: %s',
    async (_, settings) => {
      const own = build(backend, SoftTokenMerger, { ...merging, ...settings });
      const { logits, plan } = await logitsOf(own, [text]);
      expect(plan.size.length).toBeLessThan(text.length);
      using state = own.createState({ maxTokens: 32, form: 'expanded' });
      const pieces: number[] = [];
      for (const [start, end] of [
        [0, 1],
        [1, 8],
        [8, 9],
        [9, 23],
      ] as const)
        pieces.push(...Array.from(await step(own, state, [[0, text.slice(start, end)]])));
      expect(pieces).toEqual(Array.from(logits));
      expect(await leaks(own)).toBe(0);
      const whole = await logitsOf(own, sequences, { threshold: 0 });
      const plain = (await logitsOf(model, sequences, { threshold: 0 })).logits;
      if (own.convolution) expect(whole.logits).not.toEqual(plain);
      else expect(whole.logits).toEqual(plain);
    },
  );

  it('steps sequences together of which some make an entry and some do not', async () => {
    const [a, b] = [text.slice(0, 14), sequences[2] as number[]];
    const expected = await Promise.all([a, b].map(async (ids) => (await logitsOf(model, [ids])).logits));
    using state = model.createState({ maxTokens: 32, sequences: 2, form: 'expanded' });
    const different = new Set<boolean>();
    for (let t = 0; t < 14; t++) {
      const before = [state.entries(0), state.entries(1)];
      const logits = await step(model, state, [
        [1, [b[t] as number]],
        [0, [a[t] as number]],
      ]);
      expect(rows(logits, 0, 1)).toEqual(rows(expected[1]!, t, t + 1));
      expect(rows(logits, 1, 2)).toEqual(rows(expected[0]!, t, t + 1));
      different.add(state.entries(0) - before[0]! === state.entries(1) - before[1]!);
    }
    expect(different.has(false)).toBe(true);
  });

  it('weighs entries by size: not at all with 0, as the learned numbers say with the same number everywhere', async () => {
    const { merger, inflator } = model;
    const of = async (sizeBias: 'learned' | number, learned?: number) => {
      const own = { ...merging, sizeBias };
      const arena = new Arena(backend, { persistent: true });
      const values = new Float32Array(config.numHeads).fill(learned ?? 0);
      const each = [0, 1].map(() => arena.parameter(values, [config.numHeads]));
      const parts = { merger, inflator, sizeBias: learned === undefined ? [] : each };
      return Array.from((await logitsOf(new MergingTransformer(model.model, own, parts), sequences)).logits);
    };
    const unweighed = await of(0);
    expect(await of('learned', 0)).toEqual(unweighed);
    const weighed = await of(1);
    expect(await of('learned', 1)).toEqual(weighed);
    expect(weighed).not.toEqual(unweighed);
  });

  it('does not see the future, and a variant that does is noticed', async () => {
    expect(await leaks(model)).toBe(0);
    expect(await leaks(build(backend, LeakingMerger))).toBeGreaterThan(0);
  });

  it.each([1, 4])(
    'goes back to any token after guesses, and shares a prefix, kernel %i',
    async (convKernel) => {
      const model = build(backend, SoftTokenMerger, { ...merging, convKernel });
      const { logits } = await logitsOf(model, [text]);
      using state = model.createState({ maxTokens: 40, sequences: 2, form: 'expanded' });
      for (let t = 0; t < 12; t++) {
        using place = state.save([0]);
        await step(model, state, [[0, sequences[2] as number[]]]);
        state.restore(place);
        expect(state.length(0)).toBe(t);
        const ids = [text[t] as number];
        expect(Array.from(await step(model, state, [[0, ids]]))).toEqual(rows(logits, t, t + 1));
      }
      using prefix = state.save([0]);
      await step(model, state, [[0, sequences[2] as number[]]]);
      using arena = new Arena(backend);
      state.copyTo(arena, prefix, 1);
      arena.submit();
      const rest = await step(model, state, [[1, text.slice(12)]]);
      expect(Array.from(rest)).toEqual(rows(logits, 12, text.length));
    },
  );

  it.each([
    ['at once', [text.length]],
    ['token by token', text.map(() => 1)],
  ])(
    'goes on from every length it is cut back to, having come %s',
    async (_, chunks) => {
      const { logits, plan } = await logitsOf(model, [text]);
      using state = model.createState({ maxTokens: 40, sequences: 2, form: 'expanded' });
      let start = 0;
      for (const count of chunks) await step(model, state, [[0, text.slice(start, (start += count))]]);
      for (let length = text.length - 1; length >= 1; length--) {
        using arena = new Arena(backend);
        state.copySequence(arena, 0, 1, length);
        arena.submit();
        state.truncate(0, length);
        const entries = plan.boundary.slice(0, length).reduce((sum, one) => sum + one, 0);
        for (const s of [0, 1]) expect([state.length(s), state.entries(s)]).toEqual([length, entries]);
        const wrong = (sequences[2] as number[]).slice(0, 1 + (length % 6));
        await step(model, state, [[0, wrong]]);
        state.truncate(0, length);
        const rest = text.slice(length);
        const both = await step(
          model,
          state,
          [0, 1].map((s) => [s, rest] as const),
          'expanded',
        );
        const expected = rows(logits, length, text.length);
        expect(Array.from(both)).toEqual([...expected, ...expected]);
      }
    },
    180_000,
  );

  it('says how far back it remembers', async () => {
    using state = model.createState({ maxTokens: 32, rollback: 3 });
    await step(model, state, [[0, text]]);
    expect([state.reaches(0, 20), state.reaches(0, 19)]).toEqual([true, false]);
    expect(() => state.truncate(0, 19)).toThrow(/length from 20 to 23, or 0, got 19.*rollback of 3 tokens/);
    expect([state.length(0), state.entries(0)]).toEqual([23, state.middle.length(0)]);
    state.truncate(0, 0);
    expect([state.length(0), state.entries(0)]).toEqual([0, 0]);
  });

  it('has gradients for every parameter that takes part', async () => {
    using arena = new Arena(backend, { grad: true });
    const { logits, plan } = await model.forward(model.model.batch(arena, sequences));
    const next = sequences.flatMap((ids) => [...ids.slice(1), -1]);
    const loss = sum(crossEntropy(logits, arena.tensor(next, [next.length], 'i32')));
    loss.backward();
    affine(ratioLoss(plan, 2), 0.03, 0).backward();
    for (const [name, parameter] of model.parameters()) {
      if (name.endsWith('e_score_correction_bias')) continue;
      const grad = await (parameter.grad as Tensor).read();
      expect(Array.from(grad).every(Number.isFinite), name).toBe(true);
      expect(
        Array.from(grad).some((x) => x !== 0),
        name,
      ).toBe(true);
    }
  });

  it('refuses tokens that may not fit, with nothing reserved', async () => {
    using state = model.createState({ maxTokens: 32, maxEntries: 6 });
    using arena = new Arena(backend);
    const request = (count: number) => [{ sequence: 0, count, role: 'prompt' as const }];
    expect(() => state.append(arena, request(7))).toThrow(/at most 6 entries.*0 and 7/);
    expect(state.length(0)).toBe(0);
    await step(model, state, [[0, text.slice(0, 5)]]);
    state.clear(0);
    expect([state.length(0), state.entries(0)]).toEqual([0, 0]);
  });
});
