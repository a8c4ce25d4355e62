/**
 * A DeepSeekMoE layer: gate, routed experts, shared experts. DeepSeekMoE, arXiv 2401.06066; DeepSeek-V3
 * section 2.1.2 eq. 12: y = Shared(x) + sum_k w_k Expert_k(x).
 *
 * Experts are held packed, [E, out, in]; published checkpoints hold them one by one (the transformer
 * package maps the names). The residual is the caller's.
 */
import { type Backend, type OpName, Random } from '@minke/core';
import {
  Arena,
  add,
  type LowRank,
  lowRankLinear,
  type Module,
  normalInit,
  swiglu,
  type Tensor,
} from '@minke/tensor';
import { updateBias } from './balance.ts';
import { type MoeConfig, validateMoeConfig } from './config.ts';
import { denseExperts, fusedExperts, fusedOps, groupedExperts, type SharedExpertWeights } from './experts.ts';
import { expertLoad, type Routing, route } from './gate.ts';

export interface MoeOutput {
  /** Same shape as the input. */
  readonly output: Tensor;
  /** Choices per expert in this batch, f32 [E]. */
  readonly load: Tensor;
  readonly routing: Routing;
}

/** Where a new layer's weights live and come from. */
export interface InitOptions {
  /** A persistent arena; or give `backend`, and the layer makes its own. */
  readonly arena?: Arena;
  readonly backend?: Backend;
  /** Random stream, or a seed for one. */
  readonly random?: Random;
  readonly seed?: number;
  /** Standard deviation of the initial weights; DeepSeek trains with 0.006. */
  readonly std?: number;
}

const grouped = [
  'expertPlan',
  'groupedMatmul',
  'groupedMatmulGradWeight',
  'moeCombine',
  'moeCombineGrad',
] as const;

/**
 * @example
 * const moe = MoeLayer.init({ ...deepseekV3Gate, hiddenSize: 64, expertSize: 32, experts: 16, topK: 2 }, { backend, seed: 0 });
 * const { output, load } = moe.forward(x); // x [N, 64]
 * moe.updateBias(load, { gamma: 1e-3 });
 */
export class MoeLayer implements Module {
  readonly config: MoeConfig;
  readonly #parameters: Map<string, Tensor>;
  readonly #additions: ReadonlyMap<string, LowRank>;

  /**
   * Takes over parameters named as `parameters()` returns them.
   * @param additions low-rank additions to experts by name (`experts.up_proj`, packed; `shared_experts.up_proj`)
   */
  constructor(
    config: MoeConfig,
    parameters: ReadonlyMap<string, Tensor>,
    additions: ReadonlyMap<string, LowRank> = new Map(),
  ) {
    this.config = validateMoeConfig(config);
    this.#parameters = new Map(parameters);
    this.#additions = additions;
  }

  /** A fresh layer with normal weights and a zero correction bias. Throws `invalid-config`. */
  static init(config: MoeConfig, options: InitOptions): MoeLayer {
    validateMoeConfig(config);
    const arena = options.arena ?? new Arena(options.backend as Backend, { persistent: true, label: 'moe' });
    const random = options.random ?? new Random(options.seed ?? 0);
    const std = options.std ?? 0.006;
    const { experts: E, hiddenSize: D, expertSize: F, sharedExperts } = config;
    const normal = (...shape: number[]) => normalInit(arena, random, shape, std);
    const parameters = new Map<string, Tensor>([
      ['gate.weight', normal(E, D)],
      ['experts.gate_proj', normal(E, F, D)],
      ['experts.up_proj', normal(E, F, D)],
      ['experts.down_proj', normal(E, D, F)],
    ]);
    if (config.method === 'noaux_tc') parameters.set('gate.e_score_correction_bias', arena.zeros([E]));
    if (sharedExperts > 0) {
      parameters.set('shared_experts.gate_proj.weight', normal(sharedExperts * F, D));
      parameters.set('shared_experts.up_proj.weight', normal(sharedExperts * F, D));
      parameters.set('shared_experts.down_proj.weight', normal(D, sharedExperts * F));
    }
    return new MoeLayer(config, parameters);
  }

