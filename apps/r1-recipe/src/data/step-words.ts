/** The step words of thoughts, by meaning and over the two languages. */
import { type Language, stepWords } from '@minke/reasoning-tasks';

const english = stepWords('en');
const spanish = stepWords('es');

/** How the two languages write the word that is `word` in English. */
export function spellings(word: string): readonly [string, string] {
  const index = english.indexOf(word);
  return [english[index] as string, spanish[index] as string];
}

const [triedEnglish, triedSpanish] = spellings('try');

/** True for `try <candidate>` in either language. */
export function isTry(line: string): boolean {
  return line.startsWith(`${triedEnglish} `) || line.startsWith(`${triedSpanish} `);
}

/** The rest of a line after its first word. */
export function afterWord(line: string): string {
  return line.slice(line.indexOf(' ') + 1);
}

const translations: Readonly<Record<Language, ReadonlyMap<string, string>>> = {
  en: new Map(spanish.map((word, i) => [word, english[i] as string])),
  es: new Map(english.map((word, i) => [word, spanish[i] as string])),
};

/** The text with every step word in one language; everything else stays. */
export function inLanguage(text: string, language: Language): string {
  return text.replaceAll(/\p{L}+/gu, (word) => translations[language].get(word) ?? word);
}
