import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { trainBpe } from '../tokenizer/index.ts';
import {
  type ChatMessage,
  ChatTemplate,
  deepseekR1Template,
  deepseekSpecialTokens,
  deepseekTokens,
  encodeChat,
  encodeReply,
} from './index.ts';

const tokenizer = trainBpe(['What is 348 + 977? The answer is 1325. Thinking about it.'], {
  vocabSize: 300,
  specialTokens: deepseekSpecialTokens,
  digits: 'individual',
});
const id = (token: keyof typeof deepseekTokens) => tokenizer.tokenToId(deepseekTokens[token])!;
const controls = new Set(tokenizer.specialTokens.map((token) => token.id));
const controlsOf = (ids: Int32Array) => Array.from(ids).filter((value) => controls.has(value));

const hostile = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        ...Object.values(deepseekTokens),
        '<',
        '>',
        '<thi',
        'nk>',
        '｜>',
        '\ue000',
        '\ue001\uf8ff',
        ' ',
        '\n',
      ),
      fc.string({ unit: 'binary', maxLength: 5 }),
    ),
    { maxLength: 6 },
  )
  .map((parts) => parts.join(''));

describe('encodeChat', () => {
  it('gives an ordinary conversation the ids of its rendered text', () => {
    const messages: ChatMessage[] = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'What is 1 < 2?' },
      { role: 'assistant', content: 'True.', reasoning: 'One is less.' },
      { role: 'user', content: 'And 3 > 2, a<b>c?' },
    ];
    const { ids, text, opensThought } = encodeChat(tokenizer, deepseekR1Template, messages);
    expect(text).toBe(deepseekR1Template.render(messages));
    expect(Array.from(ids)).toEqual(Array.from(tokenizer.encode(text, { allowSpecial: true })));
    expect(opensThought).toBe(true);
  });

  it('takes control tokens from the template alone, whatever the messages say', () => {
    fc.assert(
      fc.property(hostile, hostile, hostile, (system, question, next) => {
        const messages: ChatMessage[] = [
          { role: 'system', content: system },
          { role: 'user', content: question },
          { role: 'assistant', content: 'ok' },
          { role: 'user', content: next },
        ];
        const { ids, text } = encodeChat(tokenizer, deepseekR1Template, messages);
        expect(controlsOf(ids)).toEqual([
          id('bos'),
          id('user'),
          id('assistant'),
          id('eos'),
          id('user'),
          id('assistant'),
          id('thinkOpen'),
        ]);
        expect(tokenizer.decode(ids)).toBe(text.replace(/\p{Surrogate}/gu, '\ufffd'));
        expect(text).toBe(deepseekR1Template.render(messages));
      }),
      { numRuns: 500 },
    );
  });

  it('holds for other templates, which may trim, cut, compare and measure the text', () => {
    const template = new ChatTemplate(
      '{% for m in messages %}<｜User｜>{{ m.content | trim }}{% if m.content | length > 3 %}{{ m.content[:7] }}{% endif %}{{ variable }}{% endfor %}{{ tools | tojson }}',
    );
    const { ids, text } = encodeChat(tokenizer, template, [{ role: 'user', content: ' <think> ' }], {
      variables: {
        variable: '<｜User｜>',
        tools: [{ description: '</think>', role: '<think>', '<｜User｜>': 1 }],
      },
    });
    expect(text).toBe(
      '<｜User｜><think> <think<｜User｜>[{"description": "</think>", "role": "<think>", "<｜User｜>": 1}]',
    );
    expect(controlsOf(ids)).toEqual([id('user')]);
  });

  it('does not let two messages or a message and the template spell a token together', () => {
    const template = new ChatTemplate('{% for m in messages %}{{ m.content }}{% endfor %}nk>｜>');
    for (const contents of [['<thi', 'nk>'], ['<thi'], ['<｜User']]) {
      const messages = contents.map((content): ChatMessage => ({ role: 'user', content }));
      expect(controlsOf(encodeChat(tokenizer, template, messages).ids)).toEqual([]);
    }
  });

  it('does not take a thought opened by a user for one opened by the template', () => {
    const messages: ChatMessage[] = [{ role: 'user', content: 'say <think>\n' }];
    expect(
      encodeChat(tokenizer, deepseekR1Template, messages, { addGenerationPrompt: false }).opensThought,
    ).toBe(false);
  });

  it('refuses a template that escapes message text to ASCII', () => {
    const template = new ChatTemplate('{{ messages[0].content | tojson(ensure_ascii=true) }}');
    expect(() => encodeChat(tokenizer, template, [{ role: 'user', content: '<' }])).toThrow(
      expect.objectContaining({ code: 'unsupported' }),
    );
  });

  it('refuses messages that use up every private-use character', () => {
    const all = Array.from({ length: 6400 }, (_, i) => String.fromCharCode(0xe000 + i)).join('');
    expect(() => encodeChat(tokenizer, deepseekR1Template, [{ role: 'user', content: all }])).toThrow(
      expect.objectContaining({ code: 'invalid-argument' }),
    );
  });
});

describe('encodeReply', () => {
  const reply = { reasoning: 'a</think>b', content: `c${deepseekTokens.eos}d` };

  it('closes the thought the prompt opened and ends with EOS, texts being texts', () => {
    const ids = encodeReply(tokenizer, deepseekR1Template, reply, { opensThought: true });
    expect(tokenizer.decode(ids)).toBe(
      `a</think>b\n</think>\n\nc${deepseekTokens.eos}d${deepseekTokens.eos}`,
    );
    expect(controlsOf(ids)).toEqual([id('thinkClose'), id('eos')]);
  });

  it('opens the thought itself where the prompt did not', () => {
    const ids = encodeReply(tokenizer, deepseekR1Template, reply, { opensThought: false });
    expect(controlsOf(ids)).toEqual([id('thinkOpen'), id('thinkClose'), id('eos')]);
  });

  it('is answer and EOS without a thought', () => {
    const ids = encodeReply(tokenizer, deepseekR1Template, { content: 'yes' }, { opensThought: false });
    expect(tokenizer.decode(ids)).toBe(`yes${deepseekTokens.eos}`);
  });
});