  /** Hugging Face's names below `mlp.`, routed experts packed as `experts.{gate,up,down}_proj`. */
  parameters(): Map<string, Tensor> {
    return new Map(this.#parameters);
  }

  /**
   * @param x [N, D] or [B, T, D]
   * @param options.form how the experts are computed: `fused` in one op, `grouped` in one op for each step, `dense`
   * with every expert on every token. Default: the first of these that the backend can; low-rank additions of routed
   * experts exclude the first.
   * @param options.choices experts of each token instead of the router's own choice, i32 [N, K], ascending
   */
  forward(
    x: Tensor,
    options: { form?: 'fused' | 'grouped' | 'dense'; choices?: Tensor | undefined } = {},
  ): MoeOutput {
    const { config } = this;
    const rows = x.reshape([-1, config.hiddenSize]);
    const bias = this.#parameters.get('gate.e_score_correction_bias') ?? rows.arena.zeros([config.experts]);
    const routing = route(rows, this.#get('gate.weight'), bias, config, options.choices);
    const weights = {
      gate: this.#get('experts.gate_proj'),
      up: this.#get('experts.up_proj'),
      down: this.#get('experts.down_proj'),
    };
    const supports = (ops: readonly OpName[]) => ops.every((op) => x.arena.backend.supports(op));
    const additions = {
      gate: this.#additions.get('experts.gate_proj'),
      up: this.#additions.get('experts.up_proj'),
      down: this.#additions.get('experts.down_proj'),
    };
    const plain = Object.values(additions).every((addition) => addition === undefined);
    const shared = config.sharedExperts > 0 ? this.#shared() : undefined;
    const matrices = [weights, shared].flatMap((group) => (group ? [group.gate, group.up, group.down] : []));
    const fused = supports(fusedOps) && plain && matrices.every((w) => w.node === null);
    const form = options.form ?? (fused ? 'fused' : supports(grouped) ? 'grouped' : 'dense');
    // One op takes the shared expert along, unless something is added to its weights or only some are of blocks.
    const alike = new Set(matrices.map((w) => w.dtype === 'f32')).size === 1;
    const joined = form === 'fused' && alike && !this.#isAdded('shared_experts.') ? shared : undefined;
    let output =
      form === 'fused'
        ? fusedExperts(rows, routing, weights, joined)
        : (form === 'grouped' ? groupedExperts : denseExperts)(rows, routing, weights, additions);
    if (shared !== undefined && joined === undefined) output = add(output, this.#sharedOutput(rows, shared));
    return { output: output.reshape(x.shape), load: expertLoad(routing.indices, config.experts), routing };
  }

  /**
   * The auxiliary-loss-free update of the correction bias from a whole batch's load f32 [E].
   * No effect on a layer whose method has no bias.
   */
  updateBias(load: Tensor, options: { gamma: number; centred?: boolean }): void {
    const bias = this.#parameters.get('gate.e_score_correction_bias');
    if (bias !== undefined) updateBias(bias, load, options);
  }

  #sharedOutput(x: Tensor, { gate, up, down }: SharedExpertWeights): Tensor {
    const project = (input: Tensor, weight: Tensor, name: string) =>
      lowRankLinear(input, weight, this.#additions.get(`shared_experts.${name}_proj`));
    return project(swiglu(project(x, gate, 'gate'), project(x, up, 'up')), down, 'down');
  }

  #isAdded(prefix: string): boolean {
    return [...this.#additions.keys()].some((name) => name.startsWith(prefix));
  }

  #shared(): SharedExpertWeights {
    return {
      gate: this.#get('shared_experts.gate_proj.weight'),
      up: this.#get('shared_experts.up_proj.weight'),
      down: this.#get('shared_experts.down_proj.weight'),
    };
  }

  #get(name: string): Tensor {
    return this.#parameters.get(name) as Tensor;
  }
}
