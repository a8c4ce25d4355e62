/**
 * Exact rational arithmetic and a small expression parser, for verifiers and the calculator. Nothing is ever
 * handed to `eval`.
 *
 * Precedence climbing (Pratt 1973) over `+ - * / ^`, parentheses, signs, whole numbers and decimals; `× · x ÷ −`
 * and `**` are read as their plain signs, and `^` binds to the right with a whole exponent. Every input is bounded
 * before work is done: length, nesting, and the bits of every intermediate value, where a power is refused before
 * it is taken. So a hostile text costs microseconds and never memory.
 */

/** A fraction in lowest terms with a positive denominator. */
export interface Rational {
  readonly n: bigint;
  readonly d: bigint;
}

/** Why an expression has no value. */
export type EvaluationProblem = 'syntax' | 'too-long' | 'too-deep' | 'too-large' | 'division-by-zero';

/** An evaluated expression, or why there is none. */
export type Evaluation =
  | {
      readonly ok: true;
      readonly value: Rational;
      /** The numbers in the order of the text, as written. */
      readonly numbers: readonly string[];
      /** The operators in the order of the text, unary signs left out. */
      readonly operators: string;
    }
  | { readonly ok: false; readonly problem: EvaluationProblem };

/** Bounds of an evaluation. */
export interface EvaluationLimits {
  /** Characters. Default 256. */
  readonly maxLength?: number;
  /** Nested parentheses, signs and powers. Default 32. */
  readonly maxDepth?: number;
  /** Bits of any numerator or denominator. Default 4096. */
  readonly maxBits?: number;
}

class Refusal extends Error {
  constructor(readonly problem: EvaluationProblem) {
    super(problem);
  }
}

const abs = (value: bigint) => (value < 0n ? -value : value);

/** Bits of a value; exact to one hexadecimal digit. */
const bits = (value: bigint) => abs(value).toString(16).length * 4;

function greatestCommonDivisor(a: bigint, b: bigint): bigint {
  let [x, y] = [abs(a), abs(b)];
  while (y !== 0n) [x, y] = [y, x % y];
  return x;
}

/** `n / d` in lowest terms; `d` must not be 0. */
export function rational(n: bigint, d = 1n): Rational {
  const divisor = greatestCommonDivisor(n, d) * (d < 0n ? -1n : 1n);
  return { n: n / divisor, d: d / divisor };
}

/** True for equal values. */
export function equalRationals(a: Rational, b: Rational): boolean {
  return a.n === b.n && a.d === b.d;
}

/** `7`, `-3/4`. */
export function formatRational({ n, d }: Rational): string {
  return d === 1n ? String(n) : `${n}/${d}`;
}

const signs: Readonly<Record<string, string>> = {
  '×': '*',
  '·': '*',
  x: '*',
  '÷': '/',
  ':': '/',
  '\u2212': '-',
  '–': '-',
};
const precedence: Readonly<Record<string, number>> = { '+': 1, '-': 1, '*': 2, '/': 2, '^': 4 };
const signPrecedence = 3;
const token = /\s*(?:(\d+(?:\.\d+)?)|(\*\*|[-+*/^()×·x÷:\u2212–]))/y;

class Parser {
  readonly numbers: string[] = [];
  operators = '';
  readonly #tokens: string[] = [];
  readonly #maxBits: number;
  readonly #maxDepth: number;
  #at = 0;

  constructor(text: string, maxDepth: number, maxBits: number) {
    this.#maxDepth = maxDepth;
    this.#maxBits = maxBits;
    const trimmed = text.trimEnd();
    token.lastIndex = 0;
    while (token.lastIndex < trimmed.length) {
      const match = token.exec(trimmed);
      if (match === null) throw new Refusal('syntax');
      const sign = match[2];
      this.#tokens.push(match[1] ?? (sign === '**' ? '^' : (signs[sign as string] ?? (sign as string))));
    }
  }

