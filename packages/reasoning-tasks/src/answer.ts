/**
 * Verifiers: does a completion answer its problem?
 *
 * Only the part after the one `</think>` counts. The answer has to be stated, once, at the end of it: in the last
 * `\boxed{}`, else after `answer is` / `answer:` / `respuesta es`, else after the last `=`, else as the whole text.
 * Several statements that differ count as no answer, so that naming many numbers cannot score. Integers are compared
 * exactly as bigints. Families with more than one right answer (countdown, signed sums, factorizations, coins,
 * paths ...) accept each of them: expressions are evaluated exactly by a bounded parser of our own, never `eval`.
 * Stricter than math-verify (https://github.com/huggingface/Math-Verify): no units, no "last number anywhere".
 *
 * A missing answer scores 0, and so does one that breaks a bound of length, nesting or size. `null` means that the
 * verifier cannot judge because the problem lacks what it needs: a well-formed gold answer, or its facts where
 * several answers may be right. Leave such rows out of averages and rewards instead of counting them as wrong.
 */
import { family, familyNames } from './families.ts';
import type { FactsOf, FamilyName } from './problem.ts';
import { isRight } from './reasoning.ts';

/** What a verifier found: 1 right, 0 wrong or nothing found, null cannot be judged. */
export interface Verdict {
  readonly score: 1 | 0 | null;
  /** The answer read from the completion in normal form, or null where none was found. */
  readonly extracted: string | null;
}

/** What a verifier needs to know of a problem; every `Problem` is one. */
export interface Answerable {
  readonly family: FamilyName;
  readonly answer?: string | null | undefined;
  /** The facts; without them only the gold answer itself is known to be right. */
  readonly metadata?: unknown;
}

const integer = /^[-+]?(?:\d{1,64}|\d{1,3}(?:,\d{3})+)$/;
const plainInteger = /^[-+]?\d{1,64}$/;

function normalInteger(text: string, pattern: RegExp): string | null {
  return pattern.test(text) ? BigInt(text.replaceAll(',', '').replace(/^\+/, '')).toString() : null;
}

/** A list keeps its order: `12, 45, 300`, also in brackets or with spaces only. */
function normalList(text: string): string | null {
  const inner = /^\[[^[\]]*\]$/.test(text) ? text.slice(1, -1).trim() : text;
  const items = inner.split(/\s*,\s*|\s+/).map((item) => normalInteger(item, plainInteger));
  return items.every((item) => item !== null) ? items.join(', ') : null;
}

function normalForm(family: FamilyName, text: string): string | null {
  const bare = text
    .replaceAll('\u2212', '-')
    .replaceAll(/\*\*|[$`]/g, '')
    .trim()
    .replace(/[.!]$/, '')
    .trim();
  return family === 'number_sorting' ? normalList(bare) : normalInteger(bare, integer);
}

/** The stated answers of a visible text after a mark, or null where it has none. */
function marked(visible: string, box: RegExp): string[] | null {
  const boxed = [...visible.matchAll(box)].map((match) => match[1] as string);
  if (boxed.length > 0) return boxed;
  const stated = visible.split(/\b(?:answer(?: is)?|respuesta(?: es)?):?\**\s+(?=\S)/i).slice(1);
  return stated.length > 0 ? stated : null;
}

/** What all statements agree on. */
function agreed(stated: readonly (string | null)[]): string | null {
  return stated.every((text) => text === stated[0]) ? (stated[0] ?? null) : null;
}

/** No right answer of any family comes near these. */
const longestVisible = 8_000;
const longestStatement = 400;

function verifyByFacts(problem: Answerable, visible: string): Verdict {
  const { reasoning } = family(problem.family);
  const facts = problem.metadata as FactsOf[FamilyName];
  const read = (text: string) => {
    if (text.length > longestStatement) return null;
    // Marks of emphasis and formulas around the answer; inside it `**` and `*` are operators.
    const bare = text.trim().replace(/^(?:\*\*|[$`])+|(?:\*\*|[$`])+(?=[.!]?$)/g, '');
    return reasoning.read(bare.trim().replace(/[.!]$/, '').trim(), facts as never);
  };
  let extracted: string | null = null;
  try {
    if (visible.length <= longestVisible)
      extracted = agreed((marked(visible, /\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}/g) ?? [visible]).map(read));
    if (typeof facts === 'object' && facts !== null) {
      const right = (normal: string | null) => normal !== null && isRight(reasoning, facts as never, normal);
      // A row whose facts give no answer, or reject the stated one, contradicts itself.
      if (!right(read(problem.answer ?? reasoning.answer(facts as never)))) return { score: null, extracted };
      return { score: right(extracted) ? 1 : 0, extracted };
    }
  } catch {
    // Facts come from files; ones that do not belong to the family make any of its functions fail.
    return { score: null, extracted };
  }
  const gold = typeof problem.answer === 'string' ? read(problem.answer) : null;
  if (gold !== null && extracted === gold) return { score: 1, extracted };
  return { score: gold === null || reasoning.accepts !== undefined ? null : 0, extracted };
}

/**
 * Judges a visible answer, that is a completion without its thought (what an API calls `content`).
 *
 * @example
 * verifyAnswer({ family: 'chain_sum', answer: '1325' }, '348 + 977 = 1325').score; // 1
 * verifyAnswer(countdownProblem, 'The answer is (7 + 3) * 5.').score; // any expression that makes the target
 */
export function verifyAnswer(problem: Answerable, visible: string): Verdict {
  if (!(familyNames as readonly string[]).includes(problem.family)) return verifyByFacts(problem, visible);
  const stated = marked(visible, /\\boxed\{([^{}]*)\}/g) ?? [visible.slice(visible.lastIndexOf('=') + 1)];
  const extracted = agreed(stated.map((text) => normalForm(problem.family, text)));
  const gold = typeof problem.answer === 'string' ? normalForm(problem.family, problem.answer) : null;
  if (gold === null) return { score: null, extracted };
  return { score: extracted === gold ? 1 : 0, extracted };
}

/**
 * Judges a whole completion: a thought, `</think>`, then the visible answer. A completion without `</think>`
 * (cut off while thinking) or with more than one has no answer.
 *
 * @example
 * verify(problem, `${chainOfThought(problem)}\n</think>\nThe answer is ${problem.answer}.`).score; // 1
 */
export function verify(problem: Answerable, completion: string): Verdict {
  const parts = completion.split('</think>');
  if (parts.length === 2) return verifyAnswer(problem, parts[1] as string);
  const { score } = verifyAnswer(problem, '');
  return { score, extracted: null };
}
