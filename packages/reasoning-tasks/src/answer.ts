/**
 * Verifiers: does a completion answer its problem?
 *
 * Only the part after the one `</think>` counts. The answer has to be stated, once, at the end of it: in the last
 * `\boxed{}`, else after `answer is` / `answer:`, else after the last `=`, else as the whole text. Integers are
 * compared exactly as bigints; nothing is evaluated. Several statements that differ count as no answer, so that
 * naming many numbers cannot score. Stricter than math-verify (https://github.com/huggingface/Math-Verify): no
 * expressions, no units, no "last number anywhere".
 *
 * A missing answer scores 0. `null` means that the verifier cannot judge because the problem has no well-formed
 * gold answer; leave such rows out of averages and rewards instead of counting them as wrong.
 */
import type { FamilyName } from './problem.ts';

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

/** The stated answers of a visible text, in the form that ranks first. */
function statements(visible: string): string[] {
  const boxed = [...visible.matchAll(/\\boxed\{([^{}]*)\}/g)].map((match) => match[1] as string);
  if (boxed.length > 0) return boxed;
  const marked = visible.split(/\banswer(?: is)?:?\**\s+(?=\S)/i).slice(1);
  if (marked.length > 0) return marked;
  return [visible.slice(visible.lastIndexOf('=') + 1)];
}

/**
 * Judges a visible answer, that is a completion without its thought (what an API calls `content`).
 *
 * @example
 * verifyAnswer({ family: 'chain_sum', answer: '1325' }, '348 + 977 = 1325').score; // 1
 */
export function verifyAnswer(problem: Answerable, visible: string): Verdict {
  const stated = statements(visible).map((text) => normalForm(problem.family, text));
  const extracted =
    stated[0] !== null && stated.every((text) => text === stated[0]) ? (stated[0] ?? null) : null;
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
