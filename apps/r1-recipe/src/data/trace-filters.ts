/**
 * What a trace must be to be learnt from: well-formed, right, in one language, without repeated tries, honest about its
 * tries, and not too long. Shared by the cold start and by rejection sampling.
 *
 * The first two are DeepSeek-R1's, with its filter for mixed languages (https://arxiv.org/abs/2501.12948, section
 * 2.3.3). That a model's own verdicts be right is our addition: an outcome reward alone leaves them unsupervised.
 */
import { languageConsistency, verdictsOf, verify } from '@minke/reasoning-tasks';
import { hasFormat } from '@minke/rl-trainer';
import { languageOf, partsOf, readCandidate, type Trace } from './trace.ts';

/** Why a trace is not kept, in a few words that a histogram counts by; null where nothing is wrong. */
export type TraceFilter = (trace: Trace) => string | null;

/** A thought that is not blank, its end, an answer. */
export const wellFormed: TraceFilter = ({ completion }) => (hasFormat(completion) ? null : 'bad format');

/** The verifier finds the answer right. */
export const right: TraceFilter = ({ problem, completion }) =>
  verify(problem, completion).score === 1 ? null : 'wrong answer';

const sentences = {
  en: /\b(?:The answer is|I do not know)\b/,
  es: /\b(?:La respuesta es|No lo sé)/,
} as const;

/** Every step word, and the visible answer, are in the question's language. */
export const oneLanguage: TraceFilter = (trace) => {
  const language = languageOf(trace);
  const foreign = language === 'en' ? 'es' : 'en';
  const consistent = (languageConsistency(trace.thought, language) ?? 1) === 1;
  return consistent && !sentences[foreign].test(trace.visible) ? null : 'mixed languages';
};

/** No candidate is tried twice, however it is written. */
export const noRepeatedTries: TraceFilter = ({ problem, thought }) => {
  const tried = partsOf(thought).tries.map(({ candidate }) => readCandidate(problem, candidate) ?? candidate);
  return new Set(tried).size === tried.length ? null : 'repeated try';
};

/** Each of its verdicts can be judged and is true. */
export const ownVerdictsRight: TraceFilter = ({ problem, thought }) =>
  verdictsOf(problem, thought).every(({ holds }) => holds === true) ? null : 'false verdict';

/** A filter of length, in characters of the whole completion. */
export function atMost(characters: number): TraceFilter {
  return ({ completion }) => (completion.length <= characters ? null : 'too long');
}

/** Longest completion that the recipe's filters let through: about 150 tokens. */
export const longestTrace = 360;

/** All of them, in the order in which reasons are counted. */
export const traceFilters: readonly TraceFilter[] = [
  wellFormed,
  right,
  oneLanguage,
  noRepeatedTries,
  ownVerdictsRight,
  atMost(longestTrace),
];

/** The first reason against a trace, or null. */
export function reasonAgainst(trace: Trace, filters: readonly TraceFilter[] = traceFilters): string | null {
  for (const filter of filters) {
    const reason = filter(trace);
    if (reason !== null) return reason;
  }
  return null;
}
