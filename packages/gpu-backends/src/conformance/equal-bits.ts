/**
 * The engine's promise of equal bits: a row does not depend on its batch, attention does not depend on keys outside its
 * range, ops that compute the same give the same, and so does a second run.
 */
import { type Attributes, dequantizeBlocks, inferOutputs, type OpName } from '@minke/core';
import type { ContractCheck } from './contract.ts';
import { Draw, f32, forward, type HostTensor, i32, rounded, widened } from './draw.ts';
import { execute, sameBits, type Written } from './execute.ts';

function equalBits(got: readonly Written[], want: readonly Written[], what: string): void {
  want.forEach(({ name, data }, i) => {
    if (!sameBits(got[i]!.data, data)) throw new Error(`expected ${name} with the same bits ${what}`);
  });
}

/** Rows `from .. from + count` of a tensor whose first axis is rows. */
function rowsOf(tensor: HostTensor, from: number, count: number): HostTensor {
  const width = tensor.data.length / tensor.shape[0]!;
  return {
    dtype: tensor.dtype,
    shape: [count, ...tensor.shape.slice(1)],
    data: tensor.data.slice(from * width, (from + count) * width),
  };
}

/** Runs `op` on all rows, then on parts of them: each row must come out with the same bits. `perRow` names the
 *  inputs that have one row per output row. */
function batchInvariance<O extends OpName>(
  op: O,
  label: string,
  inputs: readonly HostTensor[],
  perRow: readonly number[],
  attributes: Attributes<O>,
): ContractCheck {
  return {
    name: `${op}: a row does not depend on its batch${label}`,
    op,
    async run(backend) {
      const rows = inputs[perRow[0]!]!.shape[0]!;
      const all = await execute(backend, op, inputs, attributes);
      for (const [from, count] of [
        [0, 1],
        [rows - 1, 1],
        [3, 2],
        [5, 7],
        [1, rows - 1],
      ] as const) {
        const part = inputs.map((input, i) => (perRow.includes(i) ? rowsOf(input, from, count) : input));
        const got = await execute(backend, op, part, attributes, 1);
        const want = all.map(({ name, dtype, data }) => {
          const width = data.length / rows;
          return { name, dtype, data: data.slice(from * width, (from + count) * width) };
        });
        equalBits(got, want, `for rows ${from} to ${from + count} alone`);
      }
    },
  };
}

