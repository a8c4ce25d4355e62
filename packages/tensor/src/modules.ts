/**
 * Minimal modules: parameters under the names that Hugging Face checkpoints use, and how to fill them.
 */
import { elementCount, formatShape, MinkeError, type Random, type Shape, sameShape } from '@minke/core';
import type { Arena } from './arena.ts';
import { rmsNorm } from './fused.ts';
import { linear } from './linear-algebra.ts';
import { gatherRows } from './shaping.ts';
import type { Tensor } from './tensor.ts';

/** Anything with parameters; names are relative to the module (`weight`, `layers.0.mlp.weight`). */
export interface Module {
  parameters(): Map<string, Tensor>;
}

/** Adds a part's parameters to `into` under `prefix.`; returns `into`. */
export function addParameters(into: Map<string, Tensor>, prefix: string, part: Module): Map<string, Tensor> {
  for (const [name, tensor] of part.parameters()) into.set(`${prefix}.${name}`, tensor);
  return into;
}

/** A parameter of independent normal numbers with mean 0; `std` 0 gives zeros. */
export function normalInit(arena: Arena, random: Random, shape: Shape, std: number): Tensor {
  const data = new Float32Array(elementCount(shape));
  for (let i = 0; i < data.length; i++) data[i] = std * random.normal();
  return arena.parameter(data, shape);
}

/** A parameter of one value everywhere. */
export function constantInit(arena: Arena, shape: Shape, value: number): Tensor {
  return arena.parameter(new Float32Array(elementCount(shape)).fill(value), shape);
}

/** x w^T + bias: weight [out, in], bias [out]. */
export class Linear implements Module {
  readonly weight: Tensor;
  readonly bias: Tensor | undefined;

  constructor(weight: Tensor, bias?: Tensor) {
    this.weight = weight;
    this.bias = bias;
  }

  /** Normal weights, zero bias. `std` defaults to 1 / sqrt(inputs), `bias` to false. */
  static init(
    arena: Arena,
    random: Random,
    inputs: number,
    outputs: number,
    options: { readonly std?: number; readonly bias?: boolean } = {},
  ): Linear {
    const weight = normalInit(arena, random, [outputs, inputs], options.std ?? 1 / Math.sqrt(inputs));
    return new Linear(weight, options.bias ? constantInit(arena, [outputs], 0) : undefined);
  }

  /** [..., in] -> [..., out] */
  forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }

  parameters(): Map<string, Tensor> {
    const parameters = new Map([['weight', this.weight]]);
    if (this.bias) parameters.set('bias', this.bias);
    return parameters;
  }
}

/** Rows of a table by id: weight [V, D]. */
export class Embedding implements Module {
  readonly weight: Tensor;

  constructor(weight: Tensor) {
    this.weight = weight;
  }

  static init(arena: Arena, random: Random, vocabulary: number, width: number, std = 0.02): Embedding {
    return new Embedding(normalInit(arena, random, [vocabulary, width], std));
  }

  /** i32 [N] -> [N, D] */
  forward(ids: Tensor): Tensor {
    return gatherRows(this.weight, ids);
  }

  parameters(): Map<string, Tensor> {
    return new Map([['weight', this.weight]]);
  }
}

/** Root-mean-square normalisation: weight [C]. */
export class RmsNorm implements Module {
  readonly weight: Tensor;
  readonly eps: number;

  constructor(weight: Tensor, eps = 1e-6) {
    this.weight = weight;
    this.eps = eps;
  }

  static init(arena: Arena, width: number, eps = 1e-6): RmsNorm {
    return new RmsNorm(constantInit(arena, [width], 1), eps);
  }

  /** [..., C] -> [..., C] */
  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight, this.eps);
  }

  parameters(): Map<string, Tensor> {
    return new Map([['weight', this.weight]]);
  }
}

/**
 * Overwrites a module's parameters. Throws `invalid-argument` with all names that are missing, unknown or of
 * another shape; nothing is written then.
 */
export function loadParameters(
  module: Module,
  values: ReadonlyMap<string, { readonly shape: Shape; readonly data: ArrayLike<number> }>,
): void {
  const parameters = module.parameters();
  const problems: string[] = [];
  for (const [name, tensor] of parameters) {
    const value = values.get(name);
    if (value === undefined) problems.push(`${name} is missing`);
    else if (!sameShape(value.shape, tensor.shape) || value.data.length !== tensor.size)
      problems.push(
        `${name} is ${formatShape(value.shape)} with ${value.data.length} numbers instead of ${formatShape(tensor.shape)}`,
      );
  }
  for (const name of values.keys()) if (!parameters.has(name)) problems.push(`${name} is unknown`);
  if (problems.length > 0)
    throw new MinkeError(
      'invalid-argument',
      `loadParameters: expected the module's parameters, got: ${problems.join('; ')}`,
    );
  for (const [name, tensor] of parameters) tensor.write(values.get(name)!.data);
}
