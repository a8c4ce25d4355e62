/**
 * Low-rank adapters on a frozen model: which modules, which shapes, and how they begin.
 *
 * LoRA, Hu et al. 2021 (https://arxiv.org/abs/2106.09685), section 4.1: w x becomes w x + scale b a x with scale =
 * alpha / r, or alpha / sqrt(r) (rsLoRA, Kalajdzievski 2023, https://arxiv.org/abs/2312.03732). As in PEFT, a begins
 * uniform in +-1 / sqrt(in) and b at zero, so a new adapter changes nothing. Targets are the projections of attention,
 * dense and shared SwiGLU, and routed experts (one pair each). Not embeddings, head, gate, norms or MTP modules.
 */
import { type Backend, check, MinkeError, Random, type Shape } from '@minke/core';
import { Arena, type LowRank } from '@minke/tensor';
import type { ModelConfig } from './config.ts';
import { parameterShapes } from './names.ts';

/** What an adapter is. Plain data. */
export interface LoraConfig {
  /** Rank, at least 1 and at most the smaller side of every target. */
  readonly r: number;
  /** Above 0; the addition is scaled by alpha / r. */
  readonly alpha: number;
  /**
   * Ends of module names, as PEFT's `target_modules`: `o_proj`, `shared_experts.up_proj`, `layers.3.mlp.up_proj`. The
   * routed experts of a layer are one module, `mlp.experts.up_proj`. Or `attention` or `all-linear` for all of them.
   */
  readonly targets: readonly string[];
  /** Scale by alpha / sqrt(r). Default false. */
  readonly rslora?: boolean;
}

/** An adapter: its settings and the pair of matrices of each module, by the module's name in the model. */
export interface Lora {
  readonly config: LoraConfig;
  readonly pairs: ReadonlyMap<string, LowRank>;
}

/** What an adapter has to know of the model it is for. */
export interface AdaptedModel {
  readonly config: ModelConfig;
  readonly backend: Backend;
}

const projection = /\.(q|k|v|q_a|q_b|kv_a|kv_b|o|gate|up|down)_proj(_with_mqa)?(\.weight)?$/;

/** Modules that can have an adapter: name and shape of the weight, [out, in] or [E, out, in] for routed experts. */
export function loraModules(config: ModelConfig): Map<string, Shape> {
  const modules = new Map<string, Shape>();
  for (const [name, shape] of parameterShapes(config)) {
    const layer = Number(/^model\.layers\.(\d+)\./.exec(name)?.[1] ?? -1);
    if (layer >= 0 && layer < config.numLayers && projection.test(name))
      modules.set(name.replace(/\.weight$/, ''), shape);
  }
  return modules;
}

/** What the addition of an adapter is multiplied by. */
export function loraScale({ r, alpha, rslora = false }: Pick<LoraConfig, 'r' | 'alpha' | 'rslora'>): number {
  return rslora ? alpha / Math.sqrt(r) : alpha / r;
}

/** Shapes of a and b for a weight [out, in] or [E, out, in]. */
export function loraShapes(weight: Shape, r: number): { readonly a: Shape; readonly b: Shape } {
  const [outputs, inputs] = weight.slice(-2) as [number, number];
  const experts = weight.slice(0, -2);
  return { a: [...experts, r, inputs], b: [...experts, outputs, r] };
}

/** What is wrong with rank and scale, each as "expected" continues it. */
export function loraProblems({ r, alpha }: Pick<LoraConfig, 'r' | 'alpha'>): string[] {
  const problems: string[] = [];
  if (!Number.isSafeInteger(r) || r < 1) problems.push(`r a positive integer, got ${r}`);
  if (!Number.isFinite(alpha) || alpha <= 0) problems.push(`alpha a number above 0, got ${alpha}`);
  return problems;
}

