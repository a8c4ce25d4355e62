/** Which pre-tokenizers have a hand-written scan: recognised by the exact patterns of their Split steps. */
import { deepseekPreTokenizer } from './pre-tokenizer-forms.ts';
import { DeepseekScanner } from './scan-deepseek.ts';
import { Gpt2Scanner } from './scan-gpt2.ts';
import { WordsScanner } from './scan-words.ts';
import type { Scanner } from './scanner.ts';

/** GPT-2's pattern, which ByteLevel applies when `use_regex` is true. */
export const gpt2Pattern = String.raw`'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
/** The same as OpenAI wrote it; alternatives are in another order that matches the same. */
const gpt2Written = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

/** The pattern of Llama 3 and Qwen2, numbers cut as `digits` says. */
export const wordsPattern = (digits: string) =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}|` +
  ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';

const unlimited = Number.POSITIVE_INFINITY;

const scanners = new Map<string, () => Scanner>([
  [gpt2Pattern, () => new Gpt2Scanner()],
  [gpt2Written, () => new Gpt2Scanner()],
  [wordsPattern('\\p{N}{1,3}'), () => new WordsScanner(3)],
  [wordsPattern('\\p{N}'), () => new WordsScanner(1)],
  [wordsPattern('\\p{N}+'), () => new WordsScanner(unlimited)],
  [splitsOf(deepseekPreTokenizer('groups-of-3')), () => new DeepseekScanner(3)],
  [splitsOf(deepseekPreTokenizer('individual')), () => new DeepseekScanner(1)],
  [splitsOf(deepseekPreTokenizer('none')), () => new DeepseekScanner(unlimited)],
]);

/** The scan for the patterns of Isolated Splits that follow each other, or undefined. */
export function knownScanner(patterns: readonly string[]): Scanner | undefined {
  return scanners.get(joined(patterns))?.();
}

/** Files have ends of lines in a class as they are or escaped. */
function joined(patterns: readonly string[]): string {
  return patterns.join('\0').replaceAll('\r', '\\r').replaceAll('\n', '\\n');
}

function splitsOf(preTokenizer: object): string {
  const { pretokenizers } = preTokenizer as { pretokenizers: { pattern?: { Regex: string } }[] };
  return joined(pretokenizers.flatMap(({ pattern }) => (pattern === undefined ? [] : [pattern.Regex])));
}
