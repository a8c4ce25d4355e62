/**
 * Parses a written mathematical answer (a subset of LaTeX, and plain text) into a normal form; equal answers have
 * equal normal forms.
 *
 * Understood: integers, decimals (also repeating), thousands separators, fractions, mixed numbers, percentages,
 * powers with whole exponents, square roots, pi, scientific notation, + - * / and brackets; `a, b` and `\{a, b\}` as
 * sets, `(a, b)` as tuple or open interval, `[a, b)` as interval, unions, infinity, `\pm`; one unit behind. Nothing is
 * evaluated by the language. Every input is bounded: 4,096 characters, 1,000 digits a number, nesting of 64, 256
 * elements, and the bounds of exact numbers. What is outside, or is no number (variables, words), has no normal form:
 * null.
 */
import { readAnswer } from './maths-grammar.ts';
import { type Node, setOf, Unparsable } from './maths-node.ts';
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
        ? [readAnswer(clean.text, percent)]
        : ['+', '-'].map((sign) => readAnswer(signs.join(sign), percent));
    if (signs.length === 2 && nodes.some(({ value }) => value === null)) return null;
    const node = nodes.length === 1 ? (nodes[0] as Node) : setOf(nodes);
    if (node.normal.includes('inf') && !/[([]/.test(node.normal)) return null;
    return { normal: node.normal, open: node.open, unit: clean.unit };
  } catch (problem) {
    if (problem instanceof Unparsable) return null;
    throw problem;
  }
}
