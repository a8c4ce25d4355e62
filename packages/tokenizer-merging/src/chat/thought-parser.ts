/**
 * Splits a reply that arrives in pieces into thought and answer.
 *
 * Survives what reasoning models really write: no thought at all, an empty one, one never closed, a second
 * `<think>`, a stray `</think>`, tags cut anywhere between pieces. The result does not depend on how the text
 * was cut. White space next to tags is dropped; in all else the text comes back character by character. A tag
 * is never shown, in either part. Counting thought tokens is the caller's business.
 *
 * A reply that skips its opening tag although the prompt did not open a thought is seen as answer until the
 * stray `</think>`, since what was shown cannot be taken back; pass `startInThought` where the prompt ended in
 * `<think>` (`EncodedChat.opensThought`). A `<think>` after the answer began opens another thought.
 */
import { thinkTags } from './thoughts.ts';

/** A piece of the thought or of the answer; never empty. */
export type ThoughtDelta = { readonly thought: string } | { readonly text: string };

export interface ThoughtParserOptions {
  /** The prompt already opened the thought; default false. */
  readonly startInThought?: boolean;
  /** Tags; default `<think>` and `</think>`. */
  readonly open?: string;
  readonly close?: string;
}

/**
 * The parser of one reply.
 *
 * ```ts
 * const parser = new ThoughtParser({ startInThought: true });
 * parser.push('2 and 2</th'); // [{ thought: '2 and 2' }]
 * parser.push('ink>\n\n4');   // [{ text: '4' }]
 * parser.flush();             // []
 * ```
 */
export class ThoughtParser {
  private readonly open: string;
  private readonly close: string;
  /** Either tag, the longer one where both fit. */
  private readonly tags: RegExp;
  private inThought: boolean;
  /** Drop white space until something else comes: after a tag, or at the start of an opened thought. */
  private trimming: boolean;
  /** An answer's visible text has begun. */
  private answered = false;
  /** White space that is shown only if more of the same part follows. */
  private space = '';
  /** The beginning of what may become a tag. */
  private pending = '';

  constructor(options: ThoughtParserOptions = {}) {
    this.open = options.open ?? thinkTags.open;
    this.close = options.close ?? thinkTags.close;
    const longestFirst = [this.open, this.close].sort((a, b) => b.length - a.length);
    this.tags = new RegExp(longestFirst.map(quoted).join('|'), 'g');
    this.inThought = options.startInThought ?? false;
    this.trimming = this.inThought;
  }

  /** True while the text being read belongs to a thought; the caller counts tokens by it. */
  get thinking(): boolean {
    return this.inThought;
  }

  /** Deltas that this piece of text completes. */
  push(text: string): ThoughtDelta[] {
    const out: ThoughtDelta[] = [];
    const all = this.pending + text;
    let from = 0;
    for (const match of all.matchAll(this.tags)) {
      this.emit(all.slice(from, match.index), out);
      this.enter(match[0] === this.open);
      from = match.index + match[0].length;
    }
    const rest = all.slice(from);
    const held = this.heldLength(rest);
    this.emit(rest.slice(0, rest.length - held), out);
    this.pending = rest.slice(rest.length - held);
    return out;
  }

  /** Ends the reply: what was held back turns out to be no tag. White space at the very end of a part is kept. */
  flush(): ThoughtDelta[] {
    const out: ThoughtDelta[] = [];
    const rest = this.pending;
    this.pending = '';
    this.emit(rest, out);
    if (this.space.length > 0 && !this.trimming) this.show(this.space, out);
    this.space = '';
    return out;
  }

  /** How many characters at the end may be the beginning of a tag. */
  private heldLength(text: string): number {
    const longest = Math.max(this.open.length, this.close.length) - 1;
    for (let length = Math.min(longest, text.length); length > 0; length--) {
      const end = text.slice(text.length - length);
      if (this.open.startsWith(end) || this.close.startsWith(end)) return length;
    }
    return 0;
  }

  private enter(thought: boolean): void {
    // A second opening inside a thought, or a stray closing after the answer began, is only dropped.
    if (thought === this.inThought && (thought || this.answered)) return;
    this.inThought = thought;
    this.space = '';
    this.trimming = true;
  }

  private emit(text: string, out: ThoughtDelta[]): void {
    let visible = text;
    if (this.trimming) {
      visible = visible.trimStart();
      if (visible.length === 0) return;
      this.trimming = false;
    }
    // An answer's white space is shown at once, except before its first word: a thought may still follow. What is held
    // back is not looked at again, however much it becomes.
    const kept = visible.trimEnd();
    if (this.inThought || (!this.answered && kept.length === 0)) {
      const space = visible.slice(kept.length);
      if (kept.length === 0) {
        this.space += space;
        return;
      }
      visible = this.space + kept;
      this.space = space;
    } else {
      visible = this.space + visible;
      this.space = '';
    }
    if (visible.length > 0) this.show(visible, out);
  }

  private show(text: string, out: ThoughtDelta[]): void {
    const last = out[out.length - 1];
    if (this.inThought) {
      if (last !== undefined && 'thought' in last) out[out.length - 1] = { thought: last.thought + text };
      else out.push({ thought: text });
      return;
    }
    this.answered = true;
    if (last !== undefined && 'text' in last) out[out.length - 1] = { text: last.text + text };
    else out.push({ text });
  }
}

function quoted(text: string): string {
  return text.replace(/[\^$\\.*+?()[\]{}|]/g, '\\$&');
}
