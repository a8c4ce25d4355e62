/**
 * The grammar of answers, a precedence climber: lists, unions, sums, products (also without a sign), signs, mixed
 * numbers, powers and percent, then numbers, roots, fractions and brackets.
 */
import {
  add,
  asRational,
  divide,
  type Exact,
  negate,
  pi,
  power,
  rational,
  shareTerms,
} from './exact-number.ts';
import {
  fail,
  literal,
  must,
  type Node,
  numberNode,
  other,
  product,
  quotient,
  root,
  setOf,
} from './maths-node.ts';
import { readTokens } from './maths-tokens.ts';

const maxDepth = 64;
const maxElements = 256;

class Parser {
  readonly #tokens: string[];
  #at = 0;
  #depth = 0;
  readonly #percent: 'hundredth' | 'plain';

  constructor(text: string, percent: 'hundredth' | 'plain') {
    this.#percent = percent;
    this.#tokens = readTokens(text);
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

/**
 * Reads a whole text: one value, or a list that is read as a set.
 *
 * @throws Unparsable where it is none
 */
export const readAnswer = (text: string, percent: 'hundredth' | 'plain'): Node =>
  new Parser(text, percent).whole();