/** The quantised feed-forward has the bits of the ops it stands for: it must round what they round, and nothing else. */
function mixtureOfParts(draw: Draw): ContractCheck {
  const [tokens, d, f, s, experts] = [29, 64, 96, 32, 4];
  const tiles = (shape: number[], to: 'q8_0' | 'q4_0') =>
    forward('packQuantized', forward('quantize', [draw.normal(shape, 0.2)], { to }), {})[0]!;
  const matrices = [
    tiles([experts, f, d], 'q4_0'),
    tiles([experts, f, d], 'q8_0'),
    tiles([experts, d, f], 'q4_0'),
    tiles([s, d], 'q8_0'),
    tiles([s, d], 'q8_0'),
    tiles([d, s], 'q4_0'),
  ] as const;
  const [gate, up, down, sharedGate, sharedUp, sharedDown] = matrices;
  const [x, weights] = [draw.normal([tokens, d]), draw.uniform([tokens, 2], 0.1, 1)];
  const plan = forward('expertPlan', [draw.indices([tokens, 2], experts)], { experts });
  const [offsets, sorted, slots] = plan as [HostTensor, HostTensor, HostTensor];
  return {
    name: 'moeFeedForwardQuantized: the bits of the ops it stands for',
    op: 'moeFeedForwardQuantized',
    async run(backend) {
      // Between ops numbers pass through f32 here, which a backend that computes in f64 does not do inside of one.
      if (backend.info.bits === 64) return;
      const run = async <O extends OpName>(
        op: O,
        inputs: readonly HostTensor[],
        attributes: Attributes<O>,
      ) => {
        const shapes = inferOutputs(op, inputs, attributes);
        const written = await execute(backend, op, inputs, attributes);
        return written.map(({ data }, i) => ({ ...shapes[i]!, data: data as HostTensor['data'] }));
      };
      const one = async <O extends OpName>(op: O, inputs: readonly HostTensor[], attributes: Attributes<O>) =>
        (await run(op, inputs, attributes))[0]!;
      const rowsOfPlan = await one('gatherRows', [x, sorted], {});
      const copies = await run('quantizeRows', [rowsOfPlan], {});
      const grouped = (rows: HostTensor[], w: HostTensor, columns: number) =>
        one('groupedMatmulQuantized', [...rows, w, offsets], { columns });
      const gated = await one('swiglu', [await grouped(copies, gate, f), await grouped(copies, up, f)], {});
      const y = await grouped(await run('quantizeRows', [gated], {}), down, d);
      const routed = await one('moeCombine', [y, weights, slots], {});
      const all = await run('quantizeRows', [x], {});
      const product = (rows: HostTensor[], w: HostTensor, columns: number) =>
        one('matmulQuantized', [...rows, w], { columns });
      const [g, u] = [await product(all, sharedGate, s), await product(all, sharedUp, s)];
      const hidden = await run('quantizeRows', [await one('swiglu', [g, u], {})], {});
      const shared = await product(hidden, sharedDown, d);
      const want = await execute(backend, 'binary', [routed, shared], { kind: 'add' });
      const inputs = [x, weights, ...matrices, ...plan];
      equalBits(await execute(backend, 'moeFeedForwardQuantized', inputs, {}), want, 'part by part');
    },
  };
}

/** Attention that expands latents itself has the bits of the ops it stands for, with weights in blocks those of their numbers. */
function expandedAsComposed(draw: Draw): ContractCheck {
  const [tokens, heads, keys, nope, rotary, value, rank] = [75, 2, 400, 24, 8, 20, 32];
  const [q, cache] = [draw.normal([tokens, heads, nope + rotary], 2), draw.normal([keys, rank + rotary])];
  const [blocks] = forward('quantize', [draw.normal([heads, nope + value, rank])], { to: 'q8_0' });
  const w = f32(blocks!.shape, dequantizeBlocks('Q8_0', blocks!.data as Uint8Array));
  const ranges = i32([tokens, 2], Array.from({ length: tokens }, (_, n) => [5, 300 + n]).flat());
  return {
    name: 'expandedAttention: the bits of the ops it stands for',
    op: 'expandedAttention',
    async run(backend) {
      if (backend.info.bits === 64) return;
      const part = async (start: number, size: number) =>
        (await execute(backend, 'slice', [cache], { axis: 1, start, size }))[0]!.data as HostTensor['data'];
      const latents = f32([keys, rank], await part(0, rank));
      const shared = f32([keys, rotary], await part(rank, rotary));
      const flat = { ...w, shape: [heads * (nope + value), rank] };
      const [up] = await execute(backend, 'matmul', [latents, flat], { transA: 0, transB: 1 });
      const joint = f32([keys, heads, nope + value], up!.data as HostTensor['data']);
      const [k, v] = await execute(backend, 'expandKeys', [joint, shared], { nope });
      const attended = [
        q,
        f32([keys, heads, nope + rotary], k!.data as HostTensor['data']),
        f32([keys, heads, value], v!.data as HostTensor['data']),
        ranges,
      ];
      const [want] = await execute(backend, 'attention', attended, { scale: 0.25 });
      for (const weights of [w, blocks!]) {
        const got = await execute(backend, 'expandedAttention', [q, cache, weights, ranges], {
          scale: 0.25,
          nope,
        });
        equalBits(got, [want!], `with ${weights.dtype}`);
      }
    },
  };
}

