/**
 * Chat templates: a conversation to the text a model was trained on, by the Jinja source that ships in a
 * checkpoint's `tokenizer_config.json` (transformers, "Chat templates").
 *
 * Before rendering, an assistant's content is separated from a thought still inside it (`<think>...</think>`),
 * which becomes `reasoning_content`; so every template gets answers without thoughts, whether or not it strips
 * them itself. `tojson`, `namespace`, macros and the usual filters work as far as `@huggingface/jinja` has them.
 */
import { MinkeError } from '@minke/core';
import { BoundedTemplate, defaultTemplateLimits, type TemplateLimits } from './bounded-jinja.ts';
import { type ChatMessage, checkMessages } from './message.ts';
import { splitThought } from './thoughts.ts';

/** Tokens and bounds of a template. */
export interface ChatTemplateOptions {
  /** Text of the BOS token, `bos_token` in the template; default empty. */
  readonly bosToken?: string;
  /** Text of the EOS token, `eos_token` in the template; default empty. */
  readonly eosToken?: string;
  readonly limits?: Partial<TemplateLimits>;
}

/** What to render besides the messages. */
export interface RenderOptions {
  /** Ends with the opening of an assistant's turn; default true. */
  readonly addGenerationPrompt?: boolean;
  /** Further variables (JSON values), such as `{ thinking: false }` or `{ tools: [...] }`. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/**
 * A parsed chat template.
 *
 * ```ts
 * const template = new ChatTemplate("{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}");
 * template.render([{ role: 'user', content: 'Hi' }]); // '[user] Hi\n'
 * ```
 */
export class ChatTemplate {
  /** The Jinja source, as it goes into `tokenizer_config.json`. */
  readonly source: string;
  readonly bosToken: string;
  readonly eosToken: string;
  private readonly template: BoundedTemplate;

  /** Throws `MinkeError('invalid-file')` for a source that is no string, too long or not Jinja. */
  constructor(source: string, options: ChatTemplateOptions = {}) {
    if (typeof source !== 'string')
      throw new MinkeError('invalid-file', `chat template: expected a string, got ${typeof source}`);
    this.source = source;
    this.bosToken = options.bosToken ?? '';
    this.eosToken = options.eosToken ?? '';
    this.template = new BoundedTemplate(source, { ...defaultTemplateLimits, ...options.limits });
  }

  /**
   * The prompt's text. Throws `invalid-argument` for malformed messages or ones the template refuses, and
   * `out-of-memory` for a template that passes its limits. To get ids use `encodeChat`: text in a message
   * that spells a control token is not told apart here.
   */
  render(messages: readonly ChatMessage[], options: RenderOptions = {}): string {
    return this.renderMasked(messages, options, (text) => text);
  }

  /** Like `render`, with every text that is not the template's own passed through `mask` first. */
  renderMasked(
    messages: readonly ChatMessage[],
    { addGenerationPrompt = true, variables = {} }: RenderOptions,
    mask: (text: string) => string,
  ): string {
    checkMessages(messages);
    return this.template.run(
      {
        ...Object.fromEntries(
          Object.entries(variables).map(([name, value]) => [name, maskStrings(value, mask)]),
        ),
        messages: messages.map((message) => toTemplateMessage(message, mask)),
        add_generation_prompt: addGenerationPrompt,
        bos_token: this.bosToken,
        eos_token: this.eosToken,
      },
      messages.reduce((sum, message) => sum + message.content.length, 0),
    );
  }
}

function toTemplateMessage(
  { role, content, reasoning }: ChatMessage,
  mask: (text: string) => string,
): object {
  if (role !== 'assistant') return { role, content: mask(content) };
  const { thought, answer } = splitThought(content);
  const kept = reasoning ?? thought;
  return { role, content: mask(answer), ...(kept === undefined ? {} : { reasoning_content: mask(kept) }) };
}

/** Applies `mask` to every string inside a JSON value, names of object members included. */
function maskStrings(value: unknown, mask: (text: string) => string): unknown {
  if (typeof value === 'string') return mask(value);
  if (Array.isArray(value)) return value.map((item) => maskStrings(item, mask));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [mask(name), maskStrings(item, mask)]),
  );
}
