/**
 * Added tokens: texts that are one token before any merging, such as `<｜User｜>`.
 *
 * Matching is leftmost-longest, in two passes like Hugging Face `tokenizers` (first tokens with
 * `normalized: false`, then the others in what is left), with `single_word`, `lstrip` and `rstrip`.
 *
 * Which of them are *control* tokens decides safety: DeepSeek marks `<｜User｜>` and `<think>` as not special,
 * yet they steer the model. So every added token counts as control except those that only abbreviate text
 * (white space, or a single character of the byte alphabet), whatever their `special` flag says.
 */
import { charToByte } from './byte-alphabet.ts';

/** One entry of `added_tokens`. */
export interface AddedToken {
  readonly id: number;
  /** The text that stands for the token. */
  readonly content: string;
  /** Left out by `decode(ids, { skipSpecial: true })`. */
  readonly special: boolean;
  /** Matches only between non-word characters. */
  readonly singleWord: boolean;
  /** Swallows white space before it. */
  readonly lstrip: boolean;
  /** Swallows white space after it. */
  readonly rstrip: boolean;
  /** Matched in the second pass. */
  readonly normalized: boolean;
}

/** True unless the token only abbreviates ordinary text. */
export function isControl(token: AddedToken): boolean {
  return !/^\p{White_Space}+$/u.test(token.content) && !charToByte.has(token.content);
}

/** Positions (UTF-16 units) that must not be read as part of a control token: 1 = plain. */
export type PlainMask = Uint8Array;

/** A stretch of plain text, or an added token where `id >= 0`. */
export interface Segment {
  readonly id: number;
  readonly start: number;
  readonly end: number;
}

interface Node {
  readonly children: Map<number, Node>;
  token: AddedToken | undefined;
}

/** Finds a set of added tokens in text. */
export class AddedTokenMatcher {
  private readonly passes: { readonly root: Node; readonly starts: RegExp }[];

  constructor(tokens: Iterable<AddedToken>) {
    const all = [...tokens];
    this.passes = [all.filter((token) => !token.normalized), all.filter((token) => token.normalized)]
      .filter((group) => group.length > 0)
      .map((group) => ({ root: buildTrie(group), starts: startsOf(group) }));
  }

  /** Cuts `text` at the tokens found; segments cover the text in order and none is empty. */
  split(text: string, plain: PlainMask | undefined): Segment[] {
    let segments: Segment[] = text.length === 0 ? [] : [{ id: -1, start: 0, end: text.length }];
    for (const pass of this.passes)
      segments = segments.flatMap((segment) =>
        segment.id >= 0 ? [segment] : splitOnce(text, segment, pass.root, pass.starts, plain),
      );
    return segments;
  }
}

function buildTrie(tokens: readonly AddedToken[]): Node {
  const root: Node = { children: new Map(), token: undefined };
  for (const token of tokens) {
    let node = root;
    for (let i = 0; i < token.content.length; i++) {
      const unit = token.content.charCodeAt(i);
      let child = node.children.get(unit);
      if (child === undefined) {
        child = { children: new Map(), token: undefined };
        node.children.set(unit, child);
      }
      node = child;
    }
    node.token = token;
  }
  return root;
}

/** A class of the first UTF-16 units, so that the engine skips ordinary text at its own speed. */
function startsOf(tokens: readonly AddedToken[]): RegExp {
  const units = [...new Set(tokens.map((token) => token.content.charCodeAt(0)))];
  return new RegExp(`[${units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('')}]`, 'g');
}

function longestAt(
  text: string,
  start: number,
  end: number,
  root: Node,
  plain: PlainMask | undefined,
): AddedToken | undefined {
  let node: Node | undefined = root;
  let found: AddedToken | undefined;
  for (let at = start; at < end && plain?.[at] !== 1; at++) {
    node = node.children.get(text.charCodeAt(at));
    if (node === undefined) break;
    found = node.token ?? found;
  }
  return found;
}

function splitOnce(
  text: string,
  segment: Segment,
  root: Node,
  starts: RegExp,
  plain: PlainMask | undefined,
): Segment[] {
  const out: Segment[] = [];
  let done = segment.start;
  let from = segment.start;
  for (;;) {
    starts.lastIndex = from;
    const candidate = starts.exec(text);
    if (candidate === null || candidate.index >= segment.end) break;
    const token = longestAt(text, candidate.index, segment.end, root, plain);
    if (token === undefined) {
      from = candidate.index + 1;
      continue;
    }
    let start = candidate.index;
    let end = start + token.content.length;
    from = end;
    if (token.singleWord && !standsAlone(text, segment, start, end)) continue;
    if (token.lstrip) while (start > done && isSpace(text, start - 1)) start--;
    if (token.rstrip) while (end < segment.end && isSpace(text, end)) end++;
    if (start > done) out.push({ id: -1, start: done, end: start });
    out.push({ id: token.id, start, end });
    done = end;
    from = Math.max(from, end);
  }
  if (done < segment.end) out.push({ id: -1, start: done, end: segment.end });
  return out;
}

function standsAlone(text: string, segment: Segment, start: number, end: number): boolean {
  const word = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
  const before = start === segment.start ? '' : lastCodePoint(text.slice(segment.start, start));
  const after = end === segment.end ? '' : String.fromCodePoint(text.codePointAt(end)!);
  return !word.test(before) && !word.test(after);
}

function lastCodePoint(text: string): string {
  const pair = text.codePointAt(text.length - 2);
  return pair !== undefined && pair > 0xffff ? String.fromCodePoint(pair) : text.slice(-1);
}

function isSpace(text: string, at: number): boolean {
  return /\p{White_Space}/u.test(text[at]!);
}
