/**
 * Language consistency: the share of the thought's words that are in the wanted language.
 *
 * DeepSeek-R1 (https://arxiv.org/abs/2501.12948, section 2.3.2) adds it in the first RL stage against the language
 * mixing of R1-Zero. The paper does not say how a word's language is found; here languages are plain data: sets of
 * words, Unicode scripts, or both. A word that a list has belongs to that language; else a script that exactly one
 * language has decides; all other words are common to all (names, units, unlisted words where languages share a
 * script) and do not count. Each character of Han, Hiragana, Katakana or Thai counts as a word. Digits, symbols, tags, LaTeX
 * commands and single letters (variables) are no words.
 */
import { check, MinkeError } from '@minke/core';
import { perCompletion, type Reward } from './reward.ts';
import { sections } from './sections.ts';

/** How a language is recognised. */
export interface LanguageMarks {
  /** Words of this language, in any case; phrases count as their words. */
  readonly words?: Iterable<string>;
  /** Unicode script names, for example `Latin`, `Han`, `Cyrillic`. */
  readonly scripts?: readonly string[];
}

/** Counts a text's words by language. */
export interface LanguageCounter {
  readonly languages: readonly string[];
  /** Words of each language in a text. */
  count(text: string): Record<string, number>;
}

const unspaced = String.raw`[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]`;
const wordPattern = new RegExp(
  String.raw`\\[A-Za-z]+|<\/?[\w:]+>|${unspaced}|(?:(?!${unspaced})[\p{L}\p{M}])+`,
  'gu',
);

/**
 * Prepares the counting of words.
 *
 * @param languages marks of each language, by name
 * @throws MinkeError `invalid-config` for unknown scripts and for languages without marks
 * @example
 * const counter = languageCounter({ en: { words: ['check', 'so'] }, es: { words: ['comprueba', 'luego'] } });
 * counter.count('so 12, comprueba, check'); // { en: 2, es: 1 }
 */
export function languageCounter(languages: Readonly<Record<string, LanguageMarks>>): LanguageCounter {
  const names = Object.keys(languages);
  check(
    names.length > 0,
    () => 'languageCounter: expected at least one language, got none; pass { en: { words } }',
  );
  // A word or script of several languages tells nothing: its owner is null.
  const words = new Map<string, string | null>();
  const scripts = new Map<string, string | null>();
  const claim = (owners: Map<string, string | null>, key: string, name: string) => {
    const owner = owners.get(key);
    owners.set(key, owner === undefined || owner === name ? name : null);
  };
  for (const name of names) {
    const marks = languages[name] as LanguageMarks;
    for (const entry of marks.words ?? [])
      for (const [word] of entry.normalize('NFC').toLowerCase().matchAll(wordPattern))
        claim(words, word, name);
    for (const script of marks.scripts ?? []) claim(scripts, script, name);
    if (marks.words === undefined && marks.scripts === undefined)
      throw new MinkeError(
        'invalid-config',
        `languageCounter: expected words or scripts for '${name}', got neither; give one`,
      );
  }
  const tests = [...scripts].map(([script, owner]) => {
    try {
      return { owner, pattern: new RegExp(`^\\p{Script=${script}}`, 'u') };
    } catch (cause) {
      throw new MinkeError(
        'invalid-config',
        `languageCounter: expected a Unicode script name, got '${script}'; for example Latin, Han, Cyrillic`,
        { cause },
      );
    }
  });
  const languageOf = (word: string): string | null => {
    const listed = words.get(word);
    if (listed !== undefined) return listed;
    if (word.length === 1 && /^\p{Script=Latin}|^\p{Script=Greek}/u.test(word)) return null;
    return tests.find(({ pattern }) => pattern.test(word))?.owner ?? null;
  };
  return {
    languages: names,
    count(text) {
      const counts: Record<string, number> = Object.fromEntries(names.map((name) => [name, 0]));
      for (const [word] of text.normalize('NFC').toLowerCase().matchAll(wordPattern)) {
        if (word.startsWith('\\') || word.startsWith('<')) continue;
        const language = languageOf(word);
        if (language !== null) counts[language] = (counts[language] as number) + 1;
      }
      return counts;
    },
  };
}

/** The share of the counted words that are in `language`, or null where no word counts. */
export function languageConsistency(text: string, language: string, counter: LanguageCounter): number | null {
  check(
    counter.languages.includes(language),
    () =>
      `languageConsistency: expected one of ${counter.languages.join(', ')}, got '${language}'; give it words or scripts`,
  );
  const counts = counter.count(text);
  const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
  return all === 0 ? null : (counts[language] as number) / all;
}

/** Settings of the language reward. */
export interface LanguageRewardOptions {
  readonly languages: Readonly<Record<string, LanguageMarks>>;
  /** The score of a thought without any counted word. Default null: it cannot be judged. */
  readonly whenEmpty?: number | null;
  /** The wanted language where the input names none. Default: such inputs score null. */
  readonly target?: string;
}

/** Language consistency of each completion's thought with its `language`. */
export function languageReward(options: LanguageRewardOptions): Reward {
  const { whenEmpty = null, target } = options;
  const counter = languageCounter(options.languages);
  return perCompletion(({ completion, language = target }) =>
    language === undefined
      ? null
      : (languageConsistency(sections(completion).thought, language, counter) ?? whenEmpty),
  );
}
