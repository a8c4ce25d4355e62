// The invariants of merging and inflation, on every backend.

import { Random } from '@minke/core';
import { Arena, add, matmul, mul, softmax, sum, type Tensor } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { testBackends } from '../testing/backends.ts';
import { distance, normals } from '../testing/numbers.ts';
import { D, type Memory, Stack } from '../testing/stack.ts';
import { copyBack, type MergeBatch, type MergePlan, type MergerConfig } from './index.ts';

const lengths = [17, 1, 12, 9];
const total = lengths.reduce((a, b) => a + b, 0);
const data = normals(total * D, 1);
const starts = lengths.map((_, b) => lengths.slice(0, b).reduce((x, y) => x + y, 0));
const rowsOf = (values: ArrayLike<number>, start: number, end: number) =>
  Array.from({ length: (end - start) * D }, (_, i) => values[start * D + i] as number);
const protect = Uint8Array.from({ length: total }, (_, t) => Number(t % 11 === 5));

const mixes: Record<string, Partial<MergerConfig> & { kernel?: number }> = {
  gated: {},
  mass: { mix: 'mass' },
  select: { mix: 'select' },
  'long runs': { maxRun: 9, threshold: 0.65 },
  'no runs': { maxRun: 1 },
  'every second token': { router: 'stride' },
  'two of three tokens': { router: 'stride', tokensPerEntry: 1.5 },
  'random boundaries': { router: 'random', seed: 3 },
  'paced router': { router: 'paced', maxRun: 6 },
  'behind a convolution': { kernel: 4 },
  'behind a convolution wider than runs': { kernel: 6, maxRun: 2 },
};

