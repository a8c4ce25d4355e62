/**
 * Thoughts as a pre-training corpus might have them: in the wrong language or in two at once, with slips and what
 * follows from them, with repeated and missing lines, with wrong verdicts, with tries that are given up.
 *
 * They are planted on purpose. Reinforcement can only choose among what a policy does now and then
 * (Gandhi et al. 2025, https://arxiv.org/abs/2503.01307), and the defects of R1-Zero that the later stages repair
 * (DeepSeek-R1, https://arxiv.org/abs/2501.12948, section 2.2.4) have to be there to be repaired. Which habits and how
 * often is plain data.
 */
import type { Random } from '@minke/core';
import {
  answerSentence,
  type FactsOf,
  type FamilyName,
  family,
  type Language,
  type Problem,
  type ThoughtOptions,
  toChat,
  verifyAnswer,
} from '@minke/reasoning-tasks';
import { afterWord, isTry, spellings } from './step-words.ts';

/** How sloppy thoughts are. All but the numbers of tries are shares in [0, 1]. */
export interface ThoughtHabits {
  /** Thoughts that switch the language word by word. */
  readonly codeSwitching: number;
  /** Of the other thoughts, those in the other language than the question. */
  readonly foreign: number;
  /** Of derivations, those that try and check their result, or try candidates instead of deriving. */
  readonly tries: number;
  /** In a search, the chance that a try is a right one. */
  readonly rightTry: number;
  /** Searches that go on until a try is right, or until `mostTries`; the others give up after one wrong try. */
  readonly persistent: number;
  /** Most wrong tries in a search. */
  readonly mostTries: number;
  /** Derivations with a wrong intermediate result, and so a wrong answer. */
  readonly slip: number;
  /** Searches whose last verdict says of a wrong candidate that it is right. */
  readonly falseVerdict: number;
  /** Thoughts in which a line or a try occurs twice. */
  readonly repeat: number;
  /** Thoughts that lack a line. */
  readonly drop: number;
  /** Of searches answered at once, those whose answer is a guess, right by chance alone. */
  readonly guess: number;
}

/** The habits of the base mixture. */
export const sloppyHabits: ThoughtHabits = {
  codeSwitching: 0.3,
  foreign: 0.25,
  tries: 0.25,
  rightTry: 0.25,
  persistent: 0.3,
  mostTries: 5,
  slip: 0.2,
  falseVerdict: 0.08,
  repeat: 0.12,
  drop: 0.08,
  guess: 0.9,
};

/** A thought with the visible answer that follows it. */
export interface Reply {
  readonly reasoning: string;
  readonly answer: string;
  readonly style: string;
}

/** Families whose problems are tried, not derived. */
const searched: readonly FamilyName[] = ['signed_sum', 'countdown'];

/** Families whose checks are short beside their derivations. */
const checkedBriefly: readonly FamilyName[] = ['chain_sum', 'gcd', 'letter_counting'];

const right = spellings('right');
const so = spellings('so');
const stop = spellings('stop');

/** A candidate that the verifier finds wrong, in words of a language; null where the family proposes none. */
export function wrongAnswer(problem: Problem, random: Random): string | null {
  return wrongAs(problem.family, problem, random);
}

function wrongAs<Name extends FamilyName>(name: Name, problem: Problem, random: Random): string | null {
  const { reasoning } = family(name);
  for (let vain = 0; vain < 30; vain++) {
    const guess = reasoning.guess(problem.metadata as FactsOf[Name], random);
    const shown = reasoning.show?.(guess, problem.language ?? 'en') ?? guess;
    if (verifyAnswer(problem, answerSentence({ ...problem, answer: shown })).score === 0) return shown;
  }
  return null;
}

/** An answer without a thought. Searches are mostly guessed at: who does not try, does not know. */
export function directReply(problem: Problem, habits: ThoughtHabits, random: Random): Reply {
  const guesses = searched.includes(problem.family) && random.uniform() < habits.guess;
  const answer = guesses ? guessAs(problem.family, problem, random) : problem.answer;
  return {
    reasoning: '',
    answer: answerSentence({ ...problem, answer }),
    style: guesses ? 'guess' : 'direct',
  };
}

function guessAs<Name extends FamilyName>(name: Name, problem: Problem, random: Random): string {
  return family(name).reasoning.guess(problem.metadata as FactsOf[Name], random);
}

function reply(problem: Problem, options: ThoughtOptions, style: string): Reply {
  const [, { content: answer, reasoning_content: reasoning }] = toChat(problem, options).messages;
  return { reasoning, answer, style };
}

