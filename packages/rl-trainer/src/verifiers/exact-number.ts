/**
 * Exact numbers: sums of rational multiples of products of a power of pi and the square root of a square-free
 * integer, for example 1/2 + 3 sqrt(2) - pi.
 *
 * Such products are linearly independent over the rationals (square roots of different square-free integers are, and
 * pi is transcendental), so two numbers are equal exactly when their normal forms are. Rationals are bigints in
 * lowest terms. Every operation is bounded: beyond `maxBits` or `maxTerms`, and for results outside this form (cube
 * roots of 2, division by a sum), the result is null, "not a number we can write", and never an approximation.
 */
const maxBits = 16_384;
const maxTerms = 16;
const trialLimit = 10_000n;

interface Rational {
  readonly n: bigint;
  /** Positive. */
  readonly d: bigint;
}

/** An exact number: coefficients by `piPower:radicand`. Zero has no entries. */
export type Exact = ReadonlyMap<string, Rational>;

function gcd(a: bigint, b: bigint): bigint {
  let [x, y] = [a < 0n ? -a : a, b < 0n ? -b : b];
  while (y !== 0n) [x, y] = [y, x % y];
  return x;
}

const bits = (value: bigint): number => (value < 0n ? -value : value).toString(16).length * 4;

function reduced(n: bigint, d: bigint): Rational | null {
  if (d === 0n) return null;
  const divisor = gcd(n, d) * (d < 0n ? -1n : 1n);
  const value = { n: n / divisor, d: d / divisor };
  return bits(value.n) > maxBits || bits(value.d) > maxBits ? null : value;
}

/** n / d, null for d = 0 and beyond the bounds. */
export function rational(n: bigint, d = 1n): Exact | null {
  const value = reduced(n, d);
  if (value === null) return null;
  return value.n === 0n ? new Map() : new Map([['0:1', value]]);
}

/** The circle's number. */
export const pi: Exact = new Map([['1:1', { n: 1n, d: 1n }]]);

/** The value if it is a fraction, null if it has roots or pi in it. */
export function asRational(a: Exact): Rational | null {
  if (a.size === 0) return { n: 0n, d: 1n };
  return a.size === 1 ? (a.get('0:1') ?? null) : null;
}

/** True where the two have terms that a sum would join. */
export function shareTerms(a: Exact, b: Exact): boolean {
  return a.size === 0 || b.size === 0 || [...a.keys()].some((key) => b.has(key));
}

export function add(a: Exact, b: Exact): Exact | null {
  const sum = new Map(a);
  for (const [key, y] of b) {
    const x = sum.get(key);
    const value = x === undefined ? y : reduced(x.n * y.d + y.n * x.d, x.d * y.d);
    if (value === null) return null;
    if (value.n === 0n) sum.delete(key);
    else sum.set(key, value);
  }
  return sum.size > maxTerms ? null : sum;
}

export function negate(a: Exact): Exact {
  return new Map([...a].map(([key, { n, d }]) => [key, { n: -n, d }]));
}

function parts(key: string): [number, bigint] {
  const colon = key.indexOf(':');
  return [Number(key.slice(0, colon)), BigInt(key.slice(colon + 1))];
}

export function multiply(a: Exact, b: Exact): Exact | null {
  let product: Exact | null = new Map();
  for (const [keyA, x] of a)
    for (const [keyB, y] of b) {
      const [piA, radicandA] = parts(keyA);
      const [piB, radicandB] = parts(keyB);
      // sqrt(a) sqrt(b) = g sqrt(ab / g^2), square-free again since a and b are.
      const g = gcd(radicandA, radicandB);
      const coefficient = reduced(x.n * y.n * g, x.d * y.d);
      if (coefficient === null || Math.abs(piA + piB) > 64) return null;
      const key = `${piA + piB}:${(radicandA / g) * (radicandB / g)}`;
      product = add(product, new Map([[key, coefficient]]));
      if (product === null) return null;
    }
  return product;
}