/** The modules of a model that an adapter's targets name. Throws `invalid-config` naming everything that is wrong. */
export function loraTargets(config: ModelConfig, lora: LoraConfig): Map<string, Shape> {
  const { r, targets } = lora;
  const problems = loraProblems(lora);
  if (targets.length === 0) problems.push('at least one target, got none');
  const modules = loraModules(config);
  const found = new Map<string, Shape>();
  for (const target of targets) {
    const matching = [...modules].filter(([name]) => matches(name, target));
    if (matching.length === 0) {
      const kinds = new Set([...modules.keys()].map((name) => name.replace(/^model\.layers\.\d+\./, '')));
      problems.push(`targets among ${[...kinds].join(', ')}, attention and all-linear, got ${target}`);
    }
    for (const [name, shape] of matching) found.set(name, shape);
  }
  for (const [name, shape] of found) {
    const side = Math.min(...shape.slice(-2));
    if (r > side) problems.push(`r of at most ${side} for ${name} [${shape.join(', ')}], got ${r}`);
  }
  if (problems.length > 0) throw new MinkeError('invalid-config', `lora: expected ${problems.join('; ')}`);
  // In the model's order, whatever the order of the targets.
  return new Map([...modules].filter(([name]) => found.has(name)));
}

function matches(name: string, target: string): boolean {
  if (target === 'all-linear') return true;
  if (target === 'attention') return name.includes('.self_attn.');
  return name === target || name.endsWith(`.${target}`);
}

/**
 * A new adapter for a model, which it leaves as it is.
 * @param options `arena` (persistent) will own it; `seed` of a. Throws `invalid-config`.
 *
 * @example
 * const lora = createLora(model, { r: 8, alpha: 16, targets: ['attention'] }, { seed: 0 });
 * const adapted = model.withLora(lora); // trains the adapter; `model` is still the base
 */
export function createLora(
  model: AdaptedModel,
  config: LoraConfig,
  options: { readonly arena?: Arena; readonly seed?: number } = {},
): Lora {
  const random = new Random(options.seed ?? 0);
  return makeLora(model, config, options.arena, (_, { a, b }) => {
    const bound = 1 / Math.sqrt(a.at(-1) as number);
    const uniform = () => (2 * random.uniform() - 1) * bound;
    return { a: Float32Array.from({ length: count(a) }, uniform), b: new Float32Array(count(b)) };
  });
}

/** An adapter with the numbers that `fill` gives for each module. Throws `invalid-config`. */
export function makeLora(
  model: AdaptedModel,
  config: LoraConfig,
  arena: Arena = new Arena(model.backend, { persistent: true, label: 'lora' }),
  fill: (
    module: string,
    shapes: { readonly a: Shape; readonly b: Shape },
  ) => { readonly a: ArrayLike<number>; readonly b: ArrayLike<number> },
): Lora {
  const pairs = new Map<string, LowRank>();
  const scale = loraScale(config);
  for (const [name, shape] of loraTargets(model.config, config)) {
    const shapes = loraShapes(shape, config.r);
    const data = fill(name, shapes);
    const [a, b] = [arena.parameter(data.a, shapes.a), arena.parameter(data.b, shapes.b)];
    pairs.set(name, { a, b, scale });
  }
  return { config, pairs };
}

/** Throws `invalid-argument` unless the adapter's matrices are those of its targets in a model. */
export function checkLora(config: ModelConfig, { config: lora, pairs }: Lora): void {
  const targets = loraTargets(config, lora);
  for (const [name, shape] of targets) {
    const expected = loraShapes(shape, lora.r);
    const pair = pairs.get(name);
    const found = pair && `[${pair.a.shape.join(', ')}] and [${pair.b.shape.join(', ')}]`;
    check(
      found === `[${expected.a.join(', ')}] and [${expected.b.join(', ')}]`,
      () =>
        `withLora: expected matrices [${expected.a.join(', ')}] and [${expected.b.join(', ')}] for ${name}, got ${found ?? 'none'}; the adapter is of another model`,
    );
  }
  for (const name of pairs.keys())
    check(targets.has(name), () => `withLora: expected matrices of the adapter's targets, got ${name}`);
}

const count = (shape: Shape): number => shape.reduce((product, size) => product * size, 1);
