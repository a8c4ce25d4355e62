/**
 * A causal depthwise convolution over tokens: each channel takes a weighted sum of itself and the tokens just before.
 *
 * y[t] = h[t] + sum over j < K of w[j] h[t - j], and nothing before a sequence. This is the short convolution of Mamba
 * and H-Net's encoders (arXiv 2507.07955, section 2.3) as a residual, as in Canon layers (Allen-Zhu, arXiv 2512.17351).
 * Attention alone learns slowly to carry the previous token along; what follows here gets it at once: heads that find
 * an earlier occurrence and copy what came after it, and a router that compares neighbours.
 */
import { check, formatShape, MinkeError } from '@minke/core';
import { add, concat, constantInit, type Module, mul, type Tensor } from '@minke/tensor';
import { countsOf, type MergeBatch, remember, startsOf } from './past.ts';
import { takeRows } from './rows.ts';
import { type InitOptions, initArena } from './soft-token-merger.ts';

/** Settings of a `CausalConvolution`. */
export interface ConvolutionConfig {
  /** Width of the tokens' states, D. */
  readonly hiddenSize: number;
  /** Tokens that a sum spans, K: a token itself and K - 1 before it. At least 2. */
  readonly kernel: number;
}

/** Throws `invalid-config`. */
function checked(config: ConvolutionConfig): ConvolutionConfig {
  const { hiddenSize, kernel } = config;
  if (!(Number.isSafeInteger(hiddenSize) && hiddenSize >= 1 && Number.isSafeInteger(kernel) && kernel >= 2))
    throw new MinkeError(
      'invalid-config',
      `CausalConvolution: expected a hiddenSize of 1 or more and a kernel of 2 or more, got ${hiddenSize} and ${kernel}`,
    );
  return config;
}

/**
 * @example
 * const convolution = CausalConvolution.init({ hiddenSize: 64, kernel: 4 }, { backend });
 * const mixed = convolution.forward(h, { counts: [12, 7] }); // h and mixed [19, 64]
 */
export class CausalConvolution implements Module {
  readonly config: ConvolutionConfig;
  /** [K, D], that of lag j in row j. */
  readonly #weight: Tensor;

  /** @param parameters by the names that `parameters()` returns them under */
  constructor(config: ConvolutionConfig, parameters: ReadonlyMap<string, Tensor>) {
    const { hiddenSize, kernel } = checked(config);
    const weight = parameters.get('weight');
    check(
      weight?.shape.join() === [kernel, hiddenSize].join(),
      () =>
        `CausalConvolution: expected weight ${formatShape([kernel, hiddenSize])}, got ${weight ? formatShape(weight.shape) : 'none'}`,
    );
    this.config = config;
    this.#weight = weight as Tensor;
  }

  /** Zeros: tokens pass as they are. Throws `invalid-config`. */
  static init(config: ConvolutionConfig, options: InitOptions): CausalConvolution {
    const { hiddenSize, kernel } = checked(config);
    const weight = constantInit(initArena(options), [kernel, hiddenSize], 0);
    return new CausalConvolution(config, new Map([['weight', weight]]));
  }

  parameters(): Map<string, Tensor> {
    return new Map([['weight', this.#weight]]);
  }

  /**
   * Throws `invalid-argument` for a state made for another kernel, and beside one for an arena with gradients.
   * @param h f32 [T, D]
   * @param batch its sequences, and the state of those that go on, made for this kernel
   * @returns f32 [T, D]
   */
  forward(h: Tensor, batch: MergeBatch = {}): Tensor {
    const { kernel } = this.config;
    const { state } = batch;
    check(
      state === undefined || state.kernel === kernel,
      () =>
        `CausalConvolution: expected a state made for a kernel of ${kernel}, got one for ${state?.kernel}`,
    );
    const counts = countsOf(h, batch);
    const starts = startsOf(counts, batch);
    const sequences = batch.sequences ?? counts.map((_, b) => b);
    const reach = kernel - 1;
    let known = h;
    let offset = 0;
    if (state) {
      // `reach` rows of each sequence stand before all tokens: zeros where it had none.
      const before = starts.flatMap(({ position }, b) =>
        Array.from({ length: reach }, (_, i) => position - reach + i).map((at) =>
          at < 0 ? -1 : state.inputs.row(sequences[b] as number, at),
        ),
      );
      known = concat([takeRows(state.inputs.table, before, h.arena), h], 0);
      offset = before.length;
    }
    const rowsAt = (lag: number) => {
      let first = offset;
      return counts.flatMap((count, b) => {
        const rows = Array.from({ length: count }, (_, i) => {
          if (i >= lag) return first + i - lag;
          return state ? (b + 1) * reach + i - lag : -1;
        });
        first += count;
        return rows;
      });
    };
    const weight = h.arena.adopt(this.#weight);
    const ofLag = (lag: number) => weight.rows(lag, lag + 1).reshape([this.config.hiddenSize]);
    let y = h;
    for (let lag = 0; lag < kernel; lag++)
      y = add(y, mul(lag === 0 ? h : takeRows(known, rowsAt(lag)), ofLag(lag)));
    if (state) remember(h, state.inputs, counts, starts, sequences);
    return y;
  }
}
