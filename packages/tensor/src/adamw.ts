/**
 * AdamW with gradient clipping by global norm.
 *
 * Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101, algorithm 2 (decay is decoupled and scaled by
 * the learning rate, as in PyTorch); clipping as in `torch.nn.utils.clip_grad_norm_`. The squared norm stays on
 * the device, so a step needs no readback. A parameter without gradient is left alone. Deviation from PyTorch:
 * the step count for bias correction is one for all parameters.
 */
import { check, MinkeError, type Shape } from '@minke/core';
import type { Arena } from './arena.ts';
import { call } from './call.ts';
import { affine, clamp, div, mul, reciprocal, sqrt, square } from './elementwise.ts';
import { sum } from './reductions.ts';
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
      ...options,
    };
    this.#parameters = new Map(parameters);
    for (const [name, p] of this.#parameters) {
      check(
        p.leaf?.root === p,
        () => `AdamW: expected parameters, got "${name}", which is none; make it with arena.parameter`,
      );
      this.#moments.set(name, { m: p.arena.zeros(p.shape), v: p.arena.zeros(p.shape) });
    }
  }

  /** Steps taken. */
  get stepCount(): number {
    return this.#stepCount;
  }

  /** Records one update. Returns the squared norm of all gradients before clipping, [1]. */
  step(arena: Arena, { lr = this.options.lr }: { readonly lr?: number } = {}): Tensor {
    const { beta1, beta2, eps, weightDecay, maxGradNorm, decay } = this.options;
    this.#stepCount++;
    const normSquared = arena.zeros([1]);
    return arena.withoutGrad(() => {
      for (const { grad } of this.#parameters.values()) if (grad) addSumOfSquares(arena, grad, normSquared);
      for (const [name, p] of this.#parameters) {
        if (p.grad === null) continue;
        const { m, v } = this.#moments.get(name)!;
        updateParameter(arena, p.grad, normSquared, p, m, v, {
          lr,
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

  /** Records zeroing of all gradients. */
  zeroGrad(arena: Arena): void {
    for (const { grad } of this.#parameters.values()) if (grad) call('fill', [grad], { value: 0 }, arena);
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
    const missing = [...this.#moments.keys()].filter((name) => !state.moments.has(name));
    const unknown = [...state.moments.keys()].filter((name) => !this.#moments.has(name));
    if (missing.length + unknown.length > 0)
      throw new MinkeError(
        'invalid-argument',
        `AdamW.restore: expected the moments of this model, got ${missing.length} missing (${missing.join(', ')}) and ${unknown.length} unknown (${unknown.join(', ')})`,
      );
    for (const [name, { m, v }] of this.#moments) {
      const saved = state.moments.get(name)!;
      m.write(saved.m);
      v.write(saved.v);
    }
    this.#stepCount = state.stepCount;
  }
}

function addSumOfSquares(arena: Arena, x: Tensor, into: Tensor): void {
  if (arena.backend.supports('sumSquares')) {
    call('sumSquares', [x, into], {}, arena);
    return;
  }
  arena.scope(() => {
    call('accumulate', [sum(square(arena.adopt(x))), into], { scale: 1 });
  });
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
    let g = arena.adopt(grad);
    if (maxNorm > 0) {
      const scale = clamp(affine(reciprocal(affine(sqrt(normSquared), 1, 1e-6)), maxNorm, 0), 0, 1);
      g = mul(g, scale);
    }
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
