/**
 * DeepSeek-R1's conversation format (deepseek-ai/DeepSeek-R1, `tokenizer_config.json`): BOS, the system text
 * without a tag, `<｜User｜>` and `<｜Assistant｜>` turns with no newlines between, EOS after each finished
 * answer, thoughts of earlier answers left out, and a prompt that ends in an opened thought.
 *
 * Deviations: several system messages join with a blank line (as in V3.1); tool messages are refused, because
 * the small vocabularies this is for have no tool tokens; `thinking: false` ends the prompt at
 * `<｜Assistant｜>` (as the first R1 template did). For a published checkpoint use its own template.
 */
import { ChatTemplate } from './template.ts';

/** Texts of the control tokens; the bars are U+FF5C and the blank marks U+2581. */
export const deepseekTokens = {
  bos: '<｜begin▁of▁sentence｜>',
  eos: '<｜end▁of▁sentence｜>',
  pad: '<｜▁pad▁｜>',
  user: '<｜User｜>',
  assistant: '<｜Assistant｜>',
  thinkOpen: '<think>',
  thinkClose: '</think>',
} as const;

/**
 * The control tokens for `trainBpe`, in DeepSeek's order of ids. As in its vocabulary the role and thought
 * tokens are not `special`, so `decode(ids, { skipSpecial: true })` keeps `<think>` for the thought parser.
 */
export const deepseekSpecialTokens: readonly { readonly content: string; readonly special: boolean }[] = [
  { content: deepseekTokens.bos, special: true },
  { content: deepseekTokens.eos, special: true },
  { content: deepseekTokens.pad, special: true },
  { content: deepseekTokens.user, special: false },
  { content: deepseekTokens.assistant, special: false },
  { content: deepseekTokens.thinkOpen, special: false },
  { content: deepseekTokens.thinkClose, special: false },
];

/** Jinja source of {@link deepseekR1Template}. */
const source = `{%- set ns = namespace(system='') -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{%- set ns.system = ns.system + ('\\n\\n' if ns.system else '') + message['content'] -%}
{%- endif -%}
{%- endfor -%}
{{- bos_token + ns.system -}}
{%- for message in messages -%}
{%- if message['role'] == 'user' -%}
{{- '<｜User｜>' + message['content'] -}}
{%- elif message['role'] == 'assistant' -%}
{{- '<｜Assistant｜>' + message['content'].split('</think>')[-1] + eos_token -}}
{%- elif message['role'] != 'system' -%}
{{- raise_exception('this template has no ' + message['role'] + ' messages') -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<｜Assistant｜>' + ('' if thinking is defined and not thinking else '<think>\\n') -}}
{%- endif -%}`;

/**
 * The built-in template; `variables: { thinking: false }` leaves the thought unopened.
 *
 * ```ts
 * deepseekR1Template.render([{ role: 'user', content: '1+1?' }]);
 * // '<｜begin▁of▁sentence｜><｜User｜>1+1?<｜Assistant｜><think>\n'
 * ```
 */
export const deepseekR1Template: ChatTemplate = new ChatTemplate(source, {
  bosToken: deepseekTokens.bos,
  eosToken: deepseekTokens.eos,
});
