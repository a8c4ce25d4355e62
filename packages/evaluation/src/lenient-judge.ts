/**
 * The lenient judge of generated tasks: the answer is looked for where a reader would find it.
 *
 * Reported beside the strict score, it says how much of a failure is form. It reads what follows the last `</think>`
 * (all of it where there is none), takes the first of these that is an answer at all: the whole, the last box, what
 * follows the last "answer is" up to its sentence's end, the last line, what follows the last "=", the last number.
 * Never for training: what is accepted is what will be learnt.
 */
import { type Problem, verifyAnswer } from '@minke/reasoning-tasks';
import type { Judgement } from './samples.ts';

/** Answers lie near the end; nothing further back is searched. */
const reach = 8_000;

function places(visible: string): string[] {
  const end = visible.slice(-reach).trim();
  const box = [...end.matchAll(/\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}/g)].at(-1)?.[1];
  const phrase = [
    ...end.matchAll(/\b(?:answer(?:\s+is)?|respuesta(?:\s+es)?)\b\s{0,4}:?\**\s{0,4}([^\n]{1,400})/gi),
  ].at(-1)?.[1];
  const line = end.slice(end.lastIndexOf('\n') + 1);
  const number = [...end.matchAll(/(?<![\w.])[-+]?\d+(?:,\d{3})*(?![\d])/g)].at(-1)?.[0];
  return [
    end,
    box,
    phrase,
    phrase?.split(/[.;](?=\s)/)[0],
    line,
    line.slice(line.lastIndexOf(':') + 1),
    line.slice(line.lastIndexOf('=') + 1),
    number,
  ].filter((place) => place !== undefined && place.trim() !== '') as string[];
}

/**
 * Judges a completion leniently, for `collectSamples({ lenient })`.
 *
 * @example
 * lenientTaskJudge(problem, `so 348 + 977 = 1325, I think`).score; // 1, where the strict judge says 0
 */
export function lenientTaskJudge(problem: Problem, completion: string): Judgement {
  const visible = completion.split('</think>').at(-1) as string;
  for (const place of places(visible)) {
    const found = verifyAnswer(problem, place);
    if (found.extracted !== null || found.score === null) return found;
  }
  return verifyAnswer(problem, '');
}
