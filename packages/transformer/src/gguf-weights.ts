/**
 * The weights of a GGUF file under our names: what `loadModel` reads.
 *
 * Conventions undone here are those of llama.cpp's converters (conversion/llama.py, conversion/deepseek.py): of Llama,
 * rows of q and k are permuted head by head for adjacent rotary pairs; of the DeepSeek family, the latent projections
 * are one tensor (`attn_kv_b`, until 2025) or two (`attn_k_b`, transposed head by head, and `attn_v_b`), flat or by
 * head; routed experts are packed, as ours are. Multi-token-prediction modules are blocks after the last layer, what they
 * have beside a layer under `nextn`; their copies of embedding and head are not read, since the model shares its own.
 */
import type { GgufFile, GgufTensorInfo, TensorPart } from '@minke/checkpoints';
import { elementCount, type Shape, sameShape } from '@minke/core';
import type { DeepSeekConfig, ModelConfig } from './config.ts';
import { isDenseConfig } from './dense-config.ts';
import { parameterShapes } from './names.ts';
import type { WeightSource } from './weight-source.ts';

const globals: Readonly<Record<string, string>> = {
  'model.embed_tokens.weight': 'token_embd.weight',
  'model.norm.weight': 'output_norm.weight',
  'lm_head.weight': 'output.weight',
};

/** Modules of a block: ours below `model.layers.<i>.`, and theirs below `blk.<i>.`. */
const modules: Readonly<Record<string, string>> = {
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_a_proj': 'attn_q_a',
  'self_attn.q_a_layernorm': 'attn_q_a_norm',
  'self_attn.q_b_proj': 'attn_q_b',
  'self_attn.kv_a_proj_with_mqa': 'attn_kv_a_mqa',
  'self_attn.kv_a_layernorm': 'attn_kv_a_norm',
  'self_attn.kv_b_proj': 'attn_kv_b',
  post_attention_layernorm: 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  'mlp.gate': 'ffn_gate_inp',
  'mlp.shared_experts.gate_proj': 'ffn_gate_shexp',
  'mlp.shared_experts.up_proj': 'ffn_up_shexp',
  'mlp.shared_experts.down_proj': 'ffn_down_shexp',
};

/** Parameters whose GGUF name is not a module's with `.weight` or `.bias`. */
const others: Readonly<Record<string, string>> = {
  'mlp.gate.e_score_correction_bias': 'exp_probs_b.bias',
  'mlp.experts.gate_proj': 'ffn_gate_exps.weight',
  'mlp.experts.up_proj': 'ffn_up_exps.weight',
  'mlp.experts.down_proj': 'ffn_down_exps.weight',
  'eh_proj.weight': 'nextn.eh_proj.weight',
  'enorm.weight': 'nextn.enorm.weight',
  'hnorm.weight': 'nextn.hnorm.weight',
  'shared_head.norm.weight': 'nextn.shared_head_norm.weight',
};

const inBlock = /^model\.layers\.(\d+)\.(.+)$/;

/** The tensor of a GGUF file that holds a parameter of ours, whatever its layout there. */
export function ggufName(name: string): string {
  const match = inBlock.exec(name);
  if (match === null) return globals[name] ?? name;
  const [, layer, rest] = match as unknown as [string, string, string];
  const dot = rest.lastIndexOf('.');
  return `blk.${layer}.${others[rest] ?? `${modules[rest.slice(0, dot)]}${rest.slice(dot)}`}`;
}

/** How a parameter is read. */
interface Source {
  readonly dtype: string;
  readonly shape: Shape;
  read(part?: TensorPart): Promise<Float32Array>;
  /** As blocks, where it is stored in such and rows are whole. */
  blocks(part?: TensorPart): Promise<Uint8Array>;
}

/**
 * Every parameter that the file has, by our name and in our layout.
 * @param config as `configFromGguf` reads it
 */
export function ggufWeights(file: GgufFile, config: ModelConfig): WeightSource {
  const sources = new Map<string, Source>();
  for (const [name, shape] of parameterShapes(config)) {
    const source = sourceOf(file, config, name, shape);
    if (source !== undefined) sources.set(name, source);
  }
  return {
    tensors: sources,
    readFloat32: (name, part) => (sources.get(name) as Source).read(part),
    readBlocks: (name, part) => (sources.get(name) as Source).blocks(part),
  };
}

