/**
 * The tokens of a written answer: LaTeX commands, numbers, signs. Repeating decimals become one token with `_` before
 * the part that repeats, `1e5` becomes `1*10^{5}`.
 */
import { fail } from './maths-node.ts';

const token = /\s*(\\[A-Za-z]+|\\[{}]|\d+(?:\.\d*)?|\.\d+|[-+*/^()[\]{},%])/y;

const signed = (text: string): string[] =>
  text.startsWith('-') || text.startsWith('+') ? [text[0] as string, text.slice(1)] : [text];

/** Tokens; thousands separators are joined outside brackets, where a comma may separate elements instead. */
export function readTokens(text: string): string[] {
  const tokens: string[] = [];
  let at = 0;
  let brackets = 0;
  while (at < text.length) {
    const repeating = /\s*(\d*\.\d*)\\overline\s*\{(\d{1,100})\}/y;
    repeating.lastIndex = at;
    const repeated = repeating.exec(text);
    if (repeated !== null) {
      tokens.push(`${repeated[1]}_${repeated[2]}`);
      at = repeating.lastIndex;
      continue;
    }
    const thousands = /\s*(\d{1,3}(?:,\d{3})+(?:\.\d+)?)(?![\d,]*\d)/y;
    thousands.lastIndex = at;
    const grouped = brackets === 0 ? thousands.exec(text) : null;
    if (grouped !== null) {
      tokens.push((grouped[1] as string).replaceAll(',', ''));
      at = thousands.lastIndex;
      continue;
    }
    const scientific = /\s*(\d+(?:\.\d+)?)[eE]([-+]?\d{1,4})(?![\w.])/y;
    scientific.lastIndex = at;
    const exponent = scientific.exec(text);
    if (exponent !== null) {
      tokens.push(exponent[1] as string, '*', '10', '^', '{', ...signed(exponent[2] as string), '}');
      at = scientific.lastIndex;
      continue;
    }
    token.lastIndex = at;
    const found = token.exec(text);
    if (found === null) {
      if (text.slice(at).trim() !== '') fail();
      return tokens;
    }
    const symbol = found[1] as string;
    if (['(', '[', '\\{'].includes(symbol)) brackets++;
    if ([')', ']', '\\}'].includes(symbol)) brackets--;
    tokens.push(symbol);
    at = token.lastIndex;
  }
  return tokens;
}
