/**
 * Muon: momentum whose matrix is made orthogonal, for the hidden weights of a network; AdamW for the rest.
 *
 * Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon/): five Newton-Schulz steps with the quintic
 * coefficients below, Nesterov momentum. Liu et al. 2025 (Moonlight, https://arxiv.org/abs/2502.16982, section 2.2):
 * decoupled weight decay, and updates times 0.2 sqrt(max(rows, columns)), the RMS that AdamW's updates have, so that
 * one learning rate serves both. Deviations from `torch.optim.Muon`: f32 in place of bfloat16, clipping by the global
 * norm, packed matrices [E, out, in] as a batch. The products of a step cost 5 x width / tokens of a backward pass.
 */
import type { Shape } from '@minke/core';
import { AdamW, type AdamWOptions, type Moments } from './adamw.ts';
import type { Arena } from './arena.ts';
import { call, callOne } from './call.ts';
import { affine, div, maximum, sqrt, square } from './elementwise.ts';
import { checkParameters, clearGradients, clipped, restoreStates, squaredNorm } from './optimizer.ts';
import { sum } from './reductions.ts';
import type { Tensor } from './tensor.ts';

export interface MuonOptions {
  /** Learning rate of all parameters; `step` may override it, for schedules. */
  readonly lr: number;
  /** Decay of the momentum, default 0.95. */
  readonly momentum?: number;
  /** Look ahead by one step of momentum, default true. */
  readonly nesterov?: boolean;
  /** Newton-Schulz steps, default 5. */
  readonly steps?: number;
  /** Decoupled weight decay of all parameters that decay, default 0. */
  readonly weightDecay?: number;
  /** Gradients of all parameters are scaled down to this global norm; 0 (default) does not clip. */
  readonly maxGradNorm?: number;
  /** Which parameters are hidden matrices; default: rank 2 and 3 except embeddings and heads (`embed`, `lm_head`). */
  readonly matrices?: (name: string, shape: Shape) => boolean;
  /** Settings of AdamW for the other parameters. */
  readonly adamW?: Pick<AdamWOptions, 'beta1' | 'beta2' | 'eps' | 'decay' | 'rate'>;
}

/** What a checkpoint needs, besides the parameters. */
export interface MuonState<T> {
  readonly stepCount: number;
  /** By matrix. */
  readonly momenta: ReadonlyMap<string, { readonly momentum: T }>;
  /** By other parameter. */
  readonly moments: ReadonlyMap<string, { readonly m: T; readonly v: T }>;
}

/** Quintic that drives singular values towards 1 (Jordan et al. 2024). */
const [A, B, C] = [3.4445, -4.775, 2.0315];
/** Smallest norm divided by. */
const EPS = 1e-7;

/**
 * @example
 * const optimizer = new Muon(model.parameters(), { lr: 1e-3, weightDecay: 0.1, maxGradNorm: 1 });
 * loss.backward();
 * optimizer.step(arena);
 * optimizer.zeroGrad(arena);
 */
export class Muon {
  readonly options: Required<Omit<MuonOptions, 'adamW'>>;
  readonly #matrices = new Map<string, Tensor>();
  readonly #momenta = new Map<string, { readonly momentum: Tensor }>();
  readonly #adamW: AdamW;
  readonly #parameters: ReadonlyMap<string, Tensor>;

  /** Momenta are made of zeros beside each matrix. Throws unless every tensor is a leaf. */
  constructor(parameters: ReadonlyMap<string, Tensor>, options: MuonOptions) {
    const { adamW, ...own } = options;
    this.options = {
      momentum: 0.95,
      nesterov: true,
      steps: 5,
      weightDecay: 0,
      maxGradNorm: 0,
      matrices: (name, { length }) => (length === 2 || length === 3) && !/embed|lm_head/.test(name),
      ...own,
    };
    checkParameters('Muon', parameters);
    this.#parameters = new Map(parameters);
    const others = new Map<string, Tensor>();
    for (const [name, p] of this.#parameters) {
      if (!this.options.matrices(name, p.shape)) {
        others.set(name, p);
        continue;
      }
      this.#matrices.set(name, p);
      this.#momenta.set(name, { momentum: p.arena.zeros(p.shape) });
    }
    const { lr, weightDecay, maxGradNorm } = this.options;
    this.#adamW = new AdamW(others, { ...adamW, lr, weightDecay, maxGradNorm });
  }

  /** Steps taken. */
  get stepCount(): number {
    return this.#adamW.stepCount;
  }

