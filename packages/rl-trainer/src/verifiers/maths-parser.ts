/**
 * Parses a written mathematical answer (a subset of LaTeX, and plain text) into a normal form; equal answers have
 * equal normal forms.
 *
 * Understood: integers, decimals (also repeating), thousands separators, fractions, mixed numbers, percentages,
 * powers with whole exponents, square roots, pi, scientific notation, + - * / and brackets; `a, b` and `\{a, b\}` as
 * sets, `(a, b)` as tuple or open interval, `[a, b)` as interval, unions, infinity, `\pm`; one unit behind. A
 * precedence climber of our own; nothing is evaluated by the language. Every input is bounded: 4,096 characters,
 * 1,000 digits a number, nesting of 64, 256 elements, and the bounds of exact numbers. What is outside, or is no
 * number (variables, words), has no normal form: null.
 */
import {
  add,
  asRational,
  divide,
  type Exact,
  formatExact,
  multiply,
  negate,
  pi,
  power,
  rational,
  rationalRoot,
  shareTerms,
  squareRoot,
} from './exact-number.ts';
import { cleanMaths } from './maths-text.ts';

/** A parsed answer. */
export interface MathsValue {
  /** Equal answers have equal texts. */
  readonly normal: string;
  /** True where something is left to compute: `6*7`, `2^{10}`, `\sqrt{16}`, `84/2`. */
  readonly open: boolean;
  readonly unit: string | null;
}

/** How to read. */
export interface MathsOptions {
  /** What `50%` is: `hundredth` 1/2 (default), `plain` 50. */
  readonly percent?: 'hundredth' | 'plain';
}

const maxLength = 4096;
const maxDigits = 1000;
const maxDepth = 64;
const maxElements = 256;

class Unparsable extends Error {}
const fail = (): never => {
  throw new Unparsable();
};
const must = <T>(value: T | null | undefined): T => value ?? fail();

interface Node {
  /** Null for infinities and collections. */
  readonly value: Exact | null;
  readonly normal: string;
  readonly open: boolean;
  /** What the text was: a literal may be the numerator of a fraction or carry a power of ten. */
  readonly shape: 'integer' | 'decimal' | 'power-of-ten' | 'other';
}

const numberNode = (value: Exact, open: boolean, shape: Node['shape'] = 'other'): Node => ({
  value,
  normal: formatExact(value),
  open,
  shape,
});
const other = (normal: string, open: boolean): Node => ({ value: null, normal, open, shape: 'other' });

const token = /\s*(\\[A-Za-z]+|\\[{}]|\d+(?:\.\d*)?|\.\d+|[-+*/^()[\]{},%])/y;

class Parser {
  readonly #tokens: string[] = [];
  #at = 0;
  #depth = 0;
  readonly #percent: 'hundredth' | 'plain';

  constructor(text: string, percent: 'hundredth' | 'plain') {
    this.#percent = percent;
    this.#read(text);
  }

