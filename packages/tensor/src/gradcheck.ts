/**
 * Finite-difference checks of gradients, in f64 on the reference backend.
 *
 * The function's output is weighted with fixed random numbers and summed; each input number is moved by
 * +-step and the central difference compared with the backward pass. Every input is checked twice: as a leaf,
 * whose gradient operations may accumulate in place, and as the result of another operation.
 */
import { type Backend, elementCount, MinkeError, Random, type Shape } from '@minke/core';
import { Arena } from './arena.ts';
import { affine, mul } from './elementwise.ts';
import { sum } from './reductions.ts';
import type { Tensor } from './tensor.ts';

export interface GradcheckInput {
  readonly shape: Shape;
  /** Values; default: seeded standard normals. */
  readonly data?: ArrayLike<number>;
}

export interface GradcheckOptions {
  /** Default 0. */
  readonly seed?: number;
  /** Relative to max(1, |x|), default 1e-5. */
  readonly step?: number;
  /** Largest relative error allowed, default 1e-6. */
  readonly tolerance?: number;
  /** Checks at most this many numbers of each input, seeded; default: all. */
  readonly maxElements?: number;
  /** A backend that computes in f64; default: a new reference backend. */
  readonly backend?: Backend;
}

export interface GradcheckReport {
  readonly ok: boolean;
  /** Largest |analytic - numeric| / max(|analytic|, |numeric|, 1e-3 x the largest gradient, 1e-6). */
  readonly worst: number;
  /** Where the worst error is. */
  readonly at: {
    readonly input: number;
    readonly element: number;
    readonly as: 'leaf' | 'result';
    readonly analytic: number;
    readonly numeric: number;
  } | null;
  /** Numbers compared. */
  readonly checked: number;
}

/**
 * Compares the gradient of `f` with central differences.
 *
 * @param f gets one tensor for each input, in a step arena (`xs[0].arena`) for further tensors it needs.
 * @example
 * const report = await gradcheck((x, w) => linear(x, w), [{ shape: [2, 3] }, { shape: [4, 3] }]);
 * report.ok; // true
 */
export async function gradcheck(
  f: (...xs: Tensor[]) => Tensor,
  inputs: readonly GradcheckInput[],
  options: GradcheckOptions = {},
): Promise<GradcheckReport> {
  const { seed = 0, step = 1e-5, tolerance = 1e-6, maxElements = Number.POSITIVE_INFINITY } = options;
  const backend =
    options.backend ?? (await import('@minke/gpu-backends/reference')).createReference({ bits: 64 });
  if (backend.info.bits !== 64)
    throw new MinkeError(
      'invalid-argument',
      `gradcheck: expected a backend of 64 bits, got ${backend.info.bits}; leave it out for the reference backend`,
    );
  const random = new Random(seed);
  const values = inputs.map(({ shape, data }) =>
    Float64Array.from(data ?? Array.from({ length: elementCount(shape) }, () => random.normal())),
  );
  const owner = new Arena(backend, { persistent: true, label: 'gradcheck parameters' });
  const arena = new Arena(backend, { grad: true, label: 'gradcheck' });
  try {
    const parameters = inputs.map(({ shape }, i) => owner.parameter(values[i]!, shape));
    let weights: Float64Array | null = null;
    const loss = (as: 'leaf' | 'result'): Tensor => {
      const leaves = parameters.map((p) => arena.adopt(p));
      const y = f(...(as === 'leaf' ? leaves : leaves.map((x) => affine(x, 1, 0))));
      weights ??= Float64Array.from({ length: y.size }, () => random.normal());
      return sum(mul(y, arena.tensor(weights, y.shape)));
    };
    const numericValue = async (): Promise<number> => {
      const value = (await arena.withoutGrad(() => loss('leaf')).read())[0]!;
      arena.reset();
      return value;
    };

    const analytic: Record<'leaf' | 'result', ArrayLike<number>[]> = { leaf: [], result: [] };
    for (const as of ['leaf', 'result'] as const) {
      for (const { grad } of parameters) grad?.write(new Float64Array(grad.size));
      loss(as).backward();
      for (const p of parameters) analytic[as].push(p.grad ? await p.grad.read() : new Float64Array(p.size));
      arena.reset();
    }

    let worst = 0;
    let at: GradcheckReport['at'] = null;
    let checked = 0;
    for (const [input, p] of parameters.entries()) {
      const x = values[input]!;
      const elements = Array.from(x.keys());
      const chosen =
        elements.length > maxElements ? random.shuffle(elements).slice(0, maxElements) : elements;
      const floor = Math.max(1e-6, 1e-3 * Math.max(0, ...Array.from(analytic.leaf[input]!, Math.abs)));
      for (const element of chosen) {
        const original = x[element]!;
        const h = step * Math.max(1, Math.abs(original));
        x[element] = original + h;
        p.write(x);
        const above = await numericValue();
        x[element] = original - h;
        p.write(x);
        const below = await numericValue();
        x[element] = original;
        const numeric = (above - below) / (2 * h);
        for (const as of ['leaf', 'result'] as const) {
          const value = analytic[as][input]![element]!;
          const difference = Math.abs(value - numeric);
          const error =
            difference === 0 ? 0 : difference / Math.max(Math.abs(value), Math.abs(numeric), floor);
          checked++;
          if (!(error <= worst) && !Number.isNaN(worst)) {
            worst = error;
            at = { input, element, as, analytic: value, numeric };
          }
        }
      }
      p.write(x);
    }
    return { ok: worst <= tolerance, worst, at, checked };
  } finally {
    arena.dispose();
    owner.dispose();
    if (options.backend === undefined) backend.dispose();
  }
}