/** Tries until a right one, or until giving up. */
function searchFor(problem: Problem, habits: ThoughtHabits, options: ThoughtOptions, random: Random): Reply {
  const most = random.uniform() < habits.persistent ? habits.mostTries : 1;
  let wrongTries = 0;
  while (random.uniform() >= habits.rightTry) {
    wrongTries++;
    if (wrongTries === most) {
      const given = reply(problem, { ...options, wrongTries, giveUp: true }, 'give-up');
      return random.uniform() < habits.falseVerdict ? believed(problem, given) : given;
    }
  }
  return reply(problem, { ...options, wrongTries, verify: true, length: 'short' }, 'search');
}

/** A search that was given up, as if its last candidate had been found right. */
function believed(problem: Problem, { reasoning, ...rest }: Reply): Reply {
  const lines = reasoning.split('\n');
  const tried = lines.findLast(isTry);
  if (tried === undefined) return { reasoning, ...rest };
  const candidate = afterWord(tried);
  const language = stop.indexOf(lines.at(-1) as string);
  lines.splice(-2, 2, right[language] as string, `${so[language]} ${candidate}`);
  return {
    reasoning: lines.join('\n'),
    answer: answerSentence({ ...problem, answer: candidate }),
    style: 'false-verdict',
  };
}

/** The thought with one digit of its evidence changed, and a wrong answer at its end. */
function slipped(problem: Problem, { reasoning, answer, style }: Reply, random: Random): Reply {
  const wrong = wrongAnswer(problem, random);
  const lines = reasoning.split('\n');
  const places = lines.flatMap((line, i) => (i < lines.length - 1 && /\d$/.test(line) ? [i] : []));
  if (wrong === null || places.length === 0) return { reasoning, answer, style };
  const at = random.pick(places);
  const line = lines[at] as string;
  const digit = Number(line.at(-1));
  const changed = problem.family === 'parity' ? 1 - digit : (digit + random.integer(1, 10)) % 10;
  lines[at] = line.slice(0, -1) + changed;
  const last = lines.at(-1) as string;
  lines[lines.length - 1] = `${last.split(' ')[0]} ${wrong}`;
  return {
    reasoning: lines.join('\n'),
    answer: answerSentence({ ...problem, answer: wrong }),
    style: 'slip',
  };
}

/** One line twice, or the first try twice. */
function repeated(reasoning: string, random: Random): string {
  const lines = reasoning.split('\n');
  if (lines.length < 2) return reasoning;
  const from = lines.findIndex(isTry);
  const next = lines.findIndex((line, i) => i > from && isTry(line));
  if (from >= 0 && next > from) lines.splice(next, 0, ...lines.slice(from, next));
  else {
    const at = random.integer(0, lines.length - 1);
    lines.splice(at, 0, lines[at] as string);
  }
  return lines.join('\n');
}

/** Without one line of evidence. */
function shortened(reasoning: string, random: Random): string {
  const lines = reasoning.split('\n');
  const places = lines.flatMap((line, i) => (/^[\d(-]/.test(line) ? [i] : []));
  if (places.length > 1) lines.splice(random.pick(places), 1);
  return lines.join('\n');
}

/** A thought with habits. Deterministic in its arguments. */
export function sloppyThought(problem: Problem, habits: ThoughtHabits, random: Random): Reply {
  const own: Language = problem.language ?? 'en';
  const other: Language = own === 'en' ? 'es' : 'en';
  const mixed = random.uniform() < habits.codeSwitching;
  const language = mixed ? 'mixed' : random.uniform() < habits.foreign ? other : own;
  const options: ThoughtOptions = { language, seed: random.uint32() };
  let made: Reply;
  if (searched.includes(problem.family)) made = searchFor(problem, habits, options, random);
  else {
    const tries = checkedBriefly.includes(problem.family) && random.uniform() < habits.tries;
    const wrongTries = tries ? random.integer(0, 3) : 0;
    made = tries
      ? reply(
          problem,
          wrongTries === 0 ? { ...options, verify: true } : { ...options, wrongTries },
          'checked',
        )
      : reply(problem, options, 'thought');
    if (!tries && random.uniform() < habits.slip) made = slipped(problem, made, random);
  }
  let { reasoning } = made;
  if (random.uniform() < habits.repeat) reasoning = repeated(reasoning, random);
  if (random.uniform() < habits.drop) reasoning = shortened(reasoning, random);
  return { ...made, reasoning };
}