  /** Tokens; thousands separators are joined outside brackets, where a comma may separate elements instead. */
  #read(text: string): void {
    let at = 0;
    let brackets = 0;
    while (at < text.length) {
      const repeating = /\s*(\d*\.\d*)\\overline\s*\{(\d{1,100})\}/y;
      repeating.lastIndex = at;
      const repeated = repeating.exec(text);
      if (repeated !== null) {
        this.#tokens.push(`${repeated[1]}_${repeated[2]}`);
        at = repeating.lastIndex;
        continue;
      }
      const thousands = /\s*(\d{1,3}(?:,\d{3})+(?:\.\d+)?)(?![\d,]*\d)/y;
      thousands.lastIndex = at;
      const grouped = brackets === 0 ? thousands.exec(text) : null;
      if (grouped !== null) {
        this.#tokens.push((grouped[1] as string).replaceAll(',', ''));
        at = thousands.lastIndex;
        continue;
      }
      const scientific = /\s*(\d+(?:\.\d+)?)[eE]([-+]?\d{1,4})(?![\w.])/y;
      scientific.lastIndex = at;
      const exponent = scientific.exec(text);
      if (exponent !== null) {
        this.#tokens.push(exponent[1] as string, '*', '10', '^', '{', ...signed(exponent[2] as string), '}');
        at = scientific.lastIndex;
        continue;
      }
      token.lastIndex = at;
      const found = token.exec(text);
      if (found === null) {
        if (text.slice(at).trim() !== '') fail();
        return;
      }
      const symbol = found[1] as string;
      if (['(', '[', '\\{'].includes(symbol)) brackets++;
      if ([')', ']', '\\}'].includes(symbol)) brackets--;
      this.#tokens.push(symbol);
      at = token.lastIndex;
    }
  }

  #peek(ahead = 0): string | undefined {
    return this.#tokens[this.#at + ahead];
  }

  #take(expected?: string): string {
    const found = must(this.#peek());
    if (expected !== undefined && found !== expected) fail();
    this.#at++;
    return found;
  }

  #nested<T>(read: () => T): T {
    if (++this.#depth > maxDepth) fail();
    const result = read();
    this.#depth--;
    return result;
  }

  /** The whole text: one value, or a list that is read as a set. */
  whole(): Node {
    const elements = this.#elements();
    if (this.#peek() !== undefined) fail();
    return elements.length === 1 ? (elements[0] as Node) : setOf(elements);
  }

  #elements(): Node[] {
    const elements = [this.#union()];
    while (this.#peek() === ',') {
      this.#take();
      if (elements.length >= maxElements) fail();
      elements.push(this.#union());
    }
    return elements;
  }

  #union(): Node {
    const parts = [this.#sum()];
    while (this.#peek() === '\\cup') {
      this.#take();
      if (parts.length >= maxElements) fail();
      parts.push(this.#sum());
    }
    if (parts.length === 1) return parts[0] as Node;
    if (parts.some(({ value }) => value !== null)) fail();
    const normals = [...new Set(parts.map(({ normal }) => normal))].sort();
    return other(
      normals.join(' u '),
      parts.some(({ open }) => open),
    );
  }

  #sum(): Node {
    let left = this.#product();
    while (this.#peek() === '+' || this.#peek() === '-') {
      const minus = this.#take() === '-';
      const right = this.#product();
      const [a, b] = [must(left.value), must(right.value)];
      left = numberNode(must(add(a, minus ? negate(b) : b)), left.open || right.open || shareTerms(a, b));
    }
    return left;
  }

  #product(): Node {
    let left = this.#signed();
    for (;;) {
      const next = this.#peek();
      if (next === '*' || next === '\\cdot' || next === '\\times') {
        this.#take();
        left = product(left, this.#signed());
      } else if (next === '/' || next === '\\div') {
        this.#take();
        left = quotient(left, this.#signed());
      } else if (next === '(' || next === '\\sqrt' || next === '\\pi' || next === '\\frac') {
        if (left.value === null) fail();
        left = product(left, this.#raised());
      } else return left;
    }
  }

  #signed(): Node {
    let minus = false;
    let signs = 0;
    while (this.#peek() === '+' || this.#peek() === '-') {
      if (++signs > 1) fail();
      minus = this.#take() === '-';
    }
    const node = this.#mixed();
    if (!minus) return node;
    if (node.value === null) return node.normal === 'inf' ? other('-inf', node.open) : fail();
    return numberNode(negate(node.value), node.open, node.shape);
  }

  /** `1\frac{1}{2}` and `1 1/2`: a whole number and a proper fraction. */
  #mixed(): Node {
    const start = this.#at;
    const whole = this.#peek();
    if (whole !== undefined && /^\d+$/.test(whole)) {
      this.#take();
      const latex = this.#peek() === '\\frac';
      const plain = this.#peek(1) === '/' && [0, 2].every((i) => /^\d+$/.test(this.#peek(i) ?? ''));
      if (latex || plain) {
        const fraction = latex ? this.#raised() : this.#plainFraction();
        const value = fraction.value && asRational(fraction.value);
        if (value != null && value.n > 0n && value.n < value.d && !fraction.open)
          return numberNode(must(add(literal(whole), fraction.value as Exact)), false);
        if (plain) fail();
      }
      this.#at = start;
    }
    return this.#raised();
  }

  #plainFraction(): Node {
    const numerator = this.#raised();
    this.#take('/');
    return quotient(numerator, this.#raised());
  }

  #raised(): Node {
    let base = this.#primary();
    if (this.#peek() === '^') {
      this.#take();
      const exponent = this.#nested(() =>
        this.#peek() === '{' ? this.#group() : this.#peek() === '-' ? this.#signed() : this.#raised(),
      );
      const of = must(asRational(must(exponent.value)));
      const value = must(base.value);
      if (of.d === 2n && of.n === 1n) base = root(base, 2n);
      else if (of.d !== 1n) fail();
      else {
        const ten = base.normal === '10' && base.shape === 'integer';
        base = numberNode(must(power(value, of.n)), true, ten ? 'power-of-ten' : 'other');
      }
    }
    if (this.#peek() === '%') {
      this.#take();
      if (this.#percent === 'hundredth')
        base = numberNode(must(divide(must(base.value), must(rational(100n)))), base.open);
      else if (base.value === null) fail();
    }
    return base;
  }

  /** `{...}`: grouping only. */
  #group(): Node {
    return this.#nested(() => {
      this.#take('{');
      const inside = this.#sum();
      this.#take('}');
      return inside;
    });
  }

  /** The argument of a command: a group, or what LaTeX would take, one digit or command. */
  #argument(): Node {
    const next = must(this.#peek());
    if (next === '{') return this.#group();
    if (/^\d/.test(next)) {
      this.#tokens[this.#at] = next.slice(1);
      if (next.length === 1) this.#take();
      return numberNode(literal(next[0] as string), false, 'integer');
    }
    return next === '\\pi' ? this.#primary() : fail();
  }

  #primary(): Node {
    const next = this.#take();
    if (/^[\d.]/.test(next))
      return numberNode(literal(next), false, /^\d+$/.test(next) ? 'integer' : 'decimal');
    if (next === '\\pi') return numberNode(pi, false);
    if (next === '\\infty') return other('inf', false);
    if (next === '\\frac') return this.#nested(() => quotient(this.#argument(), this.#argument()));
    if (next === '\\sqrt') return this.#nested(() => this.#squareRoot());
    if (next === '{') {
      this.#at--;
      return this.#group();
    }
    if (next === '(' || next === '[' || next === '\\{') return this.#nested(() => this.#bracket(next));
    return fail();
  }

  #squareRoot(): Node {
    if (this.#peek() === '[') {
      this.#take();
      const degree = must(asRational(must(this.#sum().value)));
      this.#take(']');
      return degree.d === 1n ? root(this.#argument(), degree.n) : fail();
    }
    if (this.#peek() === '(') {
      this.#take();
      const inside = this.#sum();
      this.#take(')');
      return root(inside, 2n);
    }
    // In plain text `sqrt 12` means all of 12, as against LaTeX's one digit.
    return root(/^\d/.test(this.#peek() ?? '') ? this.#primary() : this.#argument(), 2n);
  }

  #bracket(left: string): Node {
    if (left === '\\{' && this.#peek() === '\\}') {
      this.#take();
      return other('{}', false);
    }
    const elements = this.#elements();
    const right = this.#take();
    const open = elements.some((element) => element.open);
    if (left === '\\{') return right === '\\}' ? setOf(elements) : fail();
    if (right !== ')' && right !== ']') fail();
    if (elements.length === 1) {
      const [only] = elements as [Node];
      // A value in parentheses is no literal any more, but nothing to compute either.
      if (left === '(' && right === ')')
        return only.value === null ? only : numberNode(only.value, only.open);
      return left === '[' && right === ']' ? other(`[${only.normal}]`, open) : fail();
    }
    const inner = elements.map((element) => element.normal).join(', ');
    if (left === '[' && right === ']' && elements.length > 2) return other(`[${inner}]`, open);
    if (elements.length > 2 && (left !== '(' || right !== ')')) fail();
    return other(`${left}${inner}${right}`, open);
  }
}

const signed = (text: string): string[] =>
  text.startsWith('-') || text.startsWith('+') ? [text[0] as string, text.slice(1)] : [text];

/** A literal's value; `_` separates the repeating part of a decimal. */
function literal(text: string): Exact {
  const [plain, repeating = ''] = text.split('_') as [string, string?];
  const [whole, decimals = ''] = plain.split('.') as [string, string?];
  if (whole.length + decimals.length + repeating.length > maxDigits || whole + decimals + repeating === '')
    fail();
  const scale = 10n ** BigInt(decimals.length);
  const value = must(rational(BigInt(`${whole}${decimals}` || '0'), scale));
  if (repeating === '') return value;
  const nines = 10n ** BigInt(repeating.length) - 1n;
  return must(add(value, must(rational(BigInt(repeating), nines * scale))));
}

function setOf(elements: readonly Node[]): Node {
  const normals = [...new Set(elements.map(({ normal }) => normal))].sort();
  return other(
    `{${normals.join(', ')}}`,
    elements.some(({ open }) => open),
  );
}

function product(left: Node, right: Node): Node {
  const [a, b] = [must(left.value), must(right.value)];
  const scientific = (left.shape === 'integer' || left.shape === 'decimal') && right.shape === 'power-of-ten';
  const plain = asRational(a) !== null || asRational(b) !== null;
  const bothPlain = asRational(a) !== null && asRational(b) !== null;
  return numberNode(
    must(multiply(a, b)),
    !scientific && (left.open || right.open || bothPlain || (!plain && sameKind(a, b))),
  );
}

/** True for products that join: two roots, or two powers of pi. */
function sameKind(a: Exact, b: Exact): boolean {
  const keys = (value: Exact) => [...value.keys()];
  const rooted = (value: Exact) => keys(value).some((key) => !key.endsWith(':1'));
  const round = (value: Exact) => keys(value).some((key) => !key.startsWith('0:'));
  return (rooted(a) && rooted(b)) || (round(a) && round(b));
}

function quotient(left: Node, right: Node): Node {
  const [a, b] = [must(left.value), must(right.value)];
  const [x, y] = [asRational(a), asRational(b)];
  const literals = left.shape !== 'other' && right.shape !== 'other';
  const whole = x !== null && y !== null && y.n !== 0n && (x.n * y.d) % (x.d * y.n) === 0n;
  const computes = x !== null && y !== null && (!literals || whole);
  return numberNode(must(divide(a, b)), left.open || right.open || computes);
}

function root(node: Node, degree: bigint): Node {
  const value = must(node.value);
  const found = must(degree === 2n ? squareRoot(value) : rationalRoot(value, degree));
  return numberNode(found, node.open || asRational(found) !== null);
}

/**
 * Reads an answer, null where it is none that can be compared.
 *
 * @example
 * parseMaths('\\frac{1}{2}')?.normal === parseMaths('0.5')?.normal; // true
 */
export function parseMaths(written: string, options: MathsOptions = {}): MathsValue | null {
  if (written.length > maxLength) return null;
  const clean = cleanMaths(written);
  if (clean === null || clean.text === '') return null;
  const { percent = 'hundredth' } = options;
  try {
    const signs = clean.text.split(/\\pm(?![A-Za-z])/);
    if (signs.length > 2) return null;
    const nodes =
      signs.length === 1
        ? [new Parser(clean.text, percent).whole()]
        : ['+', '-'].map((sign) => new Parser(signs.join(sign), percent).whole());
    if (signs.length === 2 && nodes.some(({ value }) => value === null)) return null;
    const node = nodes.length === 1 ? (nodes[0] as Node) : setOf(nodes);
    if (node.normal.includes('inf') && !/[([]/.test(node.normal)) return null;
    return { normal: node.normal, open: node.open, unit: clean.unit };
  } catch (problem) {
    if (problem instanceof Unparsable) return null;
    throw problem;
  }
}
