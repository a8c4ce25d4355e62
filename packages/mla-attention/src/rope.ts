/**
 * Rotary position embedding in both layouts.
 *
 * Source: Su et al., "RoFormer", arXiv 2104.09864, eq. 34. `interleaved` rotates pairs (2i, 2i + 1), as DeepSeek
 * checkpoints store their rotary channels; `half` rotates pairs (i, i + P / 2), as Llama and Qwen do. One layout
 * must serve queries and keys alike. Angles are computed in f64, their cosines rounded once to f32.
 */
import { check } from '@minke/core';
import {
  type Arena,
  add,
  call,
  concat,
  customOp,
  gatherRows,
  mul,
  neg,
  repeat,
  slice,
  sub,
  type Tensor,
} from '@minke/tensor';
import { type Llama3RopeConfig, llama3Divisors } from './llama3-rope.ts';
import { type YarnConfig, yarnFrequencies, yarnRotaryFactor } from './yarn.ts';

export type RopeLayout = 'interleaved' | 'half';

export interface RopeConfig {
  /** Rotated entries P of a head, even. */
  readonly width: number;
  /** Base of the frequencies theta^(-2i / P). */
  readonly theta: number;
  readonly layout: RopeLayout;
  readonly yarn?: YarnConfig | null;
  /** Llama 3's scaling; not beside YaRN. */
  readonly llama3?: Llama3RopeConfig | null;
}

/** Angular frequencies in radians per position, width / 2 of them. */
export function ropeFrequencies({ width, theta, yarn, llama3 }: RopeConfig): Float64Array {
  check(width > 0 && width % 2 === 0, () => `ropeFrequencies: expected an even width, got ${width}`);
  if (yarn) return yarnFrequencies(width, theta, yarn);
  const divisors = llama3 && llama3Divisors(width, theta, llama3);
  return Float64Array.from(
    { length: width / 2 },
    (_, i) => theta ** ((-2 * i) / width) / (divisors?.[i] ?? 1),
  );
}

/** Cosines and sines [positions, P / 2], flat, with YaRN's multiplier in them. */
export function ropeTables(config: RopeConfig, positions: number): { cos: Float32Array; sin: Float32Array } {
  const frequencies = ropeFrequencies(config);
  const factor = config.yarn ? yarnRotaryFactor(config.yarn) : 1;
  const half = frequencies.length;
  const cos = new Float32Array(positions * half);
  const sin = new Float32Array(positions * half);
  for (let position = 0; position < positions; position++) {
    for (let i = 0; i < half; i++) {
      const angle = position * (frequencies[i] as number);
      cos[position * half + i] = Math.cos(angle) * factor;
      sin[position * half + i] = Math.sin(angle) * factor;
    }
  }
  return { cos, sin };
}

/**
 * Uploaded tables for positions 0 .. positions - 1, shared by every layer of a model.
 *
 * @example
 * const rope = RopeTable.create(weights, { width: 64, theta: 10000, layout: 'interleaved' }, 4096);
 * const rotated = rope.apply(q, positions, 128); // columns 128 .. 191 of each head
 */
export class RopeTable {
  readonly config: RopeConfig;
  /** Positions the tables cover. */
  readonly positions: number;
  readonly #cos: Tensor;
  readonly #sin: Tensor;

  private constructor(config: RopeConfig, positions: number, cos: Tensor, sin: Tensor) {
    this.config = config;
    this.positions = positions;
    this.#cos = cos;
    this.#sin = sin;
  }

  /** @param arena a persistent arena, which then owns the tables */
  static create(arena: Arena, config: RopeConfig, positions: number): RopeTable {
    const { cos, sin } = ropeTables(config, positions);
    const shape = [positions, config.width / 2];
    return new RopeTable(config, positions, arena.tensor(cos, shape), arena.tensor(sin, shape));
  }

  /**
   * Rotates columns start .. start + P of each head; other columns are copied. Differentiable.
   * @param x [N, H, C]; @param positions i32 [N], each below `this.positions` (others give zeros)
   */
  apply(x: Tensor, positions: Tensor, start = 0): Tensor {
    return this.#turn(x, positions, start, 0);
  }

  /** The rotation by the opposite angles, with the same multiplier: `apply` transposed. Differentiable. */
  applyBack(x: Tensor, positions: Tensor, start = 0): Tensor {
    return this.#turn(x, positions, start, 1);
  }

  #turn(x: Tensor, positions: Tensor, start: number, back: 0 | 1): Tensor {
    const { layout, width } = this.config;
    const [cos, sin] = [this.#cos, this.#sin];
    if (!x.arena.backend.supports('rope')) {
      const sines = gatherRows(sin, positions);
      return composedRope(x, gatherRows(cos, positions), back ? neg(sines) : sines, {
        start,
        width,
        layout,
      });
    }
    const rotate = (input: Tensor, inverse: number) =>
      call('rope', [input, cos, sin, positions], { start, layout, inverse });
    return customOp({
      inputs: [x],
      forward: () => rotate(x, back),
      backward: ([dy]) => (dy ? rotate(dy, 1 - back) : [null]),
    })[0] as Tensor;
  }
}

/**
 * The rotation from general ops, for a backend without the kernel.
 * @param x [N, H, C]; @param cos [N, P / 2]; @param sin [N, P / 2]
 */
function composedRope(
  x: Tensor,
  cos: Tensor,
  sin: Tensor,
  { start, width, layout }: { start: number; width: number; layout: RopeLayout },
): Tensor {
  const [rows, heads, columns] = x.shape as readonly [number, number, number];
  const half = width / 2;
  const perHead = (table: Tensor) => repeat(table.reshape([rows, 1, half]), 1, heads);
  const [c, s] = [perHead(cos), perHead(sin)];
  const rotated = slice(x, 2, start, width);
  const pairs = rotated.reshape(layout === 'half' ? [rows, heads, 2, half] : [rows, heads, half, 2]);
  const axis = layout === 'half' ? 2 : 3;
  const [first, second] = [0, 1].map((i) => slice(pairs, axis, i, 1).reshape([rows, heads, half])) as [
    Tensor,
    Tensor,
  ];
  const single = layout === 'half' ? [rows, heads, 1, half] : [rows, heads, half, 1];
  const turned = concat(
    [sub(mul(first, c), mul(second, s)).reshape(single), add(mul(first, s), mul(second, c)).reshape(single)],
    axis,
  ).reshape([rows, heads, width]);
  const parts = [turned];
  if (start > 0) parts.unshift(slice(x, 2, 0, start));
  const end = start + width;
  if (end < columns) parts.push(slice(x, 2, end, columns - end));
  return parts.length === 1 ? turned : concat(parts, 2);
}
