/** Rounded caches on the CPU kernels: threads do not change a bit, at sizes that they share. */
import type { Attributes, Backend, OpName } from '@minke/core';
import { describe, expect, it } from 'vitest';
import { callOn, Draw, type HostTensor, i32, rounded } from '../conformance/draw.ts';
import { createNative, nativeAvailable } from './native.ts';
import { createWasm } from './wasm.ts';

const draw = new Draw(12, 0);
const bytes = ({ data }: HostTensor) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);

// Without a compiler there is no add-on; where one was built, conformance fails unless it loads.
const builds = [
  ...(nativeAvailable().available ? [{ name: 'native', create: createNative }] : []),
  { name: 'WebAssembly', create: createWasm },
];
describe.each(builds)('threads on $name', ({ create }) => {
  it.each(['bf16', 'q8_0'] as const)('do not change a bit of attention to a cache in %s', async (to) => {
    const backends: Backend[] = [];
    for (const threads of [1, 2, 3]) backends.push(await create({ threads }));
    const alike = <O extends OpName>(op: O, inputs: HostTensor[], attributes: Attributes<O>): HostTensor => {
      const [one, ...others] = backends.map((backend) => callOn(backend, op, inputs, attributes)[0]!);
      for (const other of others) expect(bytes(other).equals(bytes(one!)), op).toBe(true);
      return one!;
    };
    const [keys, width, rank] = [1500, 80, 64];
    const x = draw.normal([keys, width]);
    const ids = i32(
      [keys],
      Array.from({ length: keys }, (_, i) => i),
    );
    const cache = alike('storeRounded', [rounded(x, to), x, ids], {});
    expect(bytes(cache).equals(bytes(rounded(x, to)))).toBe(true);
    for (const [queries, heads] of [
      [1, 16],
      [1, 3],
      [5, 20],
      [40, 4],
    ] as const) {
      const ranges = i32([queries, 2], Array.from({ length: queries }, (_, n) => [0, keys - 7 * n]).flat());
      const q = draw.normal([queries, heads, width]);
      const own = draw.normal([queries, heads, 24 + width - rank]);
      const w = draw.normal([heads, 50, rank]);
      for (const bfloat of [0, 1]) {
        alike('latentAttentionRounded', [q, cache, ranges], { scale: 0.125, valueWidth: rank, bfloat });
        alike('expandedAttention', [own, cache, w, ranges], { scale: 0.125, nope: 24, bfloat });
      }
      const ofHeads = draw.normal([queries, heads, width]);
      const attributes = { scale: 0.125, keyHeads: 1, valueWidth: width };
      alike('attentionRounded', [ofHeads, cache, cache, ranges], attributes);
    }
    for (const backend of backends) backend.dispose();
  });
});
