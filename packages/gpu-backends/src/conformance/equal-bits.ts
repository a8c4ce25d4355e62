/**
 * The engine's promise of equal bits: a row does not depend on its batch, attention does not depend on keys outside its
 * range, ops that compute the same give the same, and so does a second run.
 */
import { batchInvariance, equalBits, rowsOf } from './batch-invariance.ts';
import type { ContractCheck } from './contract-check.ts';
import { Draw, f32, forward, i32 } from './draw.ts';
import { execute } from './execute.ts';
import { expandedAsComposed, mixtureOfParts, roundedAsWidened } from './same-as-parts.ts';

/** The checks, of cases drawn from a seed. */
export function equalBitsChecks(seed: number): ContractCheck[] {
  const draw = new Draw(seed, 9001);
  const rows = 37;
  const x = draw.normal([rows, 131]);
  const keys = draw.normal([90, 2, 24]);
  const values = draw.normal([90, 2, 16]);
  const queries = draw.normal([rows, 4, 24], 2);
  const ranges = draw.ranges(rows, 90);
  const scale = Math.fround(24 ** -0.5);
  const cache = draw.normal([90, 40]);
  const latent = draw.normal([rows, 3, 40]);
  const grad = draw.normal([700, 33]);
  const far = i32([rows, 2], Array.from({ length: rows }, (_, n) => [n < 30 ? 3 : n, 640 + n]).flat());
  const [farKeys, farValues] = [draw.normal([700, 2, 24]), draw.normal([700, 2, 16])];
  const groups = Array.from({ length: rows }, (_, n) => [
    n < 25 ? 5 : 300,
    n < 25 ? 75 : 300,
    320,
    330 + 9 * n,
  ]);
  const grouped = i32([rows, 4], groups.flat());
  const farCache = draw.normal([700, 40]);
  const parts = i32(
    [rows, 4],
    Array.from({ length: rows }, (_, n) =>
      n < 20 ? [3, 3, 500 + n, 640 + n] : [448, 470 + n, 470 + n, 600 + n],
    ).flat(),
  );
  const [shifts, sinks] = [draw.normal([rows, 4]), draw.normal([4])];
  const named = draw.integers([rows, 310], -1, 701);
  const ofOwnHeads = [
    draw.normal([rows, 7, 24], 2),
    draw.normal([700, 7, 24]),
    draw.normal([700, 7, 40]),
  ] as const;
  const expanding = [latent, farCache, draw.normal([3, 50, 24])] as const;
  const noSinks = f32([3], [-Infinity, -Infinity, -Infinity]);
  const [bytes, byteScales] = forward('quantizeRows', [draw.normal([rows, 256])], {});
  const quantised = (['q8_0', 'q4_0'] as const).map((to) => {
    const [blocks] = forward('quantize', [draw.normal([150, 256])], { to });
    return forward('packQuantized', [blocks!], {})[0]!;
  });
  const heads8 = (height: number, width: number) =>
    forward('quantize', [draw.normal([3, height, width])], { to: 'q8_0' })[0]!;
  return [
    batchInvariance('matmul', '', [x, draw.normal([131, 67])], [0], { transA: 0, transB: 0 }),
    batchInvariance('matmul', ', b transposed', [x, draw.normal([67, 131])], [0], { transA: 0, transB: 1 }),
    batchInvariance('rmsNorm', '', [x, draw.normal([131])], [0], { eps: Math.fround(1e-6) }),
    batchInvariance('softmax', '', [x], [0], { kind: 'softmax' }),
    batchInvariance('softmax', ', logarithm', [x], [0], { kind: 'log' }),
    batchInvariance('crossEntropy', '', [x, draw.integers([rows], 0, 131)], [0, 1], {}),
    batchInvariance('attention', '', [queries, keys, values, ranges], [0, 3], { scale }),
    batchInvariance('latentAttention', '', [latent, cache, ranges], [0, 2], { scale, valueWidth: 32 }),
    batchInvariance('attention', ', long ranges', [queries, farKeys, farValues, far], [0, 3], { scale }),
    batchInvariance('prefixedAttention', '', [queries, farKeys, farValues, grouped], [0, 3], { scale }),
    {
      name: 'prefixedAttention: the bits of attention to the same rows in one piece',
      op: 'prefixedAttention',
      async run(backend) {
        const both = Array.from({ length: rows }, (_, n) => {
          const [low, high] = [far.data[2 * n] as number, far.data[2 * n + 1] as number];
          const middle = n < 20 ? low + 300 : low + ((131 * n) % (high - low + 1));
          return [low, middle, middle, high];
        });
        for (const [q, k, v] of [[queries, farKeys, farValues], ofOwnHeads] as const) {
          const [o] = await execute(backend, 'attention', [q, k, v, far], { scale });
          const inputs = [q, k, v, i32([rows, 4], both.flat())];
          equalBits(await execute(backend, 'prefixedAttention', inputs, { scale }), [o!], 'cut in two');
        }
      },
    },
    batchInvariance('splitAttention', '', [queries, farKeys, farValues, parts, shifts, sinks], [0, 3, 4], {
      scale,
      valueWidth: 16,
    }),
    batchInvariance('gatheredAttention', '', [latent, farCache, named, noSinks], [0, 2], {
      scale,
      valueWidth: 32,
    }),
    batchInvariance(
      'indexerScores',
      '',
      [latent, draw.normal([rows, 3]), farCache, draw.ranges(rows, 700)],
      [0, 1, 3],
      {},
    ),
    {
      name: 'splitAttention: the bits of attention where the bias is zero and there is no sink',
      op: 'splitAttention',
      async run(backend) {
        const [o, lse] = await execute(backend, 'attention', [queries, farKeys, farValues, far], { scale });
        const halves = Array.from({ length: rows }, (_, n) => {
          const [low, high] = [far.data[2 * n] as number, far.data[2 * n + 1] as number];
          return [low, low, low + ((131 * n) % (high - low + 1)), high];
        });
        const zeros = f32([rows, 4], new Array<number>(4 * rows).fill(0));
        const without = f32([4], new Array<number>(4).fill(-Infinity));
        const inputs = [queries, farKeys, farValues, i32([rows, 4], halves.flat()), zeros, without];
        const got = await execute(backend, 'splitAttention', inputs, { scale, valueWidth: 16 });
        equalBits(got, [o!, lse!], 'in two parts');
      },
    },
    {
      name: 'gatheredAttention: the bits of latentAttention where the rows are those of its range',
      op: 'gatheredAttention',
      async run(backend) {
        const attributes = { scale, valueWidth: 32 };
        const whole = i32([rows, 2], Array.from({ length: rows }, () => [20, 620]).flat());
        const want = await execute(backend, 'latentAttention', [latent, farCache, whole], attributes);
        const same = i32(
          [rows, 600],
          Array.from({ length: 600 * rows }, (_, i) => 20 + (i % 600)),
        );
        const inputs = [latent, farCache, same, noSinks];
        equalBits(await execute(backend, 'gatheredAttention', inputs, attributes), want, 'row by row');
      },
    },
    batchInvariance('latentAttention', ', long ranges', [latent, farCache, far], [0, 2], {
      scale,
      valueWidth: 32,
    }),
    expandedAsComposed(draw),
    ...roundedAsWidened(draw),
    ...[0, 1].map((bfloat) =>
      batchInvariance('expandedAttention', bfloat ? ', products of bf16' : '', [...expanding, far], [0, 3], {
        scale,
        nope: 24,
        bfloat,
      }),
    ),
    batchInvariance('absorbQuery', '', [latent, draw.normal([3, 50, 67])], [0], { nope: 30 }),
    batchInvariance('absorbOutput', '', [latent, draw.normal([3, 50, 40])], [0], { start: 20 }),
    {
      name: 'groupedMatmul: a row does not depend on the rows beside it',
      op: 'groupedMatmul',
      async run(backend) {
        const w = draw.normal([2, 67, 131]);
        const all = await execute(backend, 'groupedMatmul', [x, w, i32([3], [0, 20, rows])], { transW: 1 });
        const part = [rowsOf(x, 18, 5), w, i32([3], [0, 2, 5])];
        const got = await execute(backend, 'groupedMatmul', part, { transW: 1 });
        const want = all.map((y) => ({ ...y, data: y.data.slice(18 * 67, 23 * 67) }));
        equalBits(got, want, 'for rows 18 to 23 alone');
      },
    },
    batchInvariance('absorbQueryQuantized', '', [latent, heads8(67, 64)], [0], { nope: 30 }),
    batchInvariance('absorbOutputQuantized', '', [draw.normal([rows, 3, 64]), heads8(50, 64)], [0], {
      start: 20,
    }),
    batchInvariance('quantizeRows', '', [draw.normal([rows, 96])], [0], {}),
    ...quantised.map((w) =>
      batchInvariance('matmulQuantized', `, ${w.dtype}`, [bytes!, byteScales!, w], [0, 1], { columns: 150 }),
    ),
    mixtureOfParts(draw),
    {
      name: 'attention: keys beyond a range change nothing',
      op: 'attention',
      async run(backend) {
        const causal = i32([rows, 2], Array.from({ length: rows }, (_, n) => [0, n + 1]).flat());
        const all = await execute(backend, 'attention', [queries, keys, values, causal], { scale });
        const few = [queries, rowsOf(keys, 0, rows), rowsOf(values, 0, rows), causal];
        equalBits(await execute(backend, 'attention', few, { scale }), all, 'with fewer key rows');
      },
    },
    {
      name: 'sums over rows give the same bits again',
      async run(backend) {
        const w = draw.normal([33]);
        const [, rstd] = forward('rmsNorm', [grad, w], { eps: Math.fround(1e-6) });
        const runs = [];
        for (let i = 0; i < 3; i++) {
          runs.push([
            ...(await execute(backend, 'reduce', [grad], { kind: 'sum', axis: 0 })),
            ...(await execute(backend, 'sumSquares', [grad, draw.uniform([1], 0, 0)], {})),
            ...(await execute(backend, 'matmul', [grad, grad], { transA: 1, transB: 0 })),
            ...(await execute(backend, 'rmsNormGrad', [grad, w, rstd!, grad], {})),
          ]);
        }
        equalBits(runs[1]!, runs[0]!, 'in a second run');
        equalBits(runs[2]!, runs[0]!, 'in a third run');
      },
    },
  ];
}
