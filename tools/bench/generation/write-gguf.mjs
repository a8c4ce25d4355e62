// Writes a GGUF file of a shape with random weights, for measuring speed; a finished file is used again.
//
// `node tools/bench/generation/write-gguf.mjs deepseek2 Q4_0 FILE`. Contents are slices, at random places, of one pool of
// normal numbers that is rounded once: only sizes and routing matter, and a gate needs rows that differ. Weights have
// standard deviation 0.02, norms are one, the gate and its bias stay f32.

import { closeSync, existsSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { float32ToFloat16 } from '../../../packages/core/dist/index.js';
import { curveShapes, shapes as measuredShapes } from './shapes.mjs';

const shapes = { ...measuredShapes, ...curveShapes };
const poolSize = 1 << 22;
const deviation = 0.02;
const alignment = 32;
/** GGUF's number of each type, numbers and bytes of a block, and the file type that announces it. */
const types = {
  F32: { id: 0, numbers: 1, bytes: 4 },
  Q4_0: { id: 2, numbers: 32, bytes: 18, fileType: 2 },
  Q8_0: { id: 8, numbers: 32, bytes: 34, fileType: 7 },
};
const [U32, I32, F32, BOOL, STRING, ARRAY] = [4, 5, 6, 7, 8, 9];

/** The file of a shape, written where there is none yet. */
export function ggufOf(name, type, path) {
  if (existsSync(path)) return path;
  mkdirSync(dirname(path), { recursive: true });
  const partial = `${path}.${process.pid}`;
  writeGguf(shapes[name], type, partial);
  renameSync(partial, path);
  return path;
}

function writeGguf(s, type, path) {
  const random = xorshift(0x9e3779b9);
  const pool = normals(random);
  const pools = { F32: Buffer.from(pool.buffer), [type]: blocksOf(pool, type) };
  const tensors = tensorsOf(s, type);
  let offset = 0;
  for (const tensor of tensors) {
    tensor.offset = offset;
    tensor.count = tensor.dims.reduce((a, b) => a * b);
    tensor.bytes = (tensor.count / types[tensor.type].numbers) * types[tensor.type].bytes;
    offset += tensor.bytes + padding(tensor.bytes);
  }
  const entries = metadata(s, type);
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    u32(3),
    u64(tensors.length),
    u64(entries.length),
    ...entries,
    ...tensors.flatMap(({ name, dims, type, offset }) => [
      string(name),
      u32(dims.length),
      ...dims.map(u64),
      u32(types[type].id),
      u64(offset),
    ]),
  ]);
  const file = openSync(path, 'w');
  const put = (bytes) => {
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
  };
  put(head);
  put(Buffer.alloc(padding(head.length)));
  for (const tensor of tensors) {
    if (tensor.ones) put(Buffer.from(new Float32Array(tensor.count).fill(1).buffer));
    else for (const slice of slices(tensor, pools[tensor.type], random)) put(slice);
    put(Buffer.alloc(padding(tensor.bytes)));
  }
  closeSync(file);
}

/** Parts of the pool of up to two million numbers that fill a tensor. */
function* slices({ count, type }, pool, random) {
  const { numbers, bytes } = types[type];
  const available = poolSize / numbers;
  for (let left = count / numbers; left > 0; ) {
    const length = Math.min(left, 1 + Math.floor((random() * poolSize) / 2 / numbers));
    const at = Math.floor(random() * (available - length));
    yield pool.subarray(at * bytes, (at + length) * bytes);
    left -= length;
  }
}

/** Names as llama.cpp's converters give them; dimensions innermost first. */
function tensorsOf(s, type) {
  const list = [];
  const matrix = (name, ...dims) => list.push({ name: `${name}.weight`, dims, type });
  const exact = (name, ...dims) => list.push({ name, dims, type: 'F32' });
  const norm = (name, width) => list.push({ name: `${name}.weight`, dims: [width], type: 'F32', ones: true });
  matrix('token_embd', s.hidden, s.vocabulary);
  norm('output_norm', s.hidden);
  if (s.kind === 'deepseek2') matrix('output', s.hidden, s.vocabulary);
  for (let layer = 0; layer < s.layers; layer++) {
    const name = (rest) => `blk.${layer}.${rest}`;
    norm(name('attn_norm'), s.hidden);
    norm(name('ffn_norm'), s.hidden);
    const swiglu = (suffix, size, ...more) => {
      matrix(name(`ffn_gate${suffix}`), s.hidden, size, ...more);
      matrix(name(`ffn_up${suffix}`), s.hidden, size, ...more);
      matrix(name(`ffn_down${suffix}`), size, s.hidden, ...more);
    };
    if (s.kind === 'llama') {
      matrix(name('attn_q'), s.hidden, s.heads * s.headSize);
      matrix(name('attn_k'), s.hidden, s.keyHeads * s.headSize);
      matrix(name('attn_v'), s.hidden, s.keyHeads * s.headSize);
      matrix(name('attn_output'), s.heads * s.headSize, s.hidden);
      swiglu('', s.denseSize);
      continue;
    }
    norm(name('attn_q_a_norm'), s.queryRank);
    norm(name('attn_kv_a_norm'), s.latent);
    matrix(name('attn_q_a'), s.hidden, s.queryRank);
    matrix(name('attn_q_b'), s.queryRank, s.heads * (s.nope + s.rope));
    matrix(name('attn_kv_a_mqa'), s.hidden, s.latent + s.rope);
    matrix(name('attn_k_b'), s.nope, s.latent, s.heads);
    matrix(name('attn_v_b'), s.latent, s.value, s.heads);
    matrix(name('attn_output'), s.heads * s.value, s.hidden);
    if (layer < s.denseLayers) {
      swiglu('', s.denseSize);
      continue;
    }
    exact(name('ffn_gate_inp.weight'), s.hidden, s.experts);
    exact(name('exp_probs_b.bias'), s.experts);
    swiglu('_exps', s.expertSize, s.experts);
    swiglu('_shexp', s.expertSize * s.sharedExperts);
  }
  return list;
}

