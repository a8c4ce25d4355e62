/**
 * Data movement. Numbers move as 32-bit words, so that every bit arrives; types narrower than a word are written
 * a word a thread, with the bytes outside the tensor kept.
 *
 * Scatters give each column of the table to one thread, which takes the rows in ascending order.
 */
import { float32ToBfloat16, float32ToFloat16, MinkeError } from '@minke/core';
import { around, bytesOf, type Kernels, type Tensor } from '../kernel.ts';
import { reads, type Shader, shader, writes } from '../shader.ts';

const fillWords = shader(
  'fillWords',
  { x: writes('u32') },
  { n: 'u32', value: 'u32' },
  'if (i < P.n) { x[x_at + i] = P.value; }',
);

/** The bits of the word from byte `word * 4` that lie in bytes `at .. at + n`. */
const keepText = /* wgsl */ `
fn inside(word: u32, at: u32, n: u32) -> u32 {
  var mask = 0u;
  for (var b = 0u; b < 4u; b++) {
    let byte = word * 4u + b;
    if (byte >= at && byte < at + n) { mask |= 0xffu << (8u * b); }
  }
  return mask;
}`;

const fillBytes = shader(
  'fillBytes',
  { x: writes('u32') },
  { n: 'u32', value: 'u32' },
  `
  let word = x_at / 4u + i;
  let mask = inside(word, x_at, P.n);
  if (mask != 0u) { x[word] = (x[word] & ~mask) | (P.value & mask); }`,
  keepText,
);

const copyWords = shader(
  'copyWords',
  { x: reads('u32'), y: writes('u32') },
  { n: 'u32' },
  'if (i < P.n) { y[y_at + i] = x[x_at + i]; }',
);

/** Copies `n` bytes; x and y count in bytes. */
export const copyBytes = shader(
  'copyBytes',
  { x: reads('u32'), y: writes('u32') },
  { n: 'u32' },
  `
  let word = y_at / 4u + i;
  let mask = inside(word, y_at, P.n);
  if (mask != 0u) {
    var value = 0u;
    for (var b = 0u; b < 4u; b++) {
      if (((mask >> (8u * b)) & 1u) != 0u) {
        let begin = x_at + (word * 4u + b - y_at);
        value |= ((x[begin / 4u] >> (8u * (begin % 4u))) & 0xffu) << (8u * b);
      }
    }
    y[word] = (y[word] & ~mask) | value;
  }`,
  keepText,
);

/** Threads that cover the words around `length` bytes. */
const wordsAround = (length: number) => (length === 0 ? 0 : Math.floor(length / 4) + 2);

/** To f32 bits, from each castable type; from f32 bits, to each. */
const castText = /* wgsl */ `
fn half_at(word: u32, index: u32) -> u32 { return (word >> (16u * (index % 2u))) & 0xffffu; }
fn bits_from_f16(h: u32) -> u32 {
  let sign = (h & 0x8000u) << 16u;
  let exponent = (h >> 10u) & 31u;
  let mantissa = h & 1023u;
  if (exponent == 31u) { return sign | 0x7f800000u | (mantissa << 13u); }
  if (exponent != 0u) { return sign | ((exponent + 112u) << 23u) | (mantissa << 13u); }
  if (mantissa == 0u) { return sign; }
  let shift = countLeadingZeros(mantissa) - 21u;
  return sign | ((113u - shift) << 23u) | (((mantissa << shift) & 1023u) << 13u);
}
fn round_off(value: u32, bits: u32) -> u32 {
  let rest = value & ((1u << bits) - 1u);
  let half = 1u << (bits - 1u);
  let kept = value >> bits;
  return kept + select(0u, 1u, rest > half || (rest == half && (kept & 1u) != 0u));
}
fn bits_to_bf16(b: u32) -> u32 {
  if ((b & 0x7fffffffu) > 0x7f800000u) { return (b >> 16u) | 0x40u; }
  return round_off(b, 16u);
}
fn bits_to_f16(b: u32) -> u32 {
  let sign = (b >> 16u) & 0x8000u;
  let a = b & 0x7fffffffu;
  if (a > 0x7f800000u) { return sign | 0x7e00u | ((a >> 13u) & 0x1ffu); }
  if (a >= 0x47800000u) { return sign | 0x7c00u; }
  if (a >= 0x38800000u) { return sign | round_off(a - 0x38000000u, 13u); }
  if (a < 0x33000000u) { return sign; }
  let exponent = a >> 23u;
  return sign | round_off((a & 0x7fffffu) | 0x800000u, 126u - exponent);
}
// To the nearest integer, ties to even, saturated; NaN gives 0.
fn bits_to_i32(b: u32) -> u32 {
  if ((b & 0x7fffffffu) > 0x7f800000u) { return 0u; }
  if ((b & 0x7fffffffu) >= 0x4f000000u) { return select(0x7fffffffu, 0x80000000u, b >= 0x80000000u); }
  return bitcast<u32>(i32(round(bitcast<f32>(b))));
}`;