  /** Records one update. Returns the squared norm of all gradients before clipping, [1]. */
  step(arena: Arena, { lr = this.options.lr }: { readonly lr?: number } = {}): Tensor {
    return arena.withoutGrad(() => {
      const normSquared = squaredNorm(arena, this.#parameters.values());
      for (const [name, p] of this.#matrices) {
        const { grad } = p;
        if (grad !== null)
          arena.scope(() => {
            this.#update(arena, p, grad, this.#momenta.get(name)!.momentum, normSquared, lr);
          });
      }
      this.#adamW.step(arena, { lr, normSquared });
      return normSquared;
    });
  }

  #update(arena: Arena, p: Tensor, grad: Tensor, m: Tensor, normSquared: Tensor, lr: number): void {
    const { weightDecay, steps } = this.options;
    const [rows, columns] = p.shape.slice(-2) as [number, number];
    const direction = orthogonal(arena, this.#direction(arena, grad, m, normSquared), steps);
    const scale = 0.2 * Math.sqrt(Math.max(rows, columns));
    blend(arena, direction, p, -lr * scale, 1 - lr * weightDecay);
  }

  /** Moves the momentum and returns the direction to follow, each matrix of norm 1. */
  #direction(arena: Arena, grad: Tensor, m: Tensor, normSquared: Tensor): Tensor {
    const { momentum: beta, nesterov, maxGradNorm: maxNorm } = this.options;
    if (arena.backend.supports('muonDirection')) {
      const attributes = { beta, nesterov: nesterov ? 1 : 0, eps: EPS, maxNorm };
      return callOne('muonDirection', [grad, normSquared, m], attributes, arena);
    }
    const g = affine(clipped(arena, grad, normSquared, maxNorm), 1 - beta, 0);
    blend(arena, g, m, 1, beta);
    let u = arena.adopt(m);
    if (nesterov) {
      u = affine(u, beta, 0);
      call('accumulate', [g, u], { scale: 1 });
    }
    const batch = u.rank === 3 ? u.shape[0]! : 1;
    const flat = u.reshape([batch, u.size / Math.max(batch, 1)]);
    const norm = maximum(sqrt(sum(square(flat), 1)), arena.full([1], EPS));
    return div(flat, norm.reshape([batch, 1])).reshape(grad.shape);
  }

  /** All gradients become zero; see `AdamW.zeroGrad`. */
  zeroGrad(arena: Arena): void {
    clearGradients(arena, this.#parameters.values());
  }

  /** What a checkpoint needs, besides the parameters: `read` the tensors. */
  state(): MuonState<Tensor> {
    const { stepCount, moments } = this.#adamW.state();
    return { stepCount, momenta: new Map(this.#momenta), moments: moments satisfies Map<string, Moments> };
  }

  /** Continues from a saved state. Throws `invalid-argument` listing what is missing or too much. */
  restore(state: MuonState<ArrayLike<number>>): void {
    restoreStates('Muon', this.#momenta, state.momenta);
    this.#adamW.restore(state);
  }
}

/** y = a x + b y */
function blend(arena: Arena, x: Tensor, y: Tensor, a: number, b: number): void {
  if (arena.backend.supports('blend')) {
    call('blend', [x, y], { a, b }, arena);
    return;
  }
  const mixed = affine(arena.adopt(y), b, 0);
  call('accumulate', [x, mixed], { scale: a }, arena);
  call('copyInto', [mixed, y], {}, arena);
}

/**
 * Newton-Schulz: x, of norm at most 1, towards its nearest orthogonal matrix: with G = x x^T (or x^T x, whichever is
 * smaller), x <- A x + (B G + C G G) x.
 */
function orthogonal(arena: Arena, x: Tensor, steps: number): Tensor {
  const [rows, columns] = x.shape.slice(-2) as [number, number];
  const tall = rows > columns;
  const product = (a: Tensor, b: Tensor, transA: number, transB: number) =>
    callOne('matmul', [a, b], { transA, transB }, arena);
  let current = x;
  for (let i = 0; i < steps; i++) {
    current = arena.scope(() => {
      const gram = tall ? product(current, current, 1, 0) : product(current, current, 0, 1);
      const factor = product(gram, gram, 0, 0);
      blend(arena, gram, factor, B, C);
      const next = tall ? product(current, factor, 0, 0) : product(factor, current, 0, 0);
      call('accumulate', [current, next], { scale: A }, arena);
      return next;
    });
  }
  return current;
}
