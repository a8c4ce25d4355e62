/**
 * Chains of thought: plain (a derivation, then the answer) or verified (candidates tried and checked), and reading
 * the verdicts of a thought back.
 *
 * A try is three kinds of lines: `try <candidate>`, lines of evidence, then `right` or `wrong`. Written verdicts are
 * always true ones, and the evidence is computed, not asserted. Wrong tries can be planted before the right one,
 * for a policy to learn to retry from (Gandhi et al. 2025, https://arxiv.org/abs/2503.01307); with `giveUp` the
 * thought ends after them with `stop` and without an answer, so that reinforcement has something to select.
 */
import { check, Random } from '@minke/core';
import { type Language, meaning, mixedSpeaker, speaker } from './language.ts';
import { isRight, type Reasoning, shown } from './reasoning.ts';
import { hash64 } from './split.ts';
import type { ThoughtOptions } from './task-family.ts';

/** A verdict found in a thought. */
export interface StatedVerdict {
  /** The candidate as written. */
  readonly candidate: string;
  /** What the thought says of it. */
  readonly said: 'right' | 'wrong';
  /** Whether that is true; null where the candidate cannot be judged. */
  readonly holds: boolean | null;
}

/** Draws in vain before a thought has fewer wrong tries than asked for: some problems have few candidates. */
const patience = 30;

/** Wrong candidates, all different. */
function wrongCandidates<Facts>(
  reasoning: Reasoning<Facts>,
  facts: Facts,
  count: number,
  random: Random,
): string[] {
  const found: string[] = [];
  for (let vain = 0; found.length < count && vain < patience; vain++) {
    const candidate = reasoning.guess(facts, random);
    if (found.includes(candidate) || isRight(reasoning, facts, candidate)) continue;
    found.push(candidate);
    vain = 0;
  }
  return found;
}

/** Composes a thought. Deterministic in facts and options. */
export function compose<Facts>(
  reasoning: Reasoning<Facts>,
  facts: Facts,
  options: ThoughtOptions & { readonly answerLanguage?: Language },
): string {
  const { verify = false, wrongTries = 0, giveUp = false, seed = 0 } = options;
  const { length = wrongTries > 0 ? 'short' : 'long' } = options;
  const language = options.language ?? options.answerLanguage ?? 'en';
  check(
    Number.isSafeInteger(wrongTries) && wrongTries >= 0,
    () => `chainOfThought: expected wrongTries to be an integer >= 0, got ${wrongTries}; fix the option`,
  );
  if (length === 'none') return '';
  const answer = reasoning.answer(facts);
  const random = () => new Random(seed, Number(hash64(JSON.stringify(facts)) & 0xffffffffn));
  const say = language === 'mixed' ? mixedSpeaker(random().fork(1)) : speaker(language);
  const show = (normal: string) =>
    shown(reasoning, normal, language === 'mixed' ? (options.answerLanguage ?? 'en') : language);
  const lines = length === 'long' ? reasoning.steps(facts, say) : [];
  const attempt = (candidate: string, verdict: 'right' | 'wrong') =>
    lines.push(`${say('try')} ${show(candidate)}`, ...reasoning.check(facts, candidate, say), say(verdict));
  if (wrongTries > 0)
    for (const candidate of wrongCandidates(reasoning, facts, wrongTries, random()))
      attempt(candidate, 'wrong');
  if (giveUp) return [...lines, say('giveUp')].join('\n');
  if (verify || wrongTries > 0) attempt(answer, 'right');
  lines.push(`${say('so')} ${show(answer)}`);
  return lines.join('\n');
}

/** The verdicts of a thought in order. A verdict without a candidate before it does not count. */
export function readVerdicts<Facts>(
  reasoning: Reasoning<Facts>,
  facts: Facts,
  thought: string,
): StatedVerdict[] {
  const verdicts: StatedVerdict[] = [];
  let candidate: string | null = null;
  for (const line of thought.split('\n')) {
    const [first, ...rest] = line.split(' ') as [string, ...string[]];
    if (rest.length > 0 && meaning(first, ['try'])) candidate = rest.join(' ');
    const said = meaning(line.trim(), ['right', 'wrong']);
    if (said === null || candidate === null) continue;
    const normal = reasoning.read(candidate, facts);
    const right = normal !== null && isRight(reasoning, facts, normal);
    verdicts.push({ candidate, said, holds: right === (said === 'right') });
    candidate = null;
  }
  return verdicts;
}
