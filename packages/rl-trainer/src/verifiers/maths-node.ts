/**
 * What the grammar of answers is read into: an exact value with its normal form, and whether something is left to
 * compute; with the arithmetic that keeps track of both.
 *
 * `6*7`, `84/2`, `\sqrt{16}` and `\sqrt2\sqrt3` are open: their value has a simpler form. `3.5*10^4`, `2/3` and
 * `2\pi` are written out. What has no exact form throws `Unparsable`.
 */
import {
  add,
  asRational,
  divide,
  type Exact,
  formatExact,
  multiply,
  rational,
  rationalRoot,
  squareRoot,
} from './exact-number.ts';

const maxDigits = 1000;

/** The text is no answer that can be compared; `parseMaths` catches it. */
export class Unparsable extends Error {}

/** Gives up. */
export const fail = (): never => {
  throw new Unparsable();
};

/** The value, or gives up. */
export const must = <T>(value: T | null | undefined): T => value ?? fail();

/** A value, an infinity or a collection. */
export interface Node {
  /** Null for infinities and collections. */
  readonly value: Exact | null;
  readonly normal: string;
  readonly open: boolean;
  /** What the text was: a literal may be the numerator of a fraction or carry a power of ten. */
  readonly shape: 'integer' | 'decimal' | 'power-of-ten' | 'other';
}

/** A node with a value. */
export const numberNode = (value: Exact, open: boolean, shape: Node['shape'] = 'other'): Node => ({
  value,
  normal: formatExact(value),
  open,
  shape,
});

/** An infinity or a collection. */
export const other = (normal: string, open: boolean): Node => ({ value: null, normal, open, shape: 'other' });

/** A literal's value; `_` separates the repeating part of a decimal. */
export function literal(text: string): Exact {
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

/** A set: order and repeats do not count. */
export function setOf(elements: readonly Node[]): Node {
  const normals = [...new Set(elements.map(({ normal }) => normal))].sort();
  return other(
    `{${normals.join(', ')}}`,
    elements.some(({ open }) => open),
  );
}

/** The product; open where the factors join. */
export function product(left: Node, right: Node): Node {
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

/** The quotient; open where it is more than a fraction of two literals. */
export function quotient(left: Node, right: Node): Node {
  const [a, b] = [must(left.value), must(right.value)];
  const [x, y] = [asRational(a), asRational(b)];
  const literals = left.shape !== 'other' && right.shape !== 'other';
  const whole = x !== null && y !== null && y.n !== 0n && (x.n * y.d) % (x.d * y.n) === 0n;
  const computes = x !== null && y !== null && (!literals || whole);
  return numberNode(must(divide(a, b)), left.open || right.open || computes);
}

/** The root of a whole degree; open where it comes out. */
export function root(node: Node, degree: bigint): Node {
  const value = must(node.value);
  const found = must(degree === 2n ? squareRoot(value) : rationalRoot(value, degree));
  return numberNode(found, node.open || asRational(found) !== null);
}
