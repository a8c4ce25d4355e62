/**
 * Verifiers for answers that are words: short texts, and the letter of a multiple choice.
 *
 * Texts are compared after Unicode NFKC, lower case, joined white space, and without surrounding quotes, `\text{}` and
 * closing punctuation. `lenient` also drops English articles and all punctuation, as SQuAD's script does
 * (https://arxiv.org/abs/1606.05250). An empty gold answer gives null.
 */
import { check } from '@minke/core';
import { maxStatement, statedAnswers } from './stated-answer.ts';
import type { Mode, Verdict } from './verdict.ts';

/**
 * The normal form of a short text; '' for texts of more than 4,096 characters.
 *
 * @example
 * normalText('  “Tuesday”. ', 'strict'); // 'tuesday'
 */
export function normalText(text: string, mode: Mode): string {
  if (text.length > maxStatement) return '';
  let normal = text
    .normalize('NFKC')
    .toLowerCase()
    .replaceAll(/\\(?:text|textbf|mathrm|mbox)\s*\{([^{}]*)\}/g, '$1')
    .replaceAll(/\s+/g, ' ')
    .trim();
  normal = normal
    .replace(/^[\s"'`*$\u201c\u2018\u00ab]+/, '')
    .replace(/[\s"'`*$\u201d\u2019\u00bb.!?,;:]+$/, '');
  if (mode === 'lenient')
    normal = normal
      .replaceAll(/[\p{P}\p{S}]/gu, ' ')
      .replaceAll(/\b(?:a|an|the)\b/g, ' ')
      .replaceAll(/\s+/g, ' ')
      .trim();
  return normal;
}

/**
 * Makes a verifier of short texts. `strict` reads boxes or answer tags, which have to agree, else the whole visible
 * text; `lenient` compares any place where an answer is stated.
 *
 * @example
 * textVerifier()('<answer>Tuesday.</answer>', 'tuesday').score; // 1
 */
export function textVerifier(
  options: { readonly mode?: Mode } = {},
): (visible: string, gold: string) => Verdict {
  const { mode = 'strict' } = options;
  return (visible, goldText) => {
    const gold = normalText(goldText, mode);
    const stated = statedAnswers(visible, mode);
    if (mode === 'strict' && stated.length === 0) stated.push(visible.slice(0, maxStatement + 1));
    const normals = [...new Set(stated.map((text) => normalText(text, mode)))].filter((text) => text !== '');
    const extracted =
      mode === 'strict'
        ? normals.length === 1
          ? (normals[0] as string)
          : null
        : (normals.find((text) => text === gold) ?? normals[0] ?? null);
    return { score: gold === '' ? null : extracted === gold ? 1 : 0, extracted };
  };
}

/** What a multiple choice offers. */
export interface ChoiceOptions {
  readonly mode?: Mode;
  /** The letters. Default `ABCD`. */
  readonly letters?: string;
}

/**
 * Makes a verifier of multiple choice. `strict` wants one letter, alone or in brackets, in a box, an answer tag, after
 * "Answer:" or "answer is", or as the whole text, and takes none where statements differ. `lenient` takes the last of
 * these, and else the only capital letter that stands alone in the text. The gold answer is a letter, also as `(B)`.
 *
 * @example
 * choiceVerifier()('Answer: (B)', 'B').score; // 1
 */
export function choiceVerifier(options: ChoiceOptions = {}): (visible: string, gold: string) => Verdict {
  const { mode = 'strict', letters = 'ABCD' } = options;
  check(
    /^[A-Z]{2,26}$/.test(letters) && new Set(letters).size === letters.length,
    () =>
      `choiceVerifier: expected different capital letters, got ${JSON.stringify(letters)}; for example ABCD`,
  );
  const read = (text: string): string | null => {
    const bare = normalText(text, 'strict')
      .replaceAll(/[()[\]]/g, '')
      .replace(/[.:]$/, '')
      .trim()
      .toUpperCase();
    return bare.length === 1 && letters.includes(bare) ? bare : null;
  };
  const marked = new RegExp(
    String.raw`\banswer(?:\s{1,4}is)?\s{0,4}:?\**\s{0,4}(?:option\s|choice\s)?\s{0,4}([([]?[${letters}][)\]]?)(?![\w'])`,
    'gi',
  );
  const standing = new RegExp(String.raw`(?<![\w'])[${letters}](?![\w'])`, 'g');
  return (visible, goldText) => {
    const gold = read(goldText);
    const placed = statedAnswers(visible, 'strict').map(read);
    const named = [...visible.slice(-2 * maxStatement).matchAll(marked)].map((match) =>
      read(match[1] as string),
    );
    const stated = placed.length > 0 ? placed : named.length > 0 ? named : [read(visible)];
    let extracted =
      mode === 'strict' ? (new Set(stated).size === 1 ? (stated[0] ?? null) : null) : (stated.at(-1) ?? null);
    if (mode === 'lenient' && extracted === null) {
      const found = new Set(
        [...visible.slice(-2 * maxStatement).matchAll(standing)].map(([letter]) => letter),
      );
      extracted = found.size === 1 ? ([...found][0] as string) : null;
    }
    return { score: gold === null ? null : extracted === gold ? 1 : 0, extracted };
  };
}
