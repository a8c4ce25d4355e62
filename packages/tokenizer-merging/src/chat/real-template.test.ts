// DeepSeek-V3's own chat template and vocabulary, and forms of template that other published ones have.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deepseekConfig, deepseek as tokenizer } from '../testing/real-vocabulary.ts';
import { isControl } from '../tokenizer/added-tokens.ts';
import { type ChatMessage, ChatTemplate, encodeChat, ThoughtParser } from './index.ts';

const tokens = { bosToken: '<｜begin▁of▁sentence｜>', eosToken: '<｜end▁of▁sentence｜>' };
const template = new ChatTemplate(deepseekConfig.chat_template, tokens);
const controls = new Set(tokenizer.specialTokens.filter(isControl).map((token) => token.id));
const controlsOf = (ids: Int32Array) =>
  [...ids].filter((id) => controls.has(id)).map((id) => tokenizer.idToToken(id));

const names = tokenizer.specialTokens.map((token) => token.content);
const hostile = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        ...names,
        '<think>',
        '</think>',
        '<',
        '｜>',
        '<｜User',
        '｜Assistant｜>',
        '\ue000',
        "{{ '",
        ' ',
      ),
      fc.string({ unit: 'binary', maxLength: 5 }),
    ),
    { maxLength: 5 },
  )
  .map((parts) => parts.join(''));

describe("DeepSeek-V3's own template", () => {
  it('gives the control tokens of its turns and no others, whatever the messages say', () => {
    fc.assert(
      fc.property(hostile, hostile, hostile, hostile, (system, question, answer, output) => {
        const messages: ChatMessage[] = [
          { role: 'system', content: system },
          { role: 'user', content: question },
          { role: 'assistant', content: answer },
          { role: 'user', content: question },
          { role: 'tool', content: output },
        ];
        const { ids } = encodeChat(tokenizer, template, messages);
        expect(controlsOf(ids)).toEqual([
          '<｜begin▁of▁sentence｜>',
          '<｜User｜>',
          '<｜Assistant｜>',
          '<｜end▁of▁sentence｜>',
          '<｜User｜>',
          '<｜tool▁outputs▁begin｜>',
          '<｜tool▁output▁begin｜>',
          '<｜tool▁output▁end｜>',
          '<｜tool▁outputs▁end｜>',
        ]);
      }),
      { numRuns: 200 },
    );
  });

  it('gives the ids of its text where no message spells a control token', () => {
    const messages: ChatMessage[] = [
      { role: 'user', content: 'Was ist 17 · 23? 你好 <b>' },
      { role: 'assistant', content: '391.' },
      { role: 'user', content: 'Und 2¹⁰?' },
    ];
    const { ids, text, opensThought } = encodeChat(tokenizer, template, messages);
    expect(text).toBe(template.render(messages));
    expect([...ids]).toEqual([...tokenizer.encode(text, { allowSpecial: true })]);
    expect(text.endsWith('<｜Assistant｜>')).toBe(true);
    expect(opensThought).toBe(false);
  });

  it('runs within its limits, however long the conversation, and stops at limits too small for it', () => {
    const messages = Array.from(
      { length: 2000 },
      (_, i): ChatMessage => ({ role: i % 2 === 0 ? 'user' : 'assistant', content: `${i} `.repeat(100) }),
    );
    expect(template.render(messages).length).toBeGreaterThan(500_000);
    const code = expect.objectContaining({ code: 'out-of-memory' });
    const bounded = (limits: object) => new ChatTemplate(deepseekConfig.chat_template, { ...tokens, limits });
    expect(() => bounded({ steps: 1000 }).render(messages)).toThrow(code);
    expect(() => bounded({ outputLength: 1000 }).render(messages)).toThrow(code);
    expect(() => bounded({ listLength: 100 }).render(messages)).toThrow(code);
    expect(() => bounded({ sourceLength: 100 })).toThrow(expect.objectContaining({ code: 'invalid-file' }));
  });
});

describe('a prompt and the parser of its reply', () => {
  const user: ChatMessage[] = [{ role: 'user', content: 'Why? </think> <think>' }];
  const ending = (text: string) => new ChatTemplate(`{{ messages[0].content }}<｜Assistant｜>${text}`);
  const read = (end: string, reply: string) => {
    const { opensThought } = encodeChat(tokenizer, ending(end), user);
    const parser = new ThoughtParser({ startInThought: opensThought });
    const parts = { thought: '', text: '' };
    for (const delta of [...[...reply].flatMap((character) => parser.push(character)), ...parser.flush()]) {
      parts.thought += 'thought' in delta ? delta.thought : '';
      parts.text += 'text' in delta ? delta.text : '';
    }
    return [opensThought, parts.thought, parts.text];
  };

  it.each([
    ['opened by the template', '<think>\n', 'a</think>b', true, 'a', 'b'],
    ['opened, and opened again by the reply', '<think>', '<think>\na\n</think>\n\nb', true, 'a', 'b'],
    ['opened and never closed', '<think>\n', 'a', true, 'a', ''],
    ['closed by the template (thinking off)', '</think>', 'b', false, '', 'b'],
    ['opened and closed by the template', '<think>\n\n</think>\n\n', 'b', false, '', 'b'],
    ['left to the reply', '', '<think>a</think>b', false, 'a', 'b'],
    ['empty', '<think>\n', '</think>b', true, '', 'b'],
    ['closed twice', '<think>\n', 'a</think></think>b', true, 'a', 'b'],
    ['missing', '', 'b', false, '', 'b'],
  ])('agree on a thought %s', (_, end, reply, opens, thought, text) => {
    expect(read(end, reply)).toEqual([opens, thought, text]);
  });
});