/** Attention to a rounded cache has the bits of attention to the numbers that it stands for. */
function roundedAsWidened(draw: Draw): ContractCheck[] {
  const [tokens, keys, nope, rotary, rank, scale] = [33, 700, 24, 32, 64, 0.25];
  const ranges = i32([tokens, 2], Array.from({ length: tokens }, (_, n) => [n % 3, 600 + 3 * n]).flat());
  const latents = draw.normal([keys, rank + rotary]);
  const caches = (['bf16', 'q8_0'] as const).map((to) => rounded(latents, to));
  const w = draw.normal([2, nope + 20, rank]);
  const queries = [1, 3, 16].map((heads) => draw.normal([tokens, heads, rank + rotary], 2));
  const expanding = draw.normal([tokens, 2, nope + rotary], 2);
  const exact = caches.map(widened);
  // Keys and values of two heads: whole blocks of 8 bits, and heads that begin within one.
  const heads = [
    { keyWidth: 64, valueWidth: 32 },
    { keyWidth: 40, valueWidth: 24 },
  ].map(({ keyWidth, valueWidth }) => ({
    queries: [2, 6, 24].map((count) => draw.normal([tokens, count, keyWidth], 2)),
    keys: draw.normal([keys, 2 * keyWidth]),
    values: draw.normal([keys, 2 * valueWidth]),
    attributes: { scale, keyHeads: 2, valueWidth },
  }));
  const ofHeads = (x: HostTensor, width: number): HostTensor => {
    const { data, shape } = widened(x);
    const numbers = Array.from({ length: keys }, (_, m) => [
      ...data.subarray(m * shape[1]!, m * shape[1]! + 2 * width),
    ]);
    return f32([keys, 2, width], numbers.flat());
  };
  return [
    {
      name: 'latentAttentionRounded: the bits of latentAttention to what the cache stands for',
      op: 'latentAttentionRounded',
      async run(backend) {
        const attributes = { scale, valueWidth: rank };
        for (const [i, cache] of caches.entries())
          for (const q of queries) {
            const want = await execute(backend, 'latentAttention', [q, exact[i]!, ranges], attributes);
            const got = await execute(backend, 'latentAttentionRounded', [q, cache, ranges], attributes);
            equalBits(got, want, `in ${cache.dtype}`);
          }
      },
    },
    {
      name: 'attentionRounded: the bits of attention to what the cache stands for',
      op: 'attentionRounded',
      async run(backend) {
        for (const { queries, attributes, ...own } of heads)
          for (const to of ['bf16', 'q8_0'] as const) {
            const [k, v] = [rounded(own.keys, to), rounded(own.values, to)];
            for (const q of queries) {
              const wide = [q, ofHeads(k, q.shape[2]!), ofHeads(v, attributes.valueWidth), ranges];
              const [want] = await execute(backend, 'attention', wide, { scale });
              const got = await execute(backend, 'attentionRounded', [q, k, v, ranges], attributes);
              equalBits(got, [want!], `in ${to}`);
            }
          }
      },
    },
    ...heads.map(({ queries, attributes, ...own }) =>
      batchInvariance(
        'attentionRounded',
        `, heads of ${queries[0]!.shape[2]}`,
        [queries[2]!, rounded(own.keys, 'q8_0'), rounded(own.values, 'q8_0'), ranges],
        [0, 3],
        attributes,
      ),
    ),
    {
      name: 'expandedAttention: of a rounded cache the bits of what it stands for',
      op: 'expandedAttention',
      async run(backend) {
        for (const [i, cache] of caches.entries()) {
          const of = (from: HostTensor) =>
            execute(backend, 'expandedAttention', [expanding, from, w, ranges], { scale, nope });
          equalBits(await of(cache), await of(exact[i]!), `in ${cache.dtype}`);
        }
      },
    },
    ...caches.map((cache) =>
      batchInvariance('latentAttentionRounded', `, ${cache.dtype}`, [queries[2]!, cache, ranges], [0, 2], {
        scale,
        valueWidth: rank,
      }),
    ),
  ];
}

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
    batchInvariance('expandedAttention', '', [...expanding, far], [0, 3], { scale, nope: 24 }),
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
