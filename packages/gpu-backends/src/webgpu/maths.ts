/**
 * WGSL text shared by the kernels: exp, log, tanh and their friends, bit tests, and sums over a workgroup.
 *
 * WGSL lets its own exp and log be off by several ulp times |x|, and lets a compiler assume that no number is
 * infinite or NaN. So exp and log are polynomials here (Cephes, Moshier 1992, expf.c and logf.c), and infinities
 * are made from and compared as bits; their pattern comes in as a parameter, because constant expressions may
 * not overflow.
 */

export const mathsText = /* wgsl */ `
fn infinity() -> f32 { return bitcast<f32>(P.inf_bits); }
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > P.inf_bits; }
fn is_minus_inf(x: f32) -> bool { return bitcast<u32>(x) == (P.inf_bits | 0x80000000u); }

// 2^n, n in two factors so that every result in the range of f32 is reached.
fn scale_by_power(x: f32, n: i32) -> f32 {
  let half = n / 2;
  return x * bitcast<f32>(u32(half + 127) << 23u) * bitcast<f32>(u32(n - half + 127) << 23u);
}

fn exp_(x: f32) -> f32 {
  if (is_nan(x)) { return x; }
  if (x > 88.722839) { return infinity(); }
  if (x < -103.97) { return 0.0; }
  let n = round(x * 1.44269504);
  let r = fma(n, 2.12194440e-4, fma(n, -0.693359375, x));
  var p = fma(1.9875691500e-4, r, 1.3981999507e-3);
  p = fma(p, r, 8.3334519073e-3);
  p = fma(p, r, 4.1665795894e-2);
  p = fma(p, r, 1.6666665459e-1);
  p = fma(p, r, 5.0000001201e-1);
  p = fma(p * r, r, r) + 1.0;
  return scale_by_power(p, i32(n));
}

fn log_(x: f32) -> f32 {
  let bits = bitcast<u32>(x);
  if ((bits & 0x7fffffffu) == 0u) { return -infinity(); }
  if (bits > 0x80000000u) { return bitcast<f32>(P.inf_bits | 0x00400000u); }
  if (bits >= P.inf_bits) { return x; }
  var e = i32(bits >> 23u) - 126;
  var m = bitcast<f32>((bits & 0x007fffffu) | 0x3f000000u);
  if (m < 0.707106781) { e -= 1; m = m + m - 1.0; } else { m = m - 1.0; }
  var p = fma(7.0376836292e-2, m, -1.1514610310e-1);
  p = fma(p, m, 1.1676998740e-1);
  p = fma(p, m, -1.2420140846e-1);
  p = fma(p, m, 1.4249322787e-1);
  p = fma(p, m, -1.6668057665e-1);
  p = fma(p, m, 2.0000714765e-1);
  p = fma(p, m, -2.4999993993e-1);
  p = fma(p, m, 3.3333331174e-1);
  let z = m * m;
  var y = p * m * z;
  y = fma(f32(e), -2.12194440e-4, y);
  y = fma(-0.5, z, y);
  return fma(f32(e), 0.693359375, m + y);
}

fn sigmoid_(x: f32) -> f32 {
  let e = exp_(-abs(x));
  return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

fn silu_(x: f32) -> f32 {
  if (x < -200.0) { return 0.0; }
  return x * sigmoid_(x);
}

fn silu_slope(x: f32) -> f32 {
  if (abs(x) > 200.0) { return select(0.0, 1.0, x > 0.0); }
  return sigmoid_(x) * (1.0 + x * sigmoid_(-x));
}

fn tanh_(x: f32) -> f32 {
  let a = abs(x);
  if (a < 0.625) {
    let z = x * x;
    var p = fma(-5.70498872745e-3, z, 2.06390887954e-2);
    p = fma(p, z, -5.37397155531e-2);
    p = fma(p, z, 1.33314422036e-1);
    p = fma(p, z, -3.33332819422e-1);
    return fma(p * z, x, x);
  }
  let y = 1.0 - 2.0 / (exp_(min(2.0 * a, 80.0)) + 1.0);
  return select(y, -y, x < 0.0);
}

// Order of numbers as integers, NaN as -inf.
fn order_key(x: f32) -> u32 {
  var bits = bitcast<u32>(x);
  if ((bits & 0x7fffffffu) > P.inf_bits) { bits = P.inf_bits | 0x80000000u; }
  if (bits == 0x80000000u) { bits = 0u; }
  return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}
`;

/**
 * A function `name(t, value)` that combines the values of a workgroup's 64 threads in a fixed order; every thread calls it,
 * and gets the result. `initial` comes before the first value.
 */
export function groupReduction(
  name: string,
  type: string,
  combine: (a: string, b: string) => string,
  initial?: string,
): string {
  const [values, parts] = [`${name}_values`, `${name}_parts`];
  const eight = (result: string, at: (j: string) => string) => `
    var ${result} = ${initial ?? at('0u')};
    for (var j = ${initial === undefined ? 1 : 0}u; j < 8u; j++) { ${result} = ${combine(result, at('j'))}; }`;
  return /* wgsl */ `
var<workgroup> ${values}: array<${type}, 64>;
var<workgroup> ${parts}: array<${type}, 8>;
fn ${name}(t: u32, value: ${type}) -> ${type} {
  workgroupBarrier();
  ${values}[t] = value;
  workgroupBarrier();
  if (t < 8u) {${eight('part', (j) => `${values}[t * 8u + ${j}]`)}
    ${parts}[t] = part;
  }
  workgroupBarrier();${eight('whole', (j) => `${parts}[${j}]`)}
  return whole;
}`;
}

export const sumOf = (a: string, b: string) => `${a} + ${b}`;
export const maximumOf = (a: string, b: string) => `max(${a}, ${b})`;

/** Sum and maximum over a workgroup. */
export const groupText =
  groupReduction('group_sum', 'f32', sumOf, '0.0') + groupReduction('group_max', 'f32', maximumOf);