function metadata(s, type) {
  const entries = [];
  const put = (key, kind, value) => entries.push(Buffer.concat([string(key), u32(kind), value]));
  const own = (key, value) => put(`${s.kind}.${key}`, U32, u32(value));
  const list = (key, kind, items) =>
    put(`tokenizer.ggml.${key}`, ARRAY, Buffer.concat([u32(kind), u64(items.length), ...items]));
  const deepseek = () => {
    own('attention.head_count_kv', 1);
    own('attention.q_lora_rank', s.queryRank);
    own('attention.kv_lora_rank', s.latent);
    own('attention.key_length', s.latent + s.rope);
    own('attention.value_length', s.latent);
    own('attention.key_length_mla', s.nope + s.rope);
    own('attention.value_length_mla', s.value);
    own('rope.dimension_count', s.rope);
    own('expert_count', s.experts);
    own('expert_used_count', s.topK);
    own('expert_shared_count', s.sharedExperts);
    own('expert_feed_forward_length', s.expertSize);
    own('expert_gating_func', 2);
    own('leading_dense_block_count', s.denseLayers);
    put('deepseek2.expert_weights_norm', BOOL, Buffer.from([1]));
    put('deepseek2.expert_weights_scale', F32, f32(2.5));
  };
  put('general.architecture', STRING, string(s.kind));
  put('general.file_type', U32, u32(types[type].fileType));
  own('block_count', s.layers);
  own('context_length', s.context);
  own('embedding_length', s.hidden);
  own('feed_forward_length', s.denseSize);
  own('attention.head_count', s.heads);
  own('vocab_size', s.vocabulary);
  put(`${s.kind}.rope.freq_base`, F32, f32(10000));
  put(`${s.kind}.attention.layer_norm_rms_epsilon`, F32, f32(1e-6));
  if (s.kind === 'llama') {
    own('attention.head_count_kv', s.keyHeads);
    own('rope.dimension_count', s.headSize);
  } else deepseek();
  const tokens = vocabulary(s.vocabulary);
  put('tokenizer.ggml.model', STRING, string('llama'));
  put('tokenizer.ggml.pre', STRING, string('default'));
  list(
    'tokens',
    STRING,
    tokens.map(({ text }) => string(text)),
  );
  list(
    'scores',
    F32,
    tokens.map((_, i) => f32(-i)),
  );
  list(
    'token_type',
    I32,
    tokens.map(({ kind }) => u32(kind)),
  );
  put('tokenizer.ggml.bos_token_id', U32, u32(1));
  put('tokenizer.ggml.eos_token_id', U32, u32(2));
  put('tokenizer.ggml.unknown_token_id', U32, u32(0));
  put('tokenizer.ggml.add_bos_token', BOOL, Buffer.from([0]));
  put('tokenizer.ggml.add_space_prefix', BOOL, Buffer.from([0]));
  return entries;
}

/** The least that loads: three special tokens, the bytes, and numbered pieces. */
function vocabulary(size) {
  const [normal, unknown, control, byte] = [1, 2, 3, 6];
  const tokens = [
    { text: '<unk>', kind: unknown },
    { text: '<s>', kind: control },
    { text: '</s>', kind: control },
  ];
  for (let i = 0; i < 256; i++)
    tokens.push({ text: `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`, kind: byte });
  while (tokens.length < size) tokens.push({ text: `\u2581t${tokens.length}`, kind: normal });
  return tokens;
}

/** Numbers as GGML's own rounding writes them. */
function blocksOf(pool, type) {
  const { numbers, bytes } = types[type];
  const blocks = Buffer.alloc((pool.length / numbers) * bytes);
  for (let b = 0; b < pool.length / numbers; b++) {
    const x = pool.subarray(b * numbers, (b + 1) * numbers);
    const largest = x.reduce((most, v) => (Math.abs(v) > Math.abs(most) ? v : most), 0);
    const scale = type === 'Q8_0' ? Math.abs(largest) / 127 : largest / -8;
    const at = b * bytes;
    blocks.writeUInt16LE(float32ToFloat16(Float32Array.of(scale))[0], at);
    const integer = (i) => (scale === 0 ? 0 : Math.round(x[i] / scale));
    for (let i = 0; i < bytes - 2; i++) {
      if (type === 'Q8_0') blocks.writeInt8(integer(i), at + 2 + i);
      else {
        const [low, high] = [integer(i), integer(i + 16)].map((q) => Math.min(15, q + 8));
        blocks[at + 2 + i] = low | (high << 4);
      }
    }
  }
  return blocks;
}

function normals(random) {
  const values = new Float32Array(poolSize);
  for (let i = 0; i < poolSize; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(random() + 1e-12)) * deviation;
    const angle = 2 * Math.PI * random();
    values[i] = radius * Math.cos(angle);
    values[i + 1] = radius * Math.sin(angle);
  }
  return values;
}

function xorshift(seed) {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

function u32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
function u64(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}
function f32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}
function string(text) {
  const bytes = Buffer.from(text);
  return Buffer.concat([u64(bytes.length), bytes]);
}
function padding(bytes) {
  return (alignment - (bytes % alignment)) % alignment;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [name, type, path] = process.argv.slice(2);
  if (!shapes[name] || !types[type]?.fileType || !path) {
    process.stderr.write(`write-gguf: expected ${Object.keys(shapes).join('|')} Q4_0|Q8_0 FILE\n`);
    process.exit(2);
  }
  ggufOf(name, type, path);
}
