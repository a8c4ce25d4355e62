/**
 * From a conversation to token ids in which control tokens come from the template alone.
 *
 * Rendering to text and then tokenising it would turn `<｜Assistant｜>` typed by a user into the real token.
 * Instead, in everything that is not the template's own (message texts, extra variables) the first and last
 * character of every control token is replaced, one for one, by a private-use character that occurs in none of
 * the inputs. The template renders as usual: it can measure, trim, compare and slice the text. In its output
 * the stand-ins mark characters that came from outside; they are put back and encoded as plain text.
 *
 * So a control token needs at least its first and last character from the template, and text without
 * control-token spellings gets exactly the ids that tokenising the rendered text gives. Limits: a template that
 * writes those two characters tightly around a message (`<{{ content }}>`) can still be made to spell a token;
 * one that searches message text for a tag does not find it (thoughts in an assistant's content are separated
 * before rendering for this reason); one that escapes text to ASCII JSON is refused with `unsupported`.
 */
import { check, MinkeError } from '@minke/core';
import { isControl } from '../tokenizer/added-tokens.ts';
import type { Tokenizer } from '../tokenizer/index.ts';
import type { ChatMessage } from './message.ts';
import type { ChatTemplate, RenderOptions } from './template.ts';
import { endsInThought, thinkTags } from './thoughts.ts';

/** An encoded prompt. */
export interface EncodedChat {
  readonly ids: Int32Array;
  /** The prompt's text, for display. */
  readonly text: string;
  /** The template left a thought open, so the reply starts inside it. */
  readonly opensThought: boolean;
}

/**
 * Renders a conversation and encodes it. No BOS is added beyond the template's own.
 *
 * ```ts
 * const { ids, opensThought } = encodeChat(tokenizer, deepseekR1Template, [{ role: 'user', content: '1+1?' }]);
 * ```
 */
export function encodeChat(
  tokenizer: Tokenizer,
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  options: RenderOptions = {},
): EncodedChat {
  const mask = new ControlMask(tokenizer, [template.source, JSON.stringify([messages, options.variables])]);
  const masked = template.renderMasked(messages, options, (text) => mask.hide(text));
  const { text, plainRanges } = mask.reveal(masked);
  return {
    ids: tokenizer.encode(text, { allowSpecial: true, plainRanges }),
    text,
    opensThought: endsInThought(masked),
  };
}

/** An assistant's turn to train on or to continue from. */
export interface Reply {
  readonly reasoning?: string;
  readonly content: string;
}

/**
 * Ids of an assistant's reply in the form a reasoning model writes it after its prompt:
 * `{reasoning}\n</think>\n\n{content}EOS`, preceded by `<think>\n` where the prompt did not open the thought.
 * A reply without `reasoning` after an unopened prompt is its content and EOS. These are the supervised
 * tokens of a training example; tags and EOS are control tokens, the texts are not.
 */
export function encodeReply(
  tokenizer: Tokenizer,
  template: ChatTemplate,
  reply: Reply,
  { opensThought }: { readonly opensThought: boolean },
): Int32Array {
  const { reasoning, content } = reply;
  check(
    typeof content === 'string' && (reasoning === undefined || typeof reasoning === 'string'),
    () => 'encodeReply: expected content and reasoning to be strings',
  );
  const parts: { text: string; plain: boolean }[] = [];
  if (opensThought || reasoning !== undefined) {
    if (!opensThought) parts.push({ text: `${thinkTags.open}\n`, plain: false });
    parts.push({ text: reasoning ?? '', plain: true }, { text: `\n${thinkTags.close}\n\n`, plain: false });
  }
  parts.push({ text: content, plain: true }, { text: template.eosToken, plain: false });
  const plainRanges: [number, number][] = [];
  let text = '';
  for (const part of parts) {
    if (part.plain) plainRanges.push([text.length, text.length + part.text.length]);
    text += part.text;
  }
  return tokenizer.encode(text, { allowSpecial: true, plainRanges });
}

/** The stand-ins of one call. */
class ControlMask {
  private readonly standIns = new Map<string, string>();
  private readonly originals = new Map<string, string>();
  private readonly hidden: RegExp | undefined;
  private readonly shown: RegExp | undefined;

  /** `inputs`: all texts in which a stand-in must not occur. */
  constructor(tokenizer: Tokenizer, inputs: readonly string[]) {
    const taken = new Set<string>();
    for (const text of [...inputs, ...tokenizer.specialTokens.map((token) => token.content)])
      for (const [char] of text.matchAll(/[\ue000-\uf8ff]/g)) taken.add(char);
    const edges = new Set<string>();
    for (const token of tokenizer.specialTokens.filter(isControl)) {
      edges.add(token.content[0]!);
      edges.add(token.content[token.content.length - 1]!);
    }
    let next = 0xe000;
    for (const edge of edges) {
      while (taken.has(String.fromCharCode(next))) next++;
      if (next > 0xf8ff)
        throw new MinkeError(
          'invalid-argument',
          'encodeChat: expected messages to leave some of the 6,400 private-use characters unused, got all of them',
        );
      const standIn = String.fromCharCode(next++);
      this.standIns.set(edge, standIn);
      this.originals.set(standIn, edge);
    }
    if (edges.size > 0) {
      this.hidden = classOf(this.standIns.keys());
      this.shown = classOf(this.originals.keys());
    }
  }

  hide(text: string): string {
    return this.hidden === undefined ? text : text.replace(this.hidden, (char) => this.standIns.get(char)!);
  }

  reveal(masked: string): { text: string; plainRanges: [number, number][] } {
    const plainRanges: [number, number][] = [];
    if (this.shown === undefined) return { text: masked, plainRanges };
    for (const standIn of this.originals.keys())
      if (masked.toLowerCase().includes(`\\u${standIn.charCodeAt(0).toString(16)}`))
        throw new MinkeError(
          'unsupported',
          'encodeChat: expected a template that keeps message text as it is, got one that escapes it to ASCII JSON',
        );
    const text = masked.replace(this.shown, (char, at: number) => {
      plainRanges.push([at, at + 1]);
      return this.originals.get(char)!;
    });
    return { text, plainRanges };
  }
}

function classOf(chars: Iterable<string>): RegExp {
  const units = [...chars].map((char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return new RegExp(`[${units.join('')}]`, 'g');
}
