/**
 * The refiner: rewrites a right but untidy trace into a readable one, by rules. It stands for the people and the model
 * that rewrote R1-Zero's traces for the cold start (DeepSeek-R1, https://arxiv.org/abs/2501.12948, section 2.3.1).
 *
 * It puts every step word into the question's language, leaves out repeated tries, repeated and broken lines and what
 * follows the result, and ends in a summary sentence with the trace's own answer. It never writes evidence: a trace
 * with a false line, a false verdict, or a right try without evidence is dropped, and so is one whose result is not its
 * answer.
 */
import { answerSentence, type Problem, verdictsOf, verify } from '@minke/reasoning-tasks';
import { checkLines, derivationLines, judgeLine } from './evidence.ts';
import { inLanguage, spellings } from './step-words.ts';
import { languageOf, partsOf, readCandidate, shownAnswer, type Trace, type Try } from './trace.ts';

/** A rewritten trace, or why there is none. */
export type Refined = { readonly reasoning: string; readonly answer: string } | { readonly reason: string };

/** Keeps true lines, each as often as the family would write it and at least once; null where one is false. */
function trueLines(lines: readonly string[], written: readonly string[]): string[] | null {
  const known = new Set(written);
  const left = new Map<string, number>();
  for (const line of written) left.set(line, (left.get(line) ?? 0) + 1);
  const kept: string[] = [];
  for (const line of lines) {
    const kind = judgeLine(line, known);
    if (kind === 'false') return null;
    const more = left.get(line) ?? 1;
    if (kind === 'broken' || more === 0) continue;
    left.set(line, more - 1);
    kept.push(line);
  }
  return kept;
}

interface KeptTry extends Try {
  readonly normal: string;
}

/** Complete tries of readable candidates, each once; null where their evidence is false. */
function keptTries(problem: Problem, tries: readonly Try[]): KeptTry[] | null {
  const kept = new Map<string, KeptTry>();
  for (const one of tries) {
    const normal = readCandidate(problem, one.candidate);
    if (normal === null || one.verdict === null) continue;
    const evidence = trueLines(one.evidence, checkLines(problem, normal));
    if (evidence === null) return null;
    const supported = evidence.length > 0 || one.verdict === 'right';
    if (supported && !kept.has(normal)) kept.set(normal, { ...one, evidence, normal });
    if (one.verdict === 'right') break;
  }
  return [...kept.values()];
}

/**
 * Rewrites a trace that the verifier finds right and that is well-formed.
 *
 * @example
 * refineTrace(traceOf(problem, 'prueba 7-2\n7-2=5\n5<9\nwrong\ntry 7+2\n7+2=9\n9=9\nbien\nluego 7+2\n</think>\n\nLa respuesta es 7+2.'));
 * // { reasoning: 'try 7-2\n7-2=5\n5<9\nwrong\ntry 7+2\n7+2=9\n9=9\nright\nso 7+2', answer: 'The answer is 7+2.' }
 */
export function refineTrace(trace: Trace): Refined {
  const { problem } = trace;
  const language = languageOf(trace);
  const { score, extracted } = verify(problem, trace.completion);
  if (score !== 1 || extracted === null) return { reason: 'wrong answer' };
  if (!verdictsOf(problem, trace.thought).every(({ holds }) => holds === true))
    return { reason: 'false verdict' };
  const parts = partsOf(inLanguage(trace.thought, 'en'));
  if (parts.result !== null && readCandidate(problem, parts.result) !== extracted)
    return { reason: 'result is not the answer' };
  const derivation = trueLines(parts.derivation, derivationLines(problem));
  const tries = keptTries(problem, parts.tries);
  if (derivation === null || tries === null) return { reason: 'false evidence' };
  const last = tries.at(-1);
  if (derivation.length === 0 && last?.verdict !== 'right') return { reason: 'no evidence' };
  if (last?.verdict === 'right' && (last.evidence.length === 0 || last.normal !== extracted))
    return { reason: last.evidence.length === 0 ? 'no evidence' : 'result is not the answer' };
  const shown = shownAnswer(problem, extracted);
  const lines = [
    ...derivation,
    ...tries.flatMap(({ candidate, evidence, verdict }) => [
      `${spellings('try')[0]} ${candidate}`,
      ...evidence,
      verdict as string,
    ]),
    `${spellings('so')[0]} ${shown}`,
  ];
  return {
    reasoning: inLanguage(lines.join('\n'), language),
    answer: answerSentence({ ...problem, answer: shown }),
  };
}
