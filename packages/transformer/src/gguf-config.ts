/**
 * The configuration in a GGUF file's metadata: `llama`, `qwen2` and `deepseek2` (V2, V3, R1).
 *
 * Keys are those of llama.cpp (gguf-py/gguf/constants.py). What they leave out is decided as llama.cpp does: without
 * `expert_gating_func` the gate is a softmax. Both generations of `deepseek2` are read: with the latent projections
 * fused (`key_length` of a head), and split (since llama.cpp PR 12801, `key_length_mla`). `block_count` counts
 * multi-token-prediction modules (`nextn_predict_layers`) where the file has them.
 */
import type { GgufFile, GgufValue } from '@minke/checkpoints';
import { check, MinkeError } from '@minke/core';
import type { Llama3RopeConfig, YarnConfig } from '@minke/mla-attention';
import { llama3Divisors } from '@minke/mla-attention';
import { configProblems, type DeepSeekConfig, type ModelConfig, type MoeShape } from './config.ts';
import { Fields } from './config-fields.ts';
import type { DenseConfig } from './dense-config.ts';

/** Architectures that are read. */
const architectures = ['llama', 'qwen2', 'deepseek2'] as const;

/**
 * Our configuration from an open GGUF file. Throws `invalid-config` with every problem found, `unsupported` for other
 * architectures.
 *
 * @example
 * const config = await configFromGguf(await openGguf('SmolLM2-135M-Instruct.Q4_1.gguf'));
 */
export async function configFromGguf(file: GgufFile): Promise<ModelConfig> {
  const name = file.values.get('general.architecture');
  const architecture = architectures.find((known) => known === name);
  if (architecture === undefined)
    throw new MinkeError(
      'unsupported',
      `gguf: expected general.architecture ${architectures.join(', ')}, got ${String(name).slice(0, 60)}`,
    );
  const fields = new GgufFields(file, architecture);
  const config =
    architecture === 'deepseek2'
      ? deepseekConfig(fields)
      : denseConfig(fields, architecture, await divisorsOf(file));
  const problems = [...fields.problems];
  if (problems.length === 0) problems.push(...configProblems(config));
  if (problems.length > 0)
    throw new MinkeError('invalid-config', `gguf: expected ${problems.join('; ')}`, {
      details: { problems },
    });
  return config;
}

/** What was rounded to float32, as the decimal of seven digits it was; whole numbers as they are. */
const decimal = (value: number): number => (Number.isInteger(value) ? value : Number(value.toPrecision(7)));

/** Metadata of one architecture, with problems collected. */
class GgufFields extends Fields {
  readonly #prefix: string;
  readonly file: GgufFile;

  constructor(file: GgufFile, architecture: string) {
    super(Object.fromEntries([...file.values].map(([key, value]) => [key, shown(value)])), '');
    this.#prefix = `${architecture}.`;
    this.file = file;
  }

