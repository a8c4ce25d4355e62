/**
 * The projections around multi-head latent attention, for every way of attending: rotated queries, the normalised
 * latent with its shared rotary key, keys and values of every head, the two absorbed products and the output.
 *
 * Source: DeepSeek-V2, arXiv 2405.04434, section 2.1; parameters under their names in released checkpoints.
 */
import {
  type Arena,
  call,
  type LowRank,
  lowRankLinear,
  lowRankSum,
  rmsNorm,
  rowBlocksOf,
  slice,
  type Tensor,
} from '@minke/tensor';
import type { MlaConfig } from './mla-config.ts';
import { absorbOutput, absorbQuery, expandKeys } from './projections.ts';
import type { RopeTable } from './rope.ts';

export class LatentProjections {
  readonly #config: MlaConfig;
  readonly #parameters: ReadonlyMap<string, Tensor>;
  readonly #rope: RopeTable;
  readonly #additions: ReadonlyMap<string, LowRank>;

  constructor(
    config: MlaConfig,
    parameters: ReadonlyMap<string, Tensor>,
    rope: RopeTable,
    additions: ReadonlyMap<string, LowRank>,
  ) {
    this.#config = config;
    this.#parameters = parameters;
    this.#rope = rope;
    this.#additions = additions;
  }

  /** The normalised query latent [N, qLoraRank], or x itself where queries have none. */
  queryLatent(x: Tensor): Tensor {
    if (this.#config.qLoraRank === null) return x;
    return this.#norm(this.#project(x, 'q_a_proj'), 'q_a_layernorm.weight');
  }

  /** Rotated queries [N, H, dn + P] of `queryLatent`. */
  queries(latent: Tensor, positions: Tensor): Tensor {
    const { numHeads: H, qkNopeHeadDim, qkRopeHeadDim, qLoraRank } = this.#config;
    const q = this.#project(latent, qLoraRank === null ? 'q_proj' : 'q_b_proj');
    return this.#rope.apply(q.reshape([-1, H, qkNopeHeadDim + qkRopeHeadDim]), positions, qkNopeHeadDim);
  }

  /** The normalised latent [N, R] and the rotated shared key [N, P]. */
  latents(x: Tensor, positions: Tensor): { latent: Tensor; ropeKey: Tensor } {
    const { kvLoraRank: R, qkRopeHeadDim: P } = this.#config;
    const both = this.#project(x, 'kv_a_proj_with_mqa');
    const ropeKey = this.#rope.apply(slice(both, 1, R, P).reshape([-1, 1, P]), positions);
    return {
      latent: this.#norm(slice(both, 1, 0, R), 'kv_a_layernorm.weight'),
      ropeKey: ropeKey.reshape([-1, P]),
    };
  }

  /** Keys [M, H, dn + P] and values [M, H, dv] of latents [M, R] and rotated keys [M, P]. */
  expand(latent: Tensor, ropeKey: Tensor): { k: Tensor; v: Tensor } {
    const { numHeads: H, qkNopeHeadDim: dn, vHeadDim: dv } = this.#config;
    const up = this.#project(latent, 'kv_b_proj').reshape([-1, H, dn + dv]);
    return expandKeys(up, ropeKey, dn);
  }

  /**
   * The absorbed form around `attend`, which takes queries [N, H, R + P] to latents [N, H, R]: [N, H, dv]. It is told
   * whether the weights are rounded to blocks.
   */
  absorbed(q: Tensor, attend: (query: Tensor, inBlocks: boolean) => Tensor): Tensor {
    const { qkNopeHeadDim: dn } = this.#config;
    const up = this.#up(q.arena);
    return absorbOutput(attend(absorbQuery(q, up, dn), up.dtype !== 'f32'), up, dn);
  }

  /**
   * Attention of rotated queries [N, H, dn + P] to rows [M, R + P] of latents and keys in the expanded form, keys and
   * values made on the way: [N, H, dv]. Products of weights in blocks with rounded rows are of bf16 numbers. Null where
   * gradients are recorded or the backend does not have it.
   */
  expandedAttention(q: Tensor, keys: Tensor, ranges: Tensor, scale: number): Tensor | null {
    const { arena } = q;
    if (arena.recordsGradients || !arena.backend.supports('expandedAttention')) return null;
    const up = this.#up(arena);
    const bfloat = Number(up.dtype !== 'f32' && keys.dtype !== 'f32');
    const attributes = { scale, nope: this.#config.qkNopeHeadDim, bfloat };
    return call('expandedAttention', [q, keys, up, ranges], attributes)[0] as Tensor;
  }

  /** `kv_b_proj` by head, [H, dn + dv, R]: f32, or the blocks that it or an arena with packed weights has. */
  #up(arena: Arena): Tensor {
    const { numHeads: H, qkNopeHeadDim: dn, vHeadDim: dv, kvLoraRank: R } = this.#config;
    const weight = this.#get('kv_b_proj.weight');
    const addition = this.#additions.get('kv_b_proj');
    const blocks = arena.recordsGradients ? undefined : rowBlocksOf(arena, weight);
    const whole = addition ? lowRankSum(arena, weight, addition) : arena.adopt(blocks ?? weight);
    return whole.reshape([H, dn + dv, R]);
  }

  /** The output projection of [N, H, dv]: [N, D]. */
  output(o: Tensor): Tensor {
    return this.#project(o.reshape([-1, this.#config.numHeads * this.#config.vHeadDim]), 'o_proj');
  }

  #norm(x: Tensor, weight: string): Tensor {
    return rmsNorm(x, this.#get(weight), this.#config.latentNormEps ?? 1e-6);
  }

  #project(x: Tensor, name: string): Tensor {
    const weight = this.#get(`${name}.weight`);
    return lowRankLinear(x, weight, this.#additions.get(name), this.#parameters.get(`${name}.bias`));
  }

  #get(name: string): Tensor {
    return this.#parameters.get(name) as Tensor;
  }
}
