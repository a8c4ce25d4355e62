import { Random } from '@minke/core';
import type { AttentionForm } from '@minke/mla-attention';
import { Arena } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import type { DeepSeekModel } from './deepseek.ts';
import { loadModel } from './load.ts';
import { distance, fastBackend, fixtureFolder, otherBackends, readExpected } from './testing/fixtures.ts';

type Sequences = readonly (readonly number[])[];

/** Logits of each sequence, given to the model in random pieces, several sequences a step. */
function inPieces(
  model: DeepSeekModel,
  sequences: Sequences,
  seed: number,
  kept: AttentionForm,
  form?: AttentionForm,
): number[][] {
  const random = new Random(seed);
  const { vocabSize } = model.config;
  using cache = model.createCache({ maxTokens: 24, sequences: sequences.length + 1, form: kept });
  using arena = new Arena(model.backend);
  const result: number[][] = sequences.map(() => []);
  for (;;) {
    const waiting = sequences.map((_, s) => s).filter((s) => cache.length(s + 1) < sequences[s]!.length);
    if (waiting.length === 0) return result;
    const chosen = random.shuffle(waiting).slice(0, random.integer(1, waiting.length + 1));
    const requests = chosen.map((s) => {
      const start = cache.length(s + 1);
      const left = sequences[s]!.length - start;
      const count = random.uniform() < 0.4 ? 1 : random.integer(1, Math.min(left, 7) + 1);
      const role = count === 1 && start > 0 ? ('generated' as const) : ('prompt' as const);
      return { s, sequence: s + 1, count, role, ids: sequences[s]!.slice(start, start + count) };
    });
    const ids = requests.flatMap((request) => request.ids);
    const batch = { ids: arena.tensor(ids, [ids.length], 'i32'), ...cache.append(arena, requests) };
    const rows = model.forward(batch, { cache, ...(form && { form }) }).logits.readSync();
    let row = 0;
    for (const { s, count } of requests) {
      result[s]!.push(...rows.slice(row * vocabSize, (row + count) * vocabSize));
      row += count;
    }
    arena.reset();
  }
}

function alone(model: DeepSeekModel, sequence: readonly number[]): number[] {
  using arena = new Arena(model.backend);
  return [...model.forward(model.batch(arena, [sequence])).logits.readSync()];
}

describe.each([fastBackend, ...otherBackends].map((backend) => [backend.info.name, backend] as const))(
  'on %s',
  (_, backend) => {
    const names = backend === fastBackend ? ['v2-lite', 'v2-groups', 'v3-odd', 'v3-base'] : ['v3-base'];
    const seeds = backend === fastBackend ? [1, 2, 3] : [1];

    describe.each(names)('%s', (name) => {
      const open = async () => {
        const model = await loadModel(fixtureFolder(name), { backend });
        const [a, b] = (await readExpected(name)).sequences as [number[], number[]];
        return { model, sequences: [a.slice(0, 20), b.slice(0, 9), a.slice(30, 44)] };
      };

      it('computes the same for a sequence in a batch as alone, bit for bit', async () => {
        const { model, sequences } = await open();
        using arena = new Arena(backend);
        const batched = model.forward(model.batch(arena, sequences)).logits.readSync();
        expect(
          distance(
            batched,
            sequences.flatMap((sequence) => alone(model, sequence)),
          ),
        ).toBe(0);
      });

      it('computes the same with an expanded cache, in any pieces, bit for bit', async () => {
        const { model, sequences } = await open();
        for (const seed of seeds) {
          const got = inPieces(model, sequences, seed, 'expanded');
          const worst = got.map((logits, s) => distance(logits, alone(model, sequences[s]!)));
          expect(worst, `seed ${seed}`).toEqual([0, 0, 0]);
        }
      });

      it.each([
        ['by role', undefined],
        ['expanded', 'expanded'],
        ['absorbed', 'absorbed'],
      ] as const)('computes the same with a latent cache, in any pieces, %s', async (_, form) => {
        const { model, sequences } = await open();
        for (const seed of seeds) {
          const got = inPieces(model, sequences, seed, 'absorbed', form);
          const worst = got.map((logits, s) => distance(logits, alone(model, sequences[s]!)));
          expect(Math.max(...worst), `seed ${seed}`).toBeLessThan(1e-4);
        }
      });
    });
  },
);

it('gives logits of the last rows, or of chosen ones, as of all', async () => {
  const model = await loadModel(fixtureFolder('v3-base'), { backend: fastBackend });
  const { vocabSize } = model.config;
  using arena = new Arena(fastBackend);
  const batch = model.batch(arena, [[1, 2, 3], [4], [5, 6]]);
  const all = model.forward(batch).logits.readSync();
  const rows = (indices: number[]) =>
    indices.flatMap((n) => [...all.slice(n * vocabSize, (n + 1) * vocabSize)]);
  expect(distance(model.forward(batch, { outputs: 'last' }).logits.readSync(), rows([2, 3, 5]))).toBe(0);
  const chosen = arena.tensor([4, 0], [2], 'i32');
  expect(distance(model.forward(batch, { outputs: chosen }).logits.readSync(), rows([4, 0]))).toBe(0);
});

it('balances: the loss of a packed batch is the mean over its sequences, and the bias moves against the load', async () => {
  const model = await loadModel(fixtureFolder('v3-base'), { backend: fastBackend });
  using arena = new Arena(fastBackend);
  const lossOf = (sequences: Sequences) => {
    const batch = model.batch(arena, sequences);
    return model.balanceLoss(model.forward(batch), batch, { alpha: 0.5 }).readSync()[0]!;
  };
  const [a, b] = [
    [1, 2, 3, 4, 5],
    [60, 7],
  ];
  expect(lossOf([a!, b!])).toBeCloseTo((lossOf([a!]) + lossOf([b!])) / 2, 6);

  const bias = model.parameters().get('model.layers.2.mlp.gate.e_score_correction_bias')!;
  const before = Array.from(bias.readSync());
  const { loads } = model.forward(model.batch(arena, [a!, b!]));
  const counts = Array.from(loads[1]!.readSync());
  model.updateBiases(loads, { gamma: 0.125 });
  const even = counts.reduce((x, y) => x + y) / counts.length;
  expect(
    distance(
      bias.readSync(),
      before.map((x, e) => x + 0.125 * Math.sign(even - counts[e]!)),
    ),
  ).toBeLessThan(1e-6);
});

it('replays its own routing to the same logits, and uses the experts that it is given in every layer', async () => {
  const model = await loadModel(fixtureFolder('v3-base'), { backend: fastBackend });
  using arena = new Arena(fastBackend);
  const batch = model.batch(arena, [
    [1, 2, 3, 4, 5],
    [60, 7],
  ]);
  const own = model.forward(batch);
  const indices = own.routings.map((routing) => routing.indices);
  const replayed = model.forward(batch, { choices: indices });
  expect(distance(replayed.logits.readSync(), own.logits.readSync())).toBeLessThan(1e-5);
  const [rows, topK] = indices[0]!.shape as [number, number];
  const first = Array.from({ length: rows * topK }, (_, i) => i % topK);
  const choices = indices.map(() => arena.tensor(first, [rows, topK], 'i32'));
  const forced = model.forward(batch, { choices });
  for (const routing of forced.routings) expect(Array.from(routing.indices.readSync())).toEqual(first);
  expect(distance(forced.logits.readSync(), own.logits.readSync())).toBeGreaterThan(1e-3);
});