  /** A number of the architecture. */
  of(key: string, fallback?: number): number {
    return decimal(this.number(this.#prefix + key, fallback));
  }

  /** A number that may be missing. */
  maybe(key: string): number | null {
    return this.nullable(this.#prefix + key, null);
  }

  textOf(key: string, fallback: string): string {
    return this.text(this.#prefix + key, fallback);
  }

  /** Rows and columns of the embedding. */
  get vocabSize(): number {
    const rows = this.file.tensors.get('token_embd.weight')?.shape[0];
    if (rows === undefined) this.problems.push('a tensor token_embd.weight, got none');
    return rows ?? Number.NaN;
  }

  /**
   * Multi-token-prediction modules among the blocks. Converters that leave them out still announce them: then the last
   * block is an ordinary one, or the last ones are not there.
   */
  get mtpBlocks(): number {
    const announced = this.of('nextn_predict_layers', 0);
    const last = `blk.${this.of('block_count') - 1}.`;
    const ordinary = this.file.tensors.has(`${last}attn_norm.weight`) && !this.hasMtp(last);
    return ordinary ? 0 : announced;
  }

  /** Whether the file has the module whose tensors have this prefix. */
  hasMtp(prefix: string): boolean {
    return this.file.tensors.has(`${prefix}nextn.eh_proj.weight`);
  }

  /** What all architectures have. */
  common() {
    const hiddenSize = this.of('embedding_length');
    const token = (name: string) => this.nullable(`tokenizer.ggml.${name}_token_id`, null);
    const eos = [token('eos'), token('eot')].filter((id) => id !== null);
    return {
      vocabSize: this.vocabSize,
      hiddenSize,
      intermediateSize: this.of('feed_forward_length'),
      numLayers: this.of('block_count') - this.mtpBlocks,
      numHeads: this.of('attention.head_count'),
      normEps: this.of('attention.layer_norm_rms_epsilon'),
      ropeTheta: this.of('rope.freq_base', 10000),
      maxPositions: this.of('context_length'),
      initStd: 0.02,
      tieEmbeddings: !this.file.tensors.has('output.weight'),
      bosTokenId: token('bos'),
      eosTokenIds: [...new Set(eos)],
      padTokenId: token('padding'),
    } as const;
  }

  /** YaRN, or null. `mscale`: what the attention's temperature is multiplied by, where the file says it. */
  yarn(): YarnConfig | null {
    const type = this.textOf('rope.scaling.type', 'none');
    const linear = this.of('rope.scale_linear', 1);
    if (type === 'none' && linear === 1) return null;
    if (type === 'linear' && this.of('rope.scaling.factor', 1) === 1) return null;
    if (type !== 'yarn') {
      this.problems.push(`rope.scaling.type none or yarn, got ${type}`);
      return null;
    }
    const logMultiplier = this.maybe('rope.scaling.yarn_log_multiplier');
    const mscale = logMultiplier ? decimal(logMultiplier * 10) : undefined;
    return {
      factor: this.of('rope.scaling.factor'),
      originalMaxPositions: this.of('rope.scaling.original_context_length'),
      betaFast: this.of('rope.scaling.yarn_beta_fast', 32),
      betaSlow: this.of('rope.scaling.yarn_beta_slow', 1),
      // One number stands for both: in every release they are equal.
      ...(mscale !== undefined && { mscale, mscaleAllDim: mscale }),
    };
  }
}

/** Scalars as they are; arrays and large integers as words that no number field accepts. */
function shown(value: GgufValue): unknown {
  if (typeof value === 'bigint') return String(value);
  return typeof value === 'object' ? `an array of ${value.length}` : value;
}

function denseConfig(
  fields: GgufFields,
  modelType: DenseConfig['modelType'],
  divisors: Float32Array | null,
): DenseConfig {
  const common = fields.common();
  const { hiddenSize, numHeads, ropeTheta } = common;
  const headDim = fields.of('attention.key_length', hiddenSize / numHeads);
  // Heads that do not divide the width are named as such, later.
  const whole = Number.isSafeInteger(headDim) && headDim > 0;
  if (whole && fields.of('attention.value_length', headDim) !== headDim)
    fields.problems.push('attention.value_length equal to key_length, got another');
  if (whole && fields.of('rope.dimension_count', headDim) !== headDim)
    fields.problems.push(`rope.dimension_count ${headDim}, got ${fields.of('rope.dimension_count')}`);
  if ((fields.maybe('expert_count') ?? 0) > 0) fields.problems.push('a dense model, got one with experts');
  return {
    modelType,
    ...common,
    numKeyValueHeads: fields.of('attention.head_count_kv', numHeads),
    headDim,
    qkvBias: modelType === 'qwen2',
    yarn: fields.yarn(),
    llama3: divisors && llama3Of(divisors, headDim, ropeTheta, fields),
    moe: null,
    mtpLayers: 0,
  };
}

/** `rope_freqs.weight`, unless all are 1. */
async function divisorsOf(file: GgufFile): Promise<Float32Array | null> {
  const info = file.tensors.get('rope_freqs.weight');
  if (info === undefined) return null;
  check(info.byteLength <= 1 << 20, () => `gguf: expected rope_freqs.weight of a head, got [${info.shape}]`);
  const divisors = await file.readFloat32('rope_freqs.weight');
  return divisors.every((divisor) => divisor === 1) ? null : divisors;
}

/**
 * The settings behind the divisors, of which GGUF keeps no others. With the published factors 1 and 4, any frequency
 * that is blended gives the original context; what comes out must give every divisor again.
 */
function llama3Of(
  divisors: Float32Array,
  width: number,
  theta: number,
  fields: GgufFields,
): Llama3RopeConfig | null {
  const factor = decimal(Math.max(...divisors));
  const [lowFreqFactor, highFreqFactor] = [1, 4];
  const frequency = (i: number) => theta ** ((-2 * i) / width);
  const blended = divisors.findIndex((divisor) => divisor > 1 && divisor < factor);
  let rotations: number;
  let at = blended;
  if (blended >= 0) {
    const kept = (1 / (divisors[blended] as number) - 1 / factor) / (1 - 1 / factor);
    rotations = lowFreqFactor + kept * (highFreqFactor - lowFreqFactor);
  } else {
    // Between the last short wavelength and the first long one.
    at = divisors.indexOf(factor) - 0.5;
    rotations = Math.sqrt(lowFreqFactor * highFreqFactor);
  }
  const originalMaxPositions = Math.round((rotations * 2 * Math.PI) / frequency(at));
  const config = { factor, lowFreqFactor, highFreqFactor, originalMaxPositions };
  const again = divisors.length === width / 2 ? llama3Divisors(width, theta, config) : [];
  const same = divisors.every((divisor, i) => Math.abs(divisor / (again[i] ?? 0) - 1) < 1e-4);
  if (!same) fields.problems.push("rope_freqs.weight as Llama 3's scaling gives it, got other divisors");
  return config;
}

function deepseekConfig(fields: GgufFields): DeepSeekConfig {
  const { file } = fields;
  const common = fields.common();
  const split = fields.maybe('attention.key_length_mla') !== null;
  const qkRopeHeadDim = fields.of('rope.dimension_count');
  const keyLength = fields.of(split ? 'attention.key_length_mla' : 'attention.key_length');
  const sigmoid = [...file.tensors.keys()].some((name) => name.endsWith('.exp_probs_b.bias'));
  const gate = fields.of('expert_gating_func', sigmoid ? 2 : 1);
  if (gate !== 1 && gate !== 2)
    fields.problems.push(`expert_gating_func 1 (softmax) or 2 (sigmoid), got ${gate}`);
  const v3 = gate === 2;
  return {
    modelType: v3 ? 'deepseek_v3' : 'deepseek_v2',
    ...common,
    mtpLayers: fields.hasMtp(`blk.${common.numLayers}.`) ? fields.mtpBlocks : 0,
    qLoraRank: fields.maybe('attention.q_lora_rank') || null,
    kvLoraRank: fields.of('attention.kv_lora_rank'),
    qkNopeHeadDim: keyLength - qkRopeHeadDim,
    qkRopeHeadDim,
    vHeadDim: fields.of(split ? 'attention.value_length_mla' : 'attention.value_length'),
    attentionBias: false,
    moe: experts(fields, v3),
    firstDenseLayers: fields.of('leading_dense_block_count', 0),
    moeLayerFreq: 1,
    ropeLayout: 'interleaved',
    yarn: fields.yarn(),
  };
}

function experts(fields: GgufFields, v3: boolean): MoeShape | null {
  const count = fields.of('expert_count', 0);
  if (count === 0) return null;
  const groups = fields.of('expert_group_count', 1) || 1;
  return {
    expertSize: fields.of('expert_feed_forward_length'),
    experts: count,
    topK: fields.of('expert_used_count'),
    sharedExperts: fields.of('expert_shared_count', 0),
    groups,
    topGroups: fields.of('expert_group_used_count', groups) || groups,
    scoring: v3 ? 'sigmoid' : 'softmax',
    method: v3 ? 'noaux_tc' : groups > 1 ? 'group_limited_greedy' : 'greedy',
    normTopK: fields.flag('deepseek2.expert_weights_norm', false),
    scalingFactor: fields.of('expert_weights_scale', 1) || 1,
  };
}
