/**
 * Does training text hold evaluation problems? Exact matches of canonical forms, and shared n-grams of words.
 *
 * DeepSeek-R1 drops training text that shares a 10-gram with a test question or solution
 * (https://arxiv.org/abs/2501.12948, supplementary D.1); like any n-gram rule this does not catch paraphrase. Memory
 * holds the evaluation set's hashes only; training text streams through, any amount of it. Hashes have 53 bits: with
 * 10^6 evaluation n-grams, one in 10^10 training n-grams matches by chance. Generated problems share their templates:
 * n-grams that occur in more than `templateShare` of the evaluation items are called boilerplate and left out.
 */
import { check } from '@minke/core';

/** An evaluation item. */
export interface AuditedItem {
  readonly id: string;
  /** Question, and solution if there is one. */
  readonly text: string;
  /** The form that equal problems share. Default: the text's words. */
  readonly canonical?: string;
}

/** A training item; `canonical` as above. */
export type TrainingText = string | Pick<AuditedItem, 'text' | 'canonical'>;

/** Settings of an audit. */
export interface OverlapOptions {
  /** Words in an n-gram. Default 10. */
  readonly n?: number;
  /** n-grams in a larger share of the evaluation items than this are boilerplate. Default 1: none are. */
  readonly templateShare?: number;
  /** Matches kept as examples. Default 20. */
  readonly maxExamples?: number;
}

/** A training item that matches an evaluation item. */
export interface OverlapMatch {
  /** Position in the training stream. */
  readonly training: number;
  readonly evaluation: string;
  readonly kind: 'exact' | 'n-gram';
  /** The shared words, or the canonical form. */
  readonly text: string;
}

/** What an audit found. Plain JSON. */
export interface OverlapReport {
  readonly n: number;
  readonly trainingItems: number;
  readonly evaluationItems: number;
  /** Evaluation items too short for an n-gram, or with boilerplate only: checked exactly alone. */
  readonly withoutNGrams: number;
  readonly boilerplate: number;
  /** Training items with a match, and evaluation items matched, of each kind. */
  readonly exact: { readonly training: number; readonly evaluation: number };
  readonly nGram: { readonly training: number; readonly evaluation: number };
  readonly examples: readonly OverlapMatch[];
}

/** The words of a text: NFKC, lower case, letters and digits; each Han or Kana character is one. */
function wordsOf(text: string): string[] {
  return (
    text
      .normalize('NFKC')
      .toLowerCase()
      .match(
        /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]|(?:(?![\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}])[\p{L}\p{M}\p{N}])+|[-+*/=^]/gu,
      ) ?? []
  );
}

/** 53 bits from two 32-bit multiplicative hashes (murmur3's finaliser at the end). */
function hash53(text: string): number {
  let [a, b] = [0xdeadbeef, 0x41c6ce57];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 0x9e3779b1);
    b = Math.imul(b ^ code, 0x5f356495);
  }
  a = Math.imul(a ^ (a >>> 16), 0x85ebca6b) ^ Math.imul(b ^ (b >>> 13), 0xc2b2ae35);
  b = Math.imul(b ^ (b >>> 16), 0x85ebca6b) ^ Math.imul(a ^ (a >>> 13), 0xc2b2ae35);
  return (b & 0x1fffff) * 0x100000000 + (a >>> 0);
}

function nGrams(words: readonly string[], n: number): { hash: number; at: number }[] {
  const grams: { hash: number; at: number }[] = [];
  for (let at = 0; at + n <= words.length; at++)
    grams.push({ hash: hash53(words.slice(at, at + n).join(' ')), at });
  return grams;
}

/**
 * Looks for evaluation items in training items.
 *
 * @example
 * const report = await auditOverlap(trainingTexts, evaluationItems, { n: 10 });
 * if (report.exact.training + report.nGram.training > 0) throw new Error('contaminated');
 */
export async function auditOverlap(
  training: AsyncIterable<TrainingText> | Iterable<TrainingText>,
  evaluation: Iterable<AuditedItem>,
  options: OverlapOptions = {},
): Promise<OverlapReport> {
  const { n = 10, templateShare = 1, maxExamples = 20 } = options;
  check(
    Number.isSafeInteger(n) && n >= 1 && templateShare > 0 && templateShare <= 1,
    () =>
      `auditOverlap: expected n >= 1 and 0 < templateShare <= 1, got n ${n}, templateShare ${templateShare}`,
  );
  const exact = new Map<string, number>();
  const owners = new Map<number, number[]>();
  const ids: string[] = [];
  const grams: number[] = [];
  for (const item of evaluation) {
    const index = ids.push(item.id) - 1;
    const words = wordsOf(item.text);
    const key = item.canonical ?? words.join(' ');
    if (!exact.has(key)) exact.set(key, index);
    const own = new Set(nGrams(words, n).map(({ hash }) => hash));
    grams.push(own.size);
    for (const hash of own) {
      const list = owners.get(hash);
      if (list === undefined) owners.set(hash, [index]);
      else list.push(index);
    }
  }
  let boilerplate = 0;
  for (const [hash, list] of owners)
    if (list.length > Math.max(1, templateShare * ids.length)) {
      boilerplate++;
      owners.delete(hash);
      for (const index of list) grams[index] = (grams[index] as number) - 1;
    }

  const found = { exact: new Set<number>(), nGram: new Set<number>() };
  const hit = { exact: 0, nGram: 0 };
  const examples: OverlapMatch[] = [];
  const note = (match: OverlapMatch) => examples.length < maxExamples && examples.push(match);
  let trainingItems = 0;
  for await (const item of training) {
    const { text, canonical } = typeof item === 'string' ? { text: item, canonical: undefined } : item;
    const at = trainingItems++;
    const words = wordsOf(text);
    const same = exact.get(canonical ?? words.join(' '));
    if (same !== undefined) {
      hit.exact++;
      found.exact.add(same);
      note({
        training: at,
        evaluation: ids[same] as string,
        kind: 'exact',
        text: canonical ?? words.join(' '),
      });
    }
    let first = true;
    for (const { hash, at: position } of nGrams(words, n)) {
      const matched = owners.get(hash);
      if (matched === undefined) continue;
      for (const index of matched) found.nGram.add(index);
      if (first)
        note({
          training: at,
          evaluation: ids[matched[0] as number] as string,
          kind: 'n-gram',
          text: words.slice(position, position + n).join(' '),
        });
      if (first) hit.nGram++;
      first = false;
    }
  }
  return {
    n,
    trainingItems,
    evaluationItems: ids.length,
    withoutNGrams: grams.filter((count) => count === 0).length,
    boilerplate,
    exact: { training: hit.exact, evaluation: found.exact.size },
    nGram: { training: hit.nGram, evaluation: found.nGram.size },
    examples,
  };
}