describe.each(await testBackends())('on %s', (_, backend) => {
  const stacks = Object.fromEntries(
    Object.entries(mixes).map(([mix, config]) => [mix, new Stack(backend, config)]),
  );
  stacks['copied back'] = new Stack(backend, {}, copyBack);
  const stack = stacks.gated as Stack;
  const full = (which = stack) => which.numbers(data, { counts: lengths, protect });

  it('merges something and not everything', async () => {
    using arena = new Arena(backend);
    const { plan } = await stack.forward(arena.tensor(data, [total, D]), { counts: lengths });
    const routed = plan.boundary.filter((_, t) => !plan.forced[t]);
    expect(routed.some(Boolean) && !routed.every(Boolean)).toBe(true);
    expect(plan.size.some((size) => size === 1) && plan.size.some((size) => size > 2)).toBe(true);
  });

  it.each(Object.keys(stacks))('computes the same token by token and in any chunks, %s', async (mix) => {
    const which = stacks[mix] as Stack;
    const whole = await full(which);
    for (const longest of [1, 2, 7]) {
      const random = new Random(longest);
      using state = which.createState({ sequences: lengths.length });
      const memory: Memory = new Map();
      const got = lengths.map((): number[] => []);
      while (lengths.some((length, b) => state.length(b) < length)) {
        using arena = new Arena(backend);
        const sequences = random
          .shuffle(lengths.map((_, b) => b))
          .filter((b) => state.length(b) < (lengths[b] as number));
        const chosen = sequences.slice(0, random.integer(1, sequences.length + 1));
        const counts = chosen.map((b) =>
          random.integer(1, Math.min(longest, (lengths[b] as number) - state.length(b)) + 1),
        );
        const at = chosen.map((b) => (starts[b] as number) + state.length(b));
        const rows = at.flatMap((start, i) => rowsOf(data, start, start + (counts[i] as number)));
        const kept = at.flatMap((start, i) =>
          Array.from(protect.slice(start, start + (counts[i] as number))),
        );
        const batch: MergeBatch = { counts, sequences: chosen, state, protect: kept };
        const { output } = await which.forward(arena.tensor(rows, [rows.length / D, D]), batch, memory);
        const numbers = await output.read();
        let row = 0;
        chosen.forEach((b, i) => {
          got[b]?.push(...rowsOf(numbers, row, row + (counts[i] as number)));
          row += counts[i] as number;
        });
      }
      expect(distance(got.flat(), whole)).toBe(0);
      expect(lengths.map((_, b) => state.entries(b))).toEqual(await entryCounts(which));
    }
  });

  const entryCounts = async (which: Stack) => {
    using arena = new Arena(backend);
    const { plan } = await which.forward(arena.tensor(data, [total, D]), { counts: lengths, protect });
    return lengths.map((_, b) => (plan.entryOffsets[b + 1] as number) - (plan.entryOffsets[b] as number));
  };

  it.each(Object.keys(stacks))(
    'does not see the future: other tokens after t leave every bit up to t, %s',
    async (mix) => {
      const leak = await leakOf((values) => (stacks[mix] as Stack).numbers(values));
      expect(leak).toBe(0);
    },
  );

  it('notices a variant that sees the future: the mean of each group copied back', async () => {
    const naive = async (values: readonly number[]) => {
      using arena = new Arena(backend);
      const h = arena.tensor(values, [values.length / D, D]);
      const { plan } = await stack.merger.forward(h);
      return meansCopiedBack(values, plan);
    };
    expect(await leakOf(naive)).toBeGreaterThan(0);
  });

  it('gives a prefix what the whole text gives it', async () => {
    const text = rowsOf(data, 0, 17);
    const whole = await stack.numbers(text);
    for (const end of [1, 5, 16])
      expect(distance(await stack.numbers(rowsOf(text, 0, end)), rowsOf(whole, 0, end))).toBe(0);
  });

  it('has no gradient from an output to a later token', async () => {
    const owner = new Arena(backend, { persistent: true });
    using arena = new Arena(backend, { grad: true });
    const h = owner.parameter(rowsOf(data, 0, 17), [17, D]);
    for (const t of [0, 3, 8]) {
      const { output } = await stack.forward(arena.adopt(h));
      sum(mul(output.rows(0, t + 1), arena.tensor(normals((t + 1) * D, 5), [t + 1, D]))).backward();
      const grad = await (h.grad as Tensor).read();
      expect(Math.max(...rowsOf(grad, t + 1, 17).map(Math.abs))).toBe(0);
      expect(Math.max(...rowsOf(grad, t, t + 1).map(Math.abs))).toBeGreaterThan(0);
      h.grad?.write(new Float32Array(17 * D));
      arena.reset();
    }
    owner.dispose();
  });

  it('keeps mass: sizes and open tails sum to the tokens, sizes times entries to their sum', async () => {
    const which = new Stack(backend, { mix: 'mass', maxRun: 6 });
    which.merger.parameters().get('importance.weight')?.write(new Float32Array(D));
    using arena = new Arena(backend);
    const { plan, entries } = await which.merger.forward(arena.tensor(data, [total, D]), { counts: lengths });
    const numbers = await entries.read();
    for (const b of lengths.keys()) {
      const own = Array.from({ length: plan.entryOffsets[b + 1]! - plan.entryOffsets[b]! }, (_, i) => i);
      const first = plan.entryOffsets[b] as number;
      const mass = own.reduce((m, i) => m + (plan.size[first + i] as number), 0);
      expect(mass + (plan.openTail[b] as number)).toBe(lengths[b]);
      for (let d = 0; d < D; d++) {
        const merged = own.reduce((m, i) => m + plan.size[first + i]! * numbers[(first + i) * D + d]!, 0);
        const tokens = Array.from({ length: mass }, (_, t) => data[(starts[b]! + t) * D + d]!);
        expect(merged).toBeCloseTo(
          tokens.reduce((x, y) => x + y, 0),
          4,
        );
      }
    }
  });

  it('is the stack without merging at threshold 0, bit for bit', async () => {
    const odd = data.map((x, i) => (i % 7 === 0 ? -0 : i % 13 === 0 ? x * 1e20 : x));
    for (const batch of [{ threshold: 0 }, { boundaries: new Uint8Array(total).fill(1) }]) {
      using arena = new Arena(backend);
      const h = arena.tensor(odd, [total, D]);
      const { output, plan } = await stack.forward(h, { counts: lengths, ...batch });
      expect(plan.size.length).toBe(total);
      const plain = await stack.middle(h, plan.entryOffsets).read();
      const numbers = await output.read();
      expect(numbers.every((x, i) => Object.is(x, plain[i]))).toBe(true);
    }
  });

  it('merges equal vectors into that vector, exactly', async () => {
    using arena = new Arena(backend);
    const vector = normals(D, 7);
    const h = arena.tensor(Array.from({ length: 12 }, () => vector).flat(), [12, D]);
    const { plan, entries } = await stack.merger.forward(h);
    expect(Array.from(plan.size)).toEqual([1, 4, 4]);
    const numbers = await entries.read();
    expect(Array.from(numbers)).toEqual([...vector, ...vector, ...vector]);
  });

  it('attends to duplicates merged, with log sizes, as to duplicates', async () => {
    using arena = new Arena(backend);
    const keys = normals(3 * D, 8);
    const sizes = [1, 3, 2];
    const repeated = sizes.flatMap((size, k) =>
      Array.from({ length: size }, () => rowsOf(keys, k, k + 1)).flat(),
    );
    const query = arena.tensor(normals(D, 9), [1, D]);
    const attend = async (rows: number[], bias: number[]) => {
      const k = arena.tensor(rows, [rows.length / D, D]);
      const scores = add(matmul(query, k, { transB: true }), arena.tensor(bias, [bias.length]));
      return matmul(softmax(scores), k).read();
    };
    const merged = await attend(keys, sizes.map(Math.log));
    const plain = await attend(repeated, new Array<number>(6).fill(0));
    expect(distance(merged, plain)).toBeLessThan(1e-6);
  });

  it('keeps order, runs and protected tokens', async () => {
    for (const which of Object.values(stacks)) {
      using arena = new Arena(backend);
      const { plan } = await which.merger.forward(arena.tensor(data, [total, D]), {
        counts: lengths,
        protect,
      });
      for (const b of lengths.keys()) {
        const positions = plan.entryPosition.slice(plan.entryOffsets[b], plan.entryOffsets[b + 1]);
        expect(positions[0]).toBe(0);
        expect(positions.every((p, i) => i === 0 || p > (positions[i - 1] as number))).toBe(true);
        const entries = plan.entryOfToken.slice(starts[b], (starts[b] as number) + (lengths[b] as number));
        expect(entries.every((e, i) => i === 0 || e >= (entries[i - 1] as number))).toBe(true);
      }
      expect(Math.max(...plan.lag)).toBeLessThan(which.merger.config.maxRun);
      expect(Math.max(...plan.size)).toBeLessThanOrEqual(which.merger.config.maxRun);
      expect(protect.every((p, t) => !p || plan.boundary[t] === 1)).toBe(true);
    }
  });

  const remembering = ['gated', 'behind a convolution'];

  it.each(remembering)('goes back to any token after speculating, %s', async (mix) => {
    const which = stacks[mix] as Stack;
    const whole = await which.numbers(rowsOf(data, 0, 17));
    using state = which.createState();
    let memory: Memory = new Map();
    const step = async (values: number[]) => {
      using arena = new Arena(backend);
      const h = arena.tensor(values, [values.length / D, D]);
      return Array.from(await (await which.forward(h, { state }, memory)).output.read());
    };
    for (let t = 0; t < 17; t++) {
      using saved = state.clone();
      const kept = new Map(memory);
      await step(normals(5 * D, t + 20));
      await step(normals(D, t + 50));
      state.restore(saved);
      memory = kept;
      expect(state.length(0)).toBe(t);
      expect(distance(await step(rowsOf(data, t, t + 1)), rowsOf(whole, t, t + 1))).toBe(0);
    }
  });

  it.each(remembering)(
    'shares a prefix: a copied sequence goes on in the place of another, %s',
    async (mix) => {
      const which = stacks[mix] as Stack;
      using state = which.createState({ sequences: 3 });
      const memory: Memory = new Map();
      const step = async (values: number[], sequences: number[]) => {
        using arena = new Arena(backend);
        const h = arena.tensor(values, [values.length / D, D]);
        const batch = { state, sequences, counts: sequences.map(() => values.length / D / sequences.length) };
        return Array.from(await (await which.forward(h, batch, memory)).output.read());
      };
      await step(rowsOf(data, 0, 7), [2]);
      using prefix = state.clone([2]);
      state.restore(prefix, [0]);
      memory.set(0, memory.get(2) as ArrayLike<number>);
      const rest = rowsOf(data, 7, 12);
      const both = await step([...rest, ...rest], [0, 2]);
      expect(both.slice(0, 5 * D)).toEqual(both.slice(5 * D));
      expect(state.length(1)).toBe(0);
      const whole = await which.numbers(rowsOf(data, 0, 12));
      expect(distance(both.slice(0, 5 * D), rowsOf(whole, 7, 12))).toBe(0);
    },
  );

  it.each(remembering)('computes packed documents as each alone, %s', async (mix) => {
    const which = stacks[mix] as Stack;
    const packed = await full(which);
    for (const [b, length] of lengths.entries()) {
      const [start, end] = [starts[b] as number, (starts[b] as number) + length];
      const alone = await which.numbers(rowsOf(data, start, end), { protect: protect.slice(start, end) });
      expect(distance(alone, rowsOf(packed, start, end))).toBe(0);
    }
  });

  /** Numbers up to t that change when every token after t does, over some t. */
  async function leakOf(f: (values: number[]) => Promise<number[]>): Promise<number> {
    const text = rowsOf(data, 0, 17);
    const before = await f(text);
    let leaks = 0;
    for (const t of [0, 1, 4, 9, 15]) {
      const changed = [...rowsOf(text, 0, t + 1), ...normals((16 - t) * D, t + 30)];
      const after = await f(changed);
      for (let i = 0; i < (t + 1) * D; i++) if (!Object.is(after[i], before[i])) leaks++;
    }
    return leaks;
  }
});

/** Every token as the mean of the tokens from its boundary to the next: what a causal model must not do. */
function meansCopiedBack(values: readonly number[], plan: MergePlan): number[] {
  const output: number[] = [];
  for (const entry of plan.entryOfToken) {
    const members = [...plan.entryOfToken.keys()].filter((t) => plan.entryOfToken[t] === entry);
    for (let d = 0; d < D; d++)
      output.push(members.reduce((total, t) => total + (values[t * D + d] as number), 0) / members.length);
  }
  return output;
}