type Castable = 'f32' | 'i32' | 'bf16' | 'f16';
const loads: Record<Castable, string> = {
  f32: 'x[x_at + e]',
  i32: 'bitcast<u32>(f32(bitcast<i32>(x[x_at + e])))',
  bf16: 'half_at(x[(x_at + e) / 2u], x_at + e) << 16u',
  f16: 'bits_from_f16(half_at(x[(x_at + e) / 2u], x_at + e))',
};
const roundings: Record<Castable, string> = {
  f32: 'b',
  i32: 'bits_to_i32(b)',
  bf16: 'bits_to_bf16(b)',
  f16: 'bits_to_f16(b)',
};

function castShader(from: Castable, to: Castable) {
  const value = (e: string) => `
    let e = ${e};
    let b = ${loads[from]};
    let r = ${from === 'i32' && to === 'i32' ? 'x[x_at + e]' : roundings[to]};`;
  const narrow = to === 'bf16' || to === 'f16';
  return shader(
    `cast ${from} to ${to}`,
    { x: reads('u32'), y: writes('u32') },
    { n: 'u32' },
    narrow
      ? `
  let word = y_at / 2u + i;
  for (var h = 0u; h < 2u; h++) {
    let to = word * 2u + h;
    if (to < y_at || to >= y_at + P.n) { continue; }${value('to - y_at')}
    y[word] = (y[word] & (0xffff0000u >> (16u * h))) | (r << (16u * h));
  }`
      : `if (i < P.n) { ${value('i')} y[y_at + e] = r; }`,
    castText,
  );
}

const castables: readonly Castable[] = ['f32', 'i32', 'bf16', 'f16'];
type CastShader = ReturnType<typeof castShader>;
const castShaders = Object.fromEntries(
  castables.flatMap((from) => castables.map((to) => [`${from} ${to}`, castShader(from, to)])),
) as Record<string, CastShader>;

const permuteWords = shader(
  'permute',
  { x: reads('u32'), y: writes('u32') },
  {
    n: 'u32',
    size1: 'u32',
    size2: 'u32',
    size3: 'u32',
    step0: 'u32',
    step1: 'u32',
    step2: 'u32',
    step3: 'u32',
  },
  `
  if (i >= P.n) { return; }
  let i3 = i % P.size3;
  let rest2 = i / P.size3;
  let i2 = rest2 % P.size2;
  let rest1 = rest2 / P.size2;
  y[y_at + i] = x[x_at + (rest1 / P.size1) * P.step0 + (rest1 % P.size1) * P.step1 + i2 * P.step2 + i3 * P.step3];`,
);

/** y[o, s] = x[o, s - start] of chunks: slice, place, concat and repeat all copy chunks of rows. */
const copyChunk = shader(
  'copyChunk',
  { x: reads('u32'), y: writes('u32') },
  { n: 'u32', chunk: 'u32', step_x: 'u32', start_x: 'u32', step_y: 'u32', start_y: 'u32' },
  `
  if (i >= P.n) { return; }
  let o = i / P.chunk;
  let c = i % P.chunk;
  y[y_at + o * P.step_y + P.start_y + c] = x[x_at + o * P.step_x + P.start_x + c];`,
);

const repeatChunk = shader(
  'repeat',
  { x: reads('u32'), y: writes('u32') },
  { n: 'u32', inner: 'u32', count: 'u32' },
  'if (i < P.n) { y[y_at + i] = x[x_at + (i / (P.inner * P.count)) * P.inner + i % P.inner]; }',
);

