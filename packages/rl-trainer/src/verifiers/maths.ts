/**
 * The maths verifier: is the stated answer equal to the gold answer, exactly?
 *
 * What math-verify (https://github.com/huggingface/Math-Verify) does with sympy, for the answers that occur in RL
 * sets and without its time-outs: both sides get a normal form over exact numbers, and equal means equal, so 0.333 is
 * not 1/3. Nothing is ever evaluated as code. A gold answer that cannot be read gives null.
 *
 * `strict` reads boxes or answer tags only, takes no answer from statements that differ, and no answer that leaves
 * something to compute, unless the gold answer does too: else "6*7" would answer "what is 6*7". `lenient` looks
 * where a reader would, down to the last number, and lets a percent sign be there or not.
 */
import { type MathsOptions, type MathsValue, parseMaths } from './maths-parser.ts';
import { boxedContents, lastNumber, statedAnswers } from './stated-answer.ts';
import type { AnswerVerifier, Mode, Verdict } from './verdict.ts';

/** How strictly to read. */
export interface MathsVerifierOptions {
  /** Default `strict`. */
  readonly mode?: Mode;
}

/**
 * Makes a maths verifier.
 *
 * @example
 * mathVerifier()('So \\boxed{0.5}.', '\\frac12'); // { score: 1, extracted: '1/2' }
 */
export function mathVerifier(options: MathsVerifierOptions = {}): (visible: string, gold: string) => Verdict {
  const { mode = 'strict' } = options;
  return (visible, gold) => verifyMaths(visible, gold, mode);
}

function verifyMaths(visible: string, goldText: string, mode: Mode): Verdict {
  const goldStated = boxedContents(goldText).at(-1) ?? goldText;
  const gold = parseMaths(goldStated);
  const stated =
    gold !== null && !gold.open ? closed(readAnswer(visible, mode), mode) : readAnswer(visible, mode);
  const extracted = stated?.value.normal ?? null;
  if (gold === null) return { score: null, extracted };
  if (stated === null) return { score: 0, extracted: null };
  if (agree(stated.value, gold)) return { score: 1, extracted };
  if (mode === 'strict' || !`${goldStated}${stated.text}`.includes('%')) return { score: 0, extracted };
  const plain: MathsOptions = { percent: 'plain' };
  const [ours, theirs] = [parseMaths(stated.text, plain), parseMaths(goldStated, plain)];
  return { score: ours !== null && theirs !== null && agree(ours, theirs) ? 1 : 0, extracted };
}

interface Stated {
  readonly text: string;
  readonly value: MathsValue;
}

const closed = (stated: Stated | null, mode: Mode) =>
  mode === 'strict' && stated?.value.open ? null : stated;

function agree(a: MathsValue, b: MathsValue): boolean {
  return a.normal === b.normal && (a.unit === null || b.unit === null || a.unit === b.unit);
}

function readAnswer(visible: string, mode: Mode): Stated | null {
  const texts = statedAnswers(visible, mode);
  if (mode === 'lenient') {
    for (const text of [...texts, lastNumber(visible) ?? '']) {
      const value = parseMaths(text);
      if (value !== null) return { text, value };
    }
    return null;
  }
  let first: Stated | null = null;
  for (const text of texts) {
    const value = parseMaths(text);
    if (value === null) return null;
    if (first === null) first = { text, value };
    else if (!agree(first.value, value)) return null;
  }
  return first;
}

/**
 * Do two bare answers (no text around them) agree? Null where either cannot be read.
 *
 * @example
 * mathsEqual('\\sqrt{8}', '2\\sqrt{2}'); // true
 */
export function mathsEqual(a: string, b: string): boolean | null {
  const [x, y] = [parseMaths(a), parseMaths(b)];
  return x === null || y === null ? null : agree(x, y);
}

/** The final answer of a GSM8K solution. */
const afterHashes = /####[ \t]*([^\n]*)/g;
const plainNumber = /^[-+]?(?:\d{1,3}(?:,\d{3})+|\d{1,1000})(?:\.\d{0,1000})?$/;

/**
 * The verifier of GSM8K (https://arxiv.org/abs/2110.14168): the number after `####`, commas, `$` and a closing dot
 * taken off. `strict` needs one `####` line; `lenient` takes the last one and, where there is none, the last number
 * of the text. Report both: much of a "gain" can be format. A gold answer is a solution with `####`, or a number.
 *
 * @example
 * gsm8kVerifier()('20 + 22 = 42\n#### 42', '#### 42').score; // 1
 */
export function gsm8kVerifier(options: MathsVerifierOptions = {}): AnswerVerifier {
  const { mode = 'strict' } = options;
  const number = (text: string): string | null => {
    const bare = text
      .slice(0, 2100)
      .trim()
      .replace(/\.$/, '')
      .replace(/^([-+]?)\$/, '$1');
    return plainNumber.test(bare) ? (parseMaths(bare)?.normal ?? null) : null;
  };
  return (visible, goldText) => {
    const hashed = [...visible.matchAll(afterHashes)].map((match) => match[1] as string);
    const text =
      mode === 'strict'
        ? hashed.length === 1
          ? (hashed[0] as string)
          : null
        : (hashed.at(-1) ?? lastNumber(visible));
    const extracted = text === null ? null : number(text);
    const gold = number([...goldText.matchAll(afterHashes)].at(-1)?.[1] ?? goldText);
    return { score: gold === null ? null : extracted === gold ? 1 : 0, extracted };
  };
}
