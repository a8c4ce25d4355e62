/**
 * Learned pooling of closed windows of tokens into entries, as DeepSeek-V4 compresses keys (its report, section 2.3;
 * Hugging Face's `deepseek_v4`): channel by channel a softmax over the window's gates with a bias by position, a sum of
 * the window's rows with these weights, a norm, and the rotation of the window's first position.
 *
 * CSA pools two windows with one softmax: the first half of the channels of the window before, the second half of its
 * own; what the first window lacks before it weighs nothing.
 */
import {
  type Arena,
  add,
  concat,
  gatherRows,
  linear,
  mul,
  permute,
  rmsNorm,
  slice,
  softmax,
  sum,
  type Tensor,
} from '@minke/tensor';
import type { RopeTable } from '../rope.ts';
import { type Compression, windowsOf } from './compressed-config.ts';

export class WindowPool {
  readonly compression: Compression;
  /** Width of an entry. */
  readonly width: number;
  readonly #get: (name: string) => Tensor;
  readonly #rope: RopeTable;
  readonly #eps: number;

  /** @param get the parameter of a name: kv_proj.weight, gate_proj.weight, position_bias, kv_norm.weight */
  constructor(compression: Compression, get: (name: string) => Tensor, rope: RopeTable, eps: number) {
    this.compression = compression;
    this.width = get('kv_norm.weight').shape[0] as number;
    this.#get = get;
    this.#rope = rope;
    this.#eps = eps;
  }

  /** Numbers of a token's row: its values, then its gates. */
  get rowWidth(): number {
    return 2 * windowsOf(this.compression) * this.width;
  }

  /** Rows of x [N, D], of which entries are made: [N, rowWidth]. */
  rows(x: Tensor): Tensor {
    return concat([linear(x, this.#get('kv_proj.weight')), linear(x, this.#get('gate_proj.weight'))], 1);
  }

  /** First position whose row the windows from `first` on need. */
  needs(first: number): number {
    return Math.max(0, first - windowsOf(this.compression) + 1) * this.compression.ratio;
  }

  /**
   * Entries of windows first .. end: [end - first, width].
   * @param rows [M, rowWidth], those of positions from `needs(first)` on
   */
  entries(rows: Tensor, first: number, end: number): Tensor {
    const { arena } = rows;
    const { ratio } = this.compression;
    const [count, width] = [end - first, this.width];
    if (count <= 0) return arena.zeros([0, width]);
    const origin = this.needs(first);
    const halves = windowsOf(this.compression);
    const parts = Array.from({ length: halves }, (_, half) => {
      // Of the window before come the first channels, of the own one the last.
      const tokens = Array.from({ length: count * ratio }, (_, i) => {
        const position = (first + Math.floor(i / ratio) - (halves - 1 - half)) * ratio + (i % ratio);
        return position < 0 ? -1 : position - origin;
      });
      const own = gatherRows(rows, arena.tensor(tokens, [tokens.length], 'i32'));
      const columns = (start: number) =>
        slice(own, 1, start + half * width, width).reshape([count, ratio, width]);
      const bias = slice(arena.adopt(this.#get('position_bias')), 1, half * width, width);
      const gates = add(columns(halves * width), bias);
      const lacking = tokens.includes(-1) ? add(gates, absent(arena, tokens, [count, ratio, width])) : gates;
      return { values: columns(0), gates: lacking };
    });
    // [entries, channels, tokens]
    const lastTokens = (pick: (part: (typeof parts)[number]) => Tensor) =>
      permute(parts.length === 1 ? pick(parts[0]!) : concat(parts.map(pick), 1), [0, 2, 1]);
    const weights = softmax(lastTokens(({ gates }) => gates));
    const pooled = sum(
      mul(
        weights,
        lastTokens(({ values }) => values),
      ),
      2,
    );
    const normal = rmsNorm(pooled, this.#get('kv_norm.weight'), this.#eps).reshape([count, 1, width]);
    const positions = Array.from({ length: count }, (_, i) => (first + i) * ratio);
    const places = arena.tensor(positions, [count], 'i32');
    return this.#rope.apply(normal, places, width - this.#rope.config.width).reshape([count, width]);
  }
}

/** -1e30 in the rows of tokens that are not there, else 0. */
function absent(arena: Arena, tokens: readonly number[], shape: readonly [number, number, number]): Tensor {
  const width = shape[2];
  return arena.tensor(
    tokens.flatMap((token) => new Array<number>(width).fill(token < 0 ? -1e30 : 0)),
    shape,
  );
}