/** Rows of a table of each type that is widened to f32. */
function gatherShader(type: 'f32' | 'bf16' | 'f16') {
  return shader(
    `gatherRows ${type}`,
    { x: reads('u32'), ids: reads('i32'), y: writes('u32') },
    { n: 'u32', width: 'u32', rows: 'i32' },
    `
  if (i >= P.n) { return; }
  let id = ids[ids_at + i / P.width];
  var value = 0u;
  if (id >= 0 && id < P.rows) {
    let e = u32(id) * P.width + i % P.width;
    value = ${loads[type]};
  }
  y[y_at + i] = value;`,
    castText,
  );
}
const gatherShaders = { f32: gatherShader('f32'), bf16: gatherShader('bf16'), f16: gatherShader('f16') };

function scatter(
  name: string,
  type: 'f32' | 'u32',
  operator: '=' | '+=',
): Shader<'x' | 'ids' | 'table', 'n' | 'width' | 'rows'> {
  return shader(
    name,
    { x: reads(type), ids: reads('i32'), table: writes(type) },
    { n: 'u32', width: 'u32', rows: 'i32' },
    `
  if (i >= P.width) { return; }
  for (var n = 0u; n < P.n; n++) {
    let id = ids[ids_at + n];
    if (id >= 0 && id < P.rows) { table[table_at + u32(id) * P.width + i] ${operator} x[x_at + n * P.width + i]; }
  }`,
  );
}
const scatterAdd = scatter('scatterAddRows', 'f32', '+=');
const scatterSet = scatter('scatterRows', 'u32', '=');

const gatherLast = shader(
  'gatherLast',
  { x: reads('u32'), indices: reads('i32'), y: writes('u32') },
  { n: 'u32', k: 'u32', width: 'i32' },
  `
  if (i >= P.n) { return; }
  let index = indices[indices_at + i];
  var value = 0u;
  if (index >= 0 && index < P.width) { value = x[x_at + (i / P.k) * u32(P.width) + u32(index)]; }
  y[y_at + i] = value;`,
);

const scatterLast = shader(
  'scatterLast',
  { x: reads(), indices: reads('i32'), y: writes() },
  { n: 'u32', k: 'u32', size: 'u32' },
  `
  if (i >= P.n) { return; }
  let begin = (i / P.size) * P.k;
  var sum = 0.0;
  for (var k = 0u; k < P.k; k++) {
    if (indices[indices_at + begin + k] == i32(i % P.size)) { sum += x[x_at + begin + k]; }
  }
  y[y_at + i] = sum;`,
);

/** To the nearest integer, ties to even, saturated to int32; NaN gives 0. */
function toInt32(x: number): number {
  if (Number.isNaN(x)) return 0;
  const floor = Math.floor(x);
  const rest = x - floor;
  const rounded = rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
  return Math.min(Math.max(rounded, -0x80000000), 0x7fffffff);
}

const bits = new DataView(new ArrayBuffer(4));

/** A word filled with the value as `x` stores it. */
function pattern(x: Tensor, value: number): number {
  switch (x.dtype) {
    case 'f32':
      bits.setFloat32(0, value);
      return bits.getInt32(0);
    case 'i32':
      return toInt32(value);
    case 'bf16':
    case 'f16': {
      const narrow = x.dtype === 'bf16' ? float32ToBfloat16 : float32ToFloat16;
      return narrow(Float32Array.of(value))[0]! * 0x10001;
    }
    case 'i8':
    case 'u8':
      return (toInt32(value) & 0xff) * 0x1010101;
    default:
      return 0;
  }
}

function isCastable(dtype: string): dtype is Castable {
  return (castables as readonly string[]).includes(dtype);
}

export const memory: Pick<
  Kernels,
  | 'fill'
  | 'copyInto'
  | 'cast'
  | 'permute'
  | 'slice'
  | 'place'
  | 'concat'
  | 'repeat'
  | 'gatherRows'
  | 'scatterAddRows'
  | 'scatterRows'
  | 'gatherLast'
  | 'scatterLast'
