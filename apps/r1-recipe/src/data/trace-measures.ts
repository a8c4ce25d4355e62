/**
 * What a set of traces is like: how diverse, how readable, how honest. Measured before and after curation.
 */
import { languageConsistency, verdictsOf } from '@minke/reasoning-tasks';
import { checkLines, derivationLines, judgeLine } from './evidence.ts';
import { inLanguage } from './step-words.ts';
import { languageOf, partsOf, readCandidate, type Trace } from './trace.ts';

/** Measures of traces; shares are in [0, 1], and null where nothing could be counted. */
export interface TraceMeasures {
  readonly traces: number;
  /**
   * Different n-grams of words, digits and signs, divided by all, for n 1, 2, 3: within each hundred traces, mean, so
   * that sets of different sizes compare.
   */
  readonly distinct: readonly [number | null, number | null, number | null];
  /** Tries in a trace, of traces with tries. */
  readonly triesPerTrace: number | null;
  /** Different candidates among the tries of a trace, mean over traces with tries. */
  readonly distinctTries: number | null;
  /** Step words in the question's language, mean over traces with step words. */
  readonly languageConsistency: number | null;
  /** Lines of evidence that are true, and lines that are statements at all. */
  readonly trueLines: number | null;
  readonly knownLines: number | null;
  /** Own verdicts that are true, of those that can be judged. */
  readonly verdictsRight: number | null;
  readonly verdicts: number;
  /** Characters of a thought, mean. */
  readonly thoughtLength: number | null;
}

const mean = (values: readonly number[]) =>
  values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;

const share = (part: number, all: number) => (all === 0 ? null : part / all);

/** Traces among which n-grams are counted together. */
const window = 100;

/** Different n-grams over all, mean over full windows, or over what there is. */
function distinctNGrams(pieces: readonly (readonly string[])[], n: number): number | null {
  const shares: number[] = [];
  for (let from = 0; from === 0 || from + window <= pieces.length; from += window) {
    const grams = pieces
      .slice(from, from + window)
      .flatMap((own) => own.slice(n - 1).map((_, at) => own.slice(at, at + n).join(' ')));
    if (grams.length > 0) shares.push(new Set(grams).size / grams.length);
  }
  return mean(shares);
}

/** Measures a set of traces. */
export function measureTraces(traces: readonly Trace[]): TraceMeasures {
  const pieces = traces.map(({ thought }) => thought.match(/\p{L}+|\d|[^\s\p{L}\d]/gu) ?? []);
  const tries: number[] = [];
  const different: number[] = [];
  const consistency: number[] = [];
  const kinds = { true: 0, false: 0, broken: 0 };
  let [verdicts, verdictsRight] = [0, 0];
  for (const trace of traces) {
    const { problem, thought } = trace;
    const parts = partsOf(inLanguage(thought, 'en'));
    if (parts.tries.length > 0) {
      const tried = parts.tries.map(({ candidate }) => readCandidate(problem, candidate) ?? candidate);
      tries.push(tried.length);
      different.push(new Set(tried).size / tried.length);
    }
    const language = languageConsistency(thought, languageOf(trace));
    if (language !== null) consistency.push(language);
    const steps = new Set(derivationLines(problem));
    for (const line of parts.derivation) kinds[judgeLine(line, steps)]++;
    for (const { candidate, evidence } of parts.tries) {
      const normal = readCandidate(problem, candidate);
      const check = new Set(normal === null ? [] : checkLines(problem, normal));
      for (const line of evidence) kinds[judgeLine(line, check)]++;
    }
    for (const { holds } of verdictsOf(problem, thought)) {
      if (holds === null) continue;
      verdicts++;
      if (holds) verdictsRight++;
    }
  }
  const lines = kinds.true + kinds.false + kinds.broken;
  return {
    traces: traces.length,
    distinct: [distinctNGrams(pieces, 1), distinctNGrams(pieces, 2), distinctNGrams(pieces, 3)],
    triesPerTrace: mean(tries),
    distinctTries: mean(different),
    languageConsistency: mean(consistency),
    trueLines: share(kinds.true, lines),
    knownLines: share(kinds.true + kinds.false, lines),
    verdictsRight: share(verdictsRight, verdicts),
    verdicts,
    thoughtLength: mean(traces.map(({ thought }) => thought.length)),
  };
}
