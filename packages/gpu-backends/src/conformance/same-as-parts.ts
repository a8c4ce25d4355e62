/** Checks that fused ops have the bits of the ops, or of the numbers, that they stand for. */
import { type Attributes, dequantizeBlocks, inferOutputs, type OpName } from '@minke/core';
import { batchInvariance, equalBits } from './batch-invariance.ts';
import type { ContractCheck } from './contract-check.ts';
import { type Draw, f32, forward, type HostTensor, i32, rounded, widened } from './draw.ts';
import { execute } from './execute.ts';

/** The quantised feed-forward has the bits of the ops it stands for: it must round what they round, and nothing else. */
export function mixtureOfParts(draw: Draw): ContractCheck {
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
export function expandedAsComposed(draw: Draw): ContractCheck {
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
          bfloat: 0,
        });
        equalBits(got, [want!], `with ${weights.dtype}`);
      }
    },
  };
}

/** Attention to a rounded cache has the bits of attention to the numbers that it stands for. */
export function roundedAsWidened(draw: Draw): ContractCheck[] {
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
            const got = await execute(backend, 'latentAttentionRounded', [q, cache, ranges], {
              ...attributes,
              bfloat: 0,
            });
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
            execute(backend, 'expandedAttention', [expanding, from, w, ranges], { scale, nope, bfloat: 0 });
          equalBits(await of(cache), await of(exact[i]!), `in ${cache.dtype}`);
        }
      },
    },
    {
      name: 'latentAttentionRounded: of keys that are liked alike the mean of their values, with products of bf16',
      op: 'latentAttentionRounded',
      async run(backend) {
        const none = f32([tokens, 16, rank + rotary], new Float32Array(tokens * 16 * (rank + rotary)));
        const of = (bfloat: number) =>
          execute(backend, 'latentAttentionRounded', [none, caches[0]!, ranges], {
            scale,
            valueWidth: rank,
            bfloat,
          });
        const [[exact], [got]] = [await of(0), await of(1)];
        const [want, found] = [exact!.data as Float32Array, got!.data as Float32Array];
        const far = want.findIndex((x, i) => !(Math.abs(x - found[i]!) < 1e-5));
        if (far >= 0) throw new Error(`expected ${want[far]} at ${far}, got ${found[far]}`);
      },
    },
    ...caches.flatMap((cache) =>
      [0, 1].map((bfloat) =>
        batchInvariance(
          'latentAttentionRounded',
          `, ${cache.dtype}${bfloat ? ', products of bf16' : ''}`,
          [queries[2]!, cache, ranges],
          [0, 2],
          { scale, valueWidth: rank, bfloat },
        ),
      ),
    ),
  ];
}