/** a / b; null where b is zero or a sum of several terms. */
export function divide(a: Exact, b: Exact): Exact | null {
  const [only, ...more] = b;
  if (only === undefined || more.length > 0) return null;
  const [piPower, radicand] = parts(only[0]);
  // 1 / (q pi^k sqrt(r)) = pi^-k sqrt(r) / (q r)
  const inverse = reduced(only[1].d, only[1].n * radicand);
  return inverse === null ? null : multiply(a, new Map([[`${-piPower}:${radicand}`, inverse]]));
}

/** a to a whole power of at most 1,024 in size; refused before it is taken where the result would be too large. */
export function power(a: Exact, exponent: bigint): Exact | null {
  if (exponent > 1024n || exponent < -1024n) return null;
  if (exponent === 0n) return a.size === 0 ? null : rational(1n);
  const size = Number(exponent < 0n ? -exponent : exponent);
  const plain = asRational(a);
  if (plain !== null && (bits(plain.n) - 4) * size > maxBits) return null;
  if (plain !== null && (bits(plain.d) - 4) * size > maxBits) return null;
  let result: Exact | null = rational(1n);
  for (let i = size.toString(2).length - 1; i >= 0; i--) {
    result = result && multiply(result, result);
    if ((size >> i) & 1) result = result && multiply(result, a);
    if (result === null) return null;
  }
  return exponent < 0n ? divide(rational(1n) as Exact, result as Exact) : result;
}

/** The whole k-th root of n >= 0, rounded down (Newton's method from above). */
function wholeRoot(n: bigint, k: bigint): bigint {
  if (n < 2n) return n;
  let x = 1n << BigInt(Math.ceil(n.toString(2).length / Number(k)));
  for (;;) {
    const next = ((k - 1n) * x + n / x ** (k - 1n)) / k;
    if (next >= x) return x;
    x = next;
  }
}

/** The square root of a fraction >= 0, null where the square-free part cannot be found by trial division. */
export function squareRoot(a: Exact): Exact | null {
  const value = asRational(a);
  if (value === null || value.n < 0n) return null;
  if (value.n === 0n) return a;
  if (bits(value.n * value.d) > 2048) return null;
  let rest = value.n * value.d; // sqrt(n/d) = sqrt(n d) / d
  let outside = 1n;
  let radicand = 1n;
  const whole = wholeRoot(rest, 2n);
  if (whole * whole === rest) return rational(whole, value.d);
  for (let p = 2n; p <= trialLimit && p * p <= rest; p++) {
    while (rest % (p * p) === 0n) {
      rest /= p * p;
      outside *= p;
    }
    if (rest % p === 0n) {
      rest /= p;
      radicand *= p;
    }
  }
  // What is left has no prime up to 10^4. Below 10^12 it is square-free or the square of a prime.
  const root = wholeRoot(rest, 2n);
  if (root * root === rest) outside *= root;
  else if (rest < trialLimit ** 3n) radicand *= rest;
  else return null;
  const coefficient = reduced(outside, value.d);
  return coefficient === null ? null : new Map([[`0:${radicand}`, coefficient]]);
}

/** The k-th root where it is a fraction, 2 <= k <= 64, null where not. */
export function rationalRoot(a: Exact, k: bigint): Exact | null {
  const value = asRational(a);
  if (value === null || k < 2n || k > 64n || bits(value.n) > 2048 || bits(value.d) > 2048) return null;
  const negative = value.n < 0n;
  if (negative && k % 2n === 0n) return null;
  const size = negative ? -value.n : value.n;
  const [n, d] = [wholeRoot(size, k), wholeRoot(value.d, k)];
  if (n ** k !== size || d ** k !== value.d) return null;
  return rational(negative ? -n : n, d);
}

/** The normal form: equal numbers give equal texts. */
export function formatExact(a: Exact): string {
  if (a.size === 0) return '0';
  return [...a]
    .map(([key, value]) => ({ key: parts(key), value }))
    .sort(({ key: x }, { key: y }) => x[0] - y[0] || (x[1] < y[1] ? -1 : 1))
    .map(({ key: [piPower, radicand], value: { n, d } }) => {
      const fraction = d === 1n ? `${n}` : `${n}/${d}`;
      const root = radicand === 1n ? '' : `*sqrt(${radicand})`;
      return `${fraction}${root}${piPower === 0 ? '' : `*pi^${piPower}`}`;
    })
    .join(' + ');
}
