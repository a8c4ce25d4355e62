/**
 * A trace: a model's completion of a problem, cut into thought and visible answer, and the thought into its parts.
 *
 * A thought is a derivation (lines of evidence), tries (`try <candidate>`, evidence, `right` or `wrong`) and a result
 * (`so <answer>`), with step words of either language; anything else a model writes is a line of evidence too, and
 * `evidence.ts` says whether it is one.
 */
import { type FactsOf, type FamilyName, family, type Language, type Problem } from '@minke/reasoning-tasks';
import { splitThought } from '@minke/tokenizer-merging/chat';
import { afterWord, isTry, spellings } from './step-words.ts';

/** A completion of a problem. */
export interface Trace {
  readonly problem: Problem;
  /** Everything after the prompt, which ends in an opened thought. */
  readonly completion: string;
  readonly thought: string;
  /** What follows the thought; empty where it never ends. */
  readonly visible: string;
}

/** A candidate that is tried. */
export interface Try {
  /** As written. */
  readonly candidate: string;
  readonly evidence: readonly string[];
  /** Null where the try ends without a verdict. */
  readonly verdict: 'right' | 'wrong' | null;
}

/** A thought in parts. */
export interface ThoughtParts {
  readonly derivation: readonly string[];
  readonly tries: readonly Try[];
  /** The first `so <answer>`; null where there is none. */
  readonly result: string | null;
}

/** Cuts a completion. */
export function traceOf(problem: Problem, completion: string): Trace {
  const { thought, answer } = splitThought(completion);
  return thought === undefined
    ? { problem, completion, thought: completion.trim(), visible: '' }
    : { problem, completion, thought: thought.trim(), visible: answer.trim() };
}

/** The completion of a row, as a model would have written it. */
export function completionOf({
  reasoning,
  answer,
}: {
  readonly reasoning: string;
  readonly answer: string;
}): string {
  return `${reasoning}\n</think>\n\n${answer}`;
}

/** The language a trace should be in. */
export function languageOf({ problem }: Trace): Language {
  return problem.language ?? 'en';
}

const right = spellings('right');
const wrong = spellings('wrong');
const so = spellings('so');

/** The parts of a thought. What follows the result, or a verdict before the next try, is left out. */
export function partsOf(thought: string): ThoughtParts {
  const derivation: string[] = [];
  const tries: { candidate: string; evidence: string[]; verdict: Try['verdict'] }[] = [];
  for (const line of thought.split('\n').map((text) => text.trim())) {
    if (line === '') continue;
    if (so.some((word) => line.startsWith(`${word} `))) return { derivation, tries, result: afterWord(line) };
    const open = tries.at(-1);
    if (isTry(line)) tries.push({ candidate: afterWord(line), evidence: [], verdict: null });
    else if (open === undefined) derivation.push(line);
    else if (open.verdict === null) {
      if (right.includes(line)) open.verdict = 'right';
      else if (wrong.includes(line)) open.verdict = 'wrong';
      else open.evidence.push(line);
    }
  }
  return { derivation, tries, result: null };
}

/** The normal form of a stated candidate, or null where it is none. */
export function readCandidate(problem: Problem, candidate: string): string | null {
  return readAs(problem.family, problem, candidate);
}

function readAs<Name extends FamilyName>(name: Name, problem: Problem, candidate: string): string | null {
  return family(name).reasoning.read(candidate, problem.metadata as FactsOf[Name]);
}

/** A normal form in words of the question's language. */
export function shownAnswer(problem: Problem, normal: string): string {
  return family(problem.family).reasoning.show?.(normal, problem.language ?? 'en') ?? normal;
}
