/**
 * AdamW with gradient clipping by global norm.
 *
 * Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101, algorithm 2 (decay is decoupled and scaled by
 * the learning rate, as in PyTorch); clipping as in `torch.nn.utils.clip_grad_norm_`. The squared norm stays on
 * the device, so a step needs no readback. A parameter without gradient is left alone. Deviation from PyTorch:
 * the step count for bias correction is one for all parameters.
 */
import type { Shape } from '@minke/core';
import type { Arena } from './arena.ts';
import { call } from './call.ts';
import { affine, div, sqrt, square } from './elementwise.ts';
import { checkParameters, clearGradients, clipped, restoreStates, squaredNorm } from './optimizer.ts';
import type { Tensor } from './tensor.ts';

export interface AdamWOptions {
  /** Learning rate; `step` may override it, for schedules. */
  readonly lr: number;
  /** Decay of the first moment, default 0.9. */
  readonly beta1?: number;
  /** Decay of the second moment, default 0.95. */
  readonly beta2?: number;
  /** Added to the root of the second moment, default 1e-8. */
  readonly eps?: number;
  /** Decoupled weight decay, default 0. */
  readonly weightDecay?: number;
  /** Gradients are scaled down to this global norm; 0 (default) does not clip. */
  readonly maxGradNorm?: number;
  /** Which parameters decay; default: those of rank 2 and above. */
  readonly decay?: (name: string, shape: Shape) => boolean;
  /** What a parameter's learning rate is over `lr`; default 1 for all. */
  readonly rate?: (name: string, shape: Shape) => number;
}

/** First and second moment of one parameter, in its shape. */
export interface Moments {
  readonly m: Tensor;
  readonly v: Tensor;
}

/**
 * @example
 * const optimizer = new AdamW(model.parameters(), { lr: 1e-3, maxGradNorm: 1 });
 * loss.backward();
 * const normSquared = optimizer.step(arena);
 * optimizer.zeroGrad(arena);
 */
export class AdamW {
  readonly options: Required<AdamWOptions>;
  readonly #parameters: ReadonlyMap<string, Tensor>;
  readonly #moments = new Map<string, Moments>();
  #stepCount = 0;

  /** Moments are made of zeros beside each parameter. Throws unless every tensor is a leaf. */
  constructor(parameters: ReadonlyMap<string, Tensor>, options: AdamWOptions) {
    this.options = {
      beta1: 0.9,
      beta2: 0.95,
      eps: 1e-8,
      weightDecay: 0,
      maxGradNorm: 0,
      decay: (_, shape) => shape.length >= 2,
      rate: () => 1,
      ...options,
    };
    this.#parameters = new Map(parameters);
    checkParameters('AdamW', parameters);
    for (const [name, p] of this.#parameters)
      this.#moments.set(name, { m: p.arena.zeros(p.shape), v: p.arena.zeros(p.shape) });
  }

  /** Steps taken. */
  get stepCount(): number {
    return this.#stepCount;
  }

  /**
   * Records one update. Returns the squared norm of all gradients before clipping, [1].
   * @param options.normSquared the norm to clip by, where these parameters are only some of the model's
   */
  step(
    arena: Arena,
    options: { readonly lr?: number | undefined; readonly normSquared?: Tensor | undefined } = {},
  ): Tensor {
    const { lr = this.options.lr } = options;
    const { beta1, beta2, eps, weightDecay, maxGradNorm, decay, rate } = this.options;
    this.#stepCount++;
    return arena.withoutGrad(() => {
      const normSquared = options.normSquared ?? squaredNorm(arena, this.#parameters.values());
      for (const [name, p] of this.#parameters) {
        const { grad } = p;
        if (grad === null) continue;
        const { m, v } = this.#moments.get(name)!;
        updateParameter(arena, grad, normSquared, p, m, v, {
          lr: lr * rate(name, p.shape),
          beta1,
          beta2,
          eps,
          weightDecay: decay(name, p.shape) ? weightDecay : 0,
          correction1: 1 - beta1 ** this.#stepCount,
          correction2: 1 - beta2 ** this.#stepCount,
          maxNorm: maxGradNorm,
        });
      }
      return normSquared;
    });
  }

  /** All gradients become zero: at once for who reads them, by writing instead of adding for the next pass. */
  zeroGrad(arena: Arena): void {
    clearGradients(arena, this.#parameters.values());
  }

  /** What a checkpoint needs, besides the parameters: `read` the moments. */
  state(): { stepCount: number; moments: Map<string, Moments> } {
    return { stepCount: this.#stepCount, moments: new Map(this.#moments) };
  }

  /** Continues from a saved state. Throws `invalid-argument` listing moments that are missing or too many. */
  restore(state: {
    readonly stepCount: number;
    readonly moments: ReadonlyMap<string, { readonly m: ArrayLike<number>; readonly v: ArrayLike<number> }>;
  }): void {
    restoreStates('AdamW', this.#moments, state.moments);
    this.#stepCount = state.stepCount;
  }
}

interface UpdateAttributes {
  readonly lr: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  readonly correction1: number;
  readonly correction2: number;
  readonly maxNorm: number;
}

function updateParameter(
  arena: Arena,
  grad: Tensor,
  normSquared: Tensor,
  p: Tensor,
  m: Tensor,
  v: Tensor,
  attributes: UpdateAttributes,
): void {
  if (arena.backend.supports('adamW')) {
    call('adamW', [grad, normSquared, p, m, v], attributes, arena);
    return;
  }
  const { lr, beta1, beta2, eps, weightDecay, correction1, correction2, maxNorm } = attributes;
  arena.scope(() => {
    const g = clipped(arena, grad, normSquared, maxNorm);
    const moment = (into: Tensor, x: Tensor, beta: number) => {
      const kept = affine(arena.adopt(into), beta, 0);
      call('accumulate', [x, kept], { scale: 1 - beta });
      call('copyInto', [kept, into], {}, arena);
      return kept;
    };
    const first = moment(m, g, beta1);
    const second = moment(v, square(g), beta2);
    const update = div(
      affine(first, 1 / correction1, 0),
      affine(sqrt(affine(second, 1 / correction2, 0)), 1, eps),
    );
    const decayed = affine(arena.adopt(p), 1 - lr * weightDecay, 0);
    call('accumulate', [update, decayed], { scale: -lr });
    call('copyInto', [decayed, p], {}, arena);
  });
}
