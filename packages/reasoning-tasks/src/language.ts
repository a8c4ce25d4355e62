/**
 * The words of thoughts in two languages, so that a base mixture can hold thoughts in either language or in both,
 * and a reward can ask for one.
 *
 * Thoughts are mostly digits; a small set of step words carries the language (`try/prueba`, `right/bien`,
 * `so/luego`). `mixed` chooses the language of every word by a coin, the code-switching of R1-Zero
 * (DeepSeek-R1, https://arxiv.org/abs/2501.12948, section 2.2.4) in miniature. No two entries share a spelling
 * over the languages, so each word tells its language.
 */
import type { Random } from '@minke/core';

/** Language of a question, and of the step words of a thought. */
export type Language = 'en' | 'es';

const lexicon = {
  try: ['try', 'prueba'],
  right: ['right', 'bien'],
  wrong: ['wrong', 'mal'],
  so: ['so', 'luego'],
  giveUp: ['stop', 'basta'],
  prime: ['prime', 'primo'],
  even: ['even', 'par'],
  odd: ['odd', 'impar'],
  true: ['true', 'cierto'],
  false: ['false', 'falso'],
  keep: ['keep', 'queda'],
  drop: ['drop', 'fuera'],
  says: ['says', 'dice'],
  knight: ['knight', 'caballero'],
  knave: ['knave', 'bribon'],
  wall: ['wall', 'muro'],
  goal: ['goal', 'meta'],
  twice: ['twice', 'repetido'],
} as const satisfies Record<string, readonly [string, string]>;

/** A word of the thoughts, by its meaning. */
export type StepWord = keyof typeof lexicon;

/** Says a step word in the language of a thought. */
export type Say = (word: StepWord) => string;

/** Says every word in one language. */
export function speaker(language: Language): Say {
  const index = language === 'en' ? 0 : 1;
  return (word) => lexicon[word][index];
}

/** Says each word in a language drawn for it. */
export function mixedSpeaker(random: Random): Say {
  return (word) => lexicon[word][random.integer(0, 2)] as string;
}

/** All step words of a language. */
export function stepWords(language: Language): string[] {
  const say = speaker(language);
  return (Object.keys(lexicon) as StepWord[]).map(say);
}

const languageOf = new Map<string, Language>();
for (const language of ['en', 'es'] as const)
  for (const word of stepWords(language)) languageOf.set(word, language);

/** True for a step word of either language; content must not look like one. */
export function isStepWord(word: string): boolean {
  return languageOf.has(word);
}

/** The meaning of a word if `text` is one of `words` in either language, else null. */
export function meaning<Word extends StepWord>(text: string, words: readonly Word[]): Word | null {
  return words.find((word) => (lexicon[word] as readonly string[]).includes(text)) ?? null;
}

/**
 * The share of a thought's step words that are of the wanted language, in [0, 1], or null where it has none.
 * Digits, symbols and words that are no step words do not count.
 *
 * @example
 * languageConsistency('try 12\n3*4=12\nbien\nso 12', 'en'); // 2 of 3
 */
export function languageConsistency(thought: string, language: Language): number | null {
  let [wanted, all] = [0, 0];
  for (const [word] of thought.matchAll(/\p{L}+/gu)) {
    const found = languageOf.get(word);
    if (found === undefined) continue;
    all++;
    if (found === language) wanted++;
  }
  return all === 0 ? null : wanted / all;
}