function sourceOf(file: GgufFile, config: ModelConfig, name: string, shape: Shape): Source | undefined {
  const theirs = ggufName(name);
  const info = file.tensors.get(theirs);
  if (info === undefined) {
    const split = theirs.endsWith('.attn_kv_b.weight') && !isDenseConfig(config);
    return split ? splitLatents(file, config, theirs, shape) : undefined;
  }
  const whole: Source = {
    dtype: info.dtype,
    shape: info.shape,
    read: (part) => file.readFloat32(theirs, part),
    blocks: (part) => file.read(theirs, part),
  };
  const heads = permutedHeads(config, theirs);
  if (heads === null || !sameShape(info.shape, shape)) return whole;
  const columns = shape.length === 1 ? 1 : (shape[1] as number);
  const headSize = elementCount(shape) / heads;
  /** The heads that a part touches are read whole. */
  const permuted = async <T extends Float32Array | Uint8Array>(
    part: TensorPart = { start: 0, count: elementCount(shape) },
    read: (part: TensorPart) => Promise<T>,
  ): Promise<T> => {
    const start = Math.floor(part.start / headSize) * headSize;
    const count = Math.ceil((part.start + part.count) / headSize) * headSize - start;
    const data = halfSplitRows(await read({ start, count }), count / headSize, count / columns);
    const unit = count === 0 ? 0 : data.length / count;
    const from = (part.start - start) * unit;
    return data.subarray(from, from + part.count * unit) as T;
  };
  return {
    ...whole,
    read: (part) => permuted(part, whole.read),
    blocks: (part) => permuted(part, whole.blocks),
  };
}

/** Heads of a tensor whose rows are permuted, else null. */
function permutedHeads(config: ModelConfig, theirs: string): number | null {
  if (config.modelType !== 'llama') return null;
  if (/\.attn_q\.(weight|bias)$/.test(theirs)) return config.numHeads;
  return /\.attn_k\.(weight|bias)$/.test(theirs) ? config.numKeyValueHeads : null;
}

/** Rows of each head from adjacent rotary pairs to halves: row 2 i + j of `width` goes to row j width / 2 + i. */
function halfSplitRows<T extends Float32Array | Uint8Array>(data: T, heads: number, rows: number): T {
  const [width, columns] = [rows / heads, data.length / rows];
  const out = data.slice() as T;
  for (let row = 0; row < rows; row++) {
    const [head, within] = [Math.floor(row / width), row % width];
    const to = head * width + (within % 2) * (width / 2) + (within >> 1);
    out.set(data.subarray(row * columns, (row + 1) * columns), to * columns);
  }
  return out;
}

/** The latent projections of the newer generation as one: of each head [k_nope ; v]. */
function splitLatents(
  file: GgufFile,
  { numHeads, kvLoraRank, qkNopeHeadDim, vHeadDim }: DeepSeekConfig,
  fused: string,
  shape: Shape,
): Source | undefined {
  const [kName, vName] = [fused.replace('attn_kv_b', 'attn_k_b'), fused.replace('attn_kv_b', 'attn_v_b')];
  const [k, v] = [file.tensors.get(kName), file.tensors.get(vName)];
  if (k === undefined || v === undefined) return undefined;
  const rank = kvLoraRank;
  const bad = wrongShape(k, [numHeads, rank, qkNopeHeadDim]) ?? wrongShape(v, [numHeads, vHeadDim, rank]);
  const blocks = () => Promise.reject(new Error('gguf: the latent projections are no blocks of the model'));
  if (bad !== undefined)
    return { dtype: bad.dtype, shape: bad.shape, read: () => file.readFloat32(kName), blocks };
  const rows = qkNopeHeadDim + vHeadDim;
  return {
    dtype: 'F32',
    shape,
    blocks,
    async read(part) {
      const [keys, values] = [await file.readFloat32(kName), await file.readFloat32(vName)];
      const joined = new Float32Array(numHeads * rows * rank);
      for (let h = 0; h < numHeads; h++) {
        const start = h * rows * rank;
        for (let i = 0; i < qkNopeHeadDim; i++)
          for (let r = 0; r < rank; r++)
            joined[start + i * rank + r] = keys[(h * rank + r) * qkNopeHeadDim + i]!;
        const ofHead = values.subarray(h * vHeadDim * rank, (h + 1) * vHeadDim * rank);
        joined.set(ofHead, start + qkNopeHeadDim * rank);
      }
      return part === undefined ? joined : joined.subarray(part.start, part.start + part.count);
    },
  };
}

/** The tensor where it is neither of this shape nor the same rows flat. */
function wrongShape(info: GgufTensorInfo, [heads, rows, columns]: readonly [number, number, number]) {
  const fits =
    sameShape(info.shape, [heads, rows, columns]) || sameShape(info.shape, [heads * rows, columns]);
  return fits ? undefined : info;
}