  whole(): Rational {
    const value = this.#expression(0, 0);
    if (this.#at < this.#tokens.length) throw new Refusal('syntax');
    return value;
  }

  #expression(least: number, depth: number): Rational {
    let left = this.#operand(depth);
    for (;;) {
      const operator = this.#tokens[this.#at];
      const level = operator === undefined ? undefined : precedence[operator];
      if (operator === undefined || level === undefined || level <= least) return left;
      this.#at++;
      this.operators += operator;
      // A power binds to the right: its exponent may hold another power or a sign.
      const right = this.#expression(operator === '^' ? signPrecedence - 1 : level, depth + 1);
      left = this.#apply(operator, left, right);
    }
  }

  #operand(depth: number): Rational {
    if (depth > this.#maxDepth) throw new Refusal('too-deep');
    const next = this.#tokens[this.#at++];
    if (next === undefined) throw new Refusal('syntax');
    if (next === '(') {
      const value = this.#expression(0, depth + 1);
      if (this.#tokens[this.#at++] !== ')') throw new Refusal('syntax');
      return value;
    }
    if (next === '-' || next === '+') {
      const value = this.#expression(signPrecedence, depth + 1);
      return next === '-' ? { n: -value.n, d: value.d } : value;
    }
    if (!/^\d/.test(next)) throw new Refusal('syntax');
    this.numbers.push(next);
    const [whole, decimals = ''] = next.split('.') as [string, string?];
    // Four bits hold a decimal digit and more.
    if ((whole.length + decimals.length) * 4 > this.#maxBits) throw new Refusal('too-large');
    return rational(BigInt(whole + decimals), 10n ** BigInt(decimals.length));
  }

  #apply(operator: string, a: Rational, b: Rational): Rational {
    if (operator === '^') return this.#power(a, b);
    const [n, d] =
      operator === '*'
        ? [a.n * b.n, a.d * b.d]
        : operator === '/'
          ? [a.n * b.d, a.d * b.n]
          : [operator === '+' ? a.n * b.d + b.n * a.d : a.n * b.d - b.n * a.d, a.d * b.d];
    if (d === 0n) throw new Refusal('division-by-zero');
    return this.#bounded(rational(n, d));
  }

  #power(base: Rational, exponent: Rational): Rational {
    if (exponent.d !== 1n) throw new Refusal('syntax');
    if (base.n === 0n && exponent.n < 0n) throw new Refusal('division-by-zero');
    const size = abs(exponent.n);
    const unit = base.d === 1n && abs(base.n) <= 1n;
    if (!unit && BigInt(Math.max(bits(base.n), bits(base.d)) - 4) * size > BigInt(this.#maxBits))
      throw new Refusal('too-large');
    if (size > BigInt(this.#maxBits)) {
      if (!unit) throw new Refusal('too-large');
      return base.n === -1n && size % 2n === 0n ? rational(1n) : base;
    }
    const [n, d] = [base.n ** size, base.d ** size];
    return this.#bounded(exponent.n < 0n ? rational(d, n) : rational(n, d));
  }

  #bounded(value: Rational): Rational {
    if (bits(value.n) > this.#maxBits || bits(value.d) > this.#maxBits) throw new Refusal('too-large');
    return value;
  }
}

/**
 * The exact value of an expression, or why it has none. Never throws.
 *
 * @example
 * evaluate('(3 + 1/2) * 4'); // { ok: true, value: { n: 14n, d: 1n }, numbers: ['3', '1', '2', '4'], operators: '+/*' }
 */
export function evaluate(text: string, limits: EvaluationLimits = {}): Evaluation {
  const { maxLength = 256, maxDepth = 32, maxBits = 4096 } = limits;
  if (text.length > maxLength) return { ok: false, problem: 'too-long' };
  try {
    const parser = new Parser(text, maxDepth, maxBits);
    return { ok: true, value: parser.whole(), numbers: parser.numbers, operators: parser.operators };
  } catch (error) {
    if (error instanceof Refusal) return { ok: false, problem: error.problem };
    throw error;
  }
}