> = {
  fill(d, [x], { value }) {
    const word = pattern(x, value);
    if (x.unit === 4) d.each(fillWords, { x }, { n: x.count, value: word }, x.count);
    else {
      const bytes = bytesOf(x);
      d.each(fillBytes, { x: bytes }, { n: bytes.length, value: word }, wordsAround(bytes.length));
    }
  },

  copyInto(d, [x, y]) {
    if (x.unit === 4) d.each(copyWords, { x, y }, { n: x.count }, x.count);
    else {
      const n = bytesOf(x).length;
      d.each(copyBytes, { x: bytesOf(x), y: bytesOf(y) }, { n }, wordsAround(n));
    }
  },

  cast(d, [x, y]) {
    if (!isCastable(x.dtype) || !isCastable(y.dtype))
      throw new MinkeError('unsupported', `cast: expected x in f32, i32, bf16 or f16, got ${x.dtype}`);
    const threads = y.unit === 4 ? x.count : wordsAround(x.count * 2);
    d.each(castShaders[`${x.dtype} ${y.dtype}`]!, { x, y }, { n: x.count }, threads);
  },

  permute(d, [x, y], { p0, p1, p2, p3 }) {
    const rank = x.shape.length;
    const axes = [p0, p1, p2, p3].slice(0, rank);
    const sizes = [1, 1, 1, 1];
    const steps = [0, 0, 0, 0];
    axes.forEach((axis, j) => {
      sizes[4 - rank + j] = y.shape[j]!;
      steps[4 - rank + j] = around(x.shape, axis)[2];
    });
    const [, size1, size2, size3] = sizes as [number, number, number, number];
    const [step0, step1, step2, step3] = steps as [number, number, number, number];
    d.each(permuteWords, { x, y }, { n: x.count, size1, size2, size3, step0, step1, step2, step3 }, x.count);
  },

  slice(d, [x, y], { axis, start, size }) {
    const [, length, inner] = around(x.shape, axis);
    const chunk = size * inner;
    const steps = { step_x: length * inner, start_x: start * inner, step_y: chunk, start_y: 0 };
    d.each(copyChunk, { x, y }, { n: y.count, chunk, ...steps }, y.count);
  },

  place(d, [x, y], { axis, start, size }) {
    const [, length, inner] = around(x.shape, axis);
    const chunk = length * inner;
    d.each(fillWords, { x: y }, { n: y.count, value: 0 }, y.count);
    const steps = { step_x: chunk, start_x: 0, step_y: size * inner, start_y: start * inner };
    d.each(copyChunk, { x, y }, { n: x.count, chunk, ...steps }, x.count);
  },

  concat(d, [a, b, y], { axis }) {
    const [, sizeA, inner] = around(a.shape, axis);
    const chunkA = sizeA * inner;
    const chunkB = b.shape[axis]! * inner;
    const step_y = chunkA + chunkB;
    const part = (x: Tensor, chunk: number, start_y: number) =>
      d.each(copyChunk, { x, y }, { n: x.count, chunk, step_x: chunk, start_x: 0, step_y, start_y }, x.count);
    part(a, chunkA, 0);
    part(b, chunkB, chunkA);
  },

  repeat(d, [x, y], { axis, count }) {
    const inner = around(x.shape, axis)[2];
    d.each(repeatChunk, { x, y }, { n: y.count, inner, count }, y.count);
  },

  gatherRows(d, [table, ids, y]) {
    const [rows, width] = [table.shape[0]!, table.shape[1]!];
    const gather = gatherShaders[table.dtype as keyof typeof gatherShaders];
    d.each(gather, { x: table, ids, y }, { n: y.count, width, rows }, y.count);
  },

  scatterAddRows(d, [x, ids, table]) {
    const [rows, width] = [table.shape[0]!, table.shape[1]!];
    d.each(scatterAdd, { x, ids, table }, { n: ids.count, width, rows }, ids.count === 0 ? 0 : width);
  },

  scatterRows(d, [x, ids, table]) {
    const [rows, width] = [table.shape[0]!, table.shape[1]!];
    d.each(scatterSet, { x, ids, table }, { n: ids.count, width, rows }, ids.count === 0 ? 0 : width);
  },

  gatherLast(d, [x, indices, y]) {
    d.each(gatherLast, { x, indices, y }, { n: y.count, k: indices.shape[1]!, width: x.shape[1]! }, y.count);
  },

  scatterLast(d, [x, indices, y], { size }) {
    d.each(scatterLast, { x, indices, y }, { n: y.count, k: indices.shape[1]!, size }, y.count);
  },
};
