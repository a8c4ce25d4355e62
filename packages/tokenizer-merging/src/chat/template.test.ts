import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type ChatMessage, ChatTemplate, deepseekR1Template } from './index.ts';

const user: ChatMessage[] = [{ role: 'user', content: 'Hi' }];
const withCode = (code: string) => expect.objectContaining({ code });

describe('the DeepSeek-R1 template', () => {
  it('renders what transformers renders from the same source', () => {
    const fixture = JSON.parse(readFileSync(new URL('../../fixtures/chat.json', import.meta.url), 'utf8'));
    expect(deepseekR1Template.source).toBe(fixture.source);
    expect(fixture.cases.length).toBeGreaterThan(5);
    for (const { messages, variables, add_generation_prompt, text } of fixture.cases)
      expect(
        deepseekR1Template.render(messages, { variables, addGenerationPrompt: add_generation_prompt }),
      ).toBe(text);
  });

  it('opens the thought only for generation, and not if told so', () => {
    expect(deepseekR1Template.render(user)).toBe(
      '<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜><think>\n',
    );
    expect(deepseekR1Template.render(user, { variables: { thinking: false } })).toMatch(/<｜Assistant｜>$/);
    expect(deepseekR1Template.render(user, { addGenerationPrompt: false })).toMatch(/Hi$/);
  });

  it('leaves thoughts out of earlier answers, however they were sent', () => {
    const answers: ChatMessage[] = [
      { role: 'assistant', content: 'A', reasoning: 'R' },
      { role: 'assistant', content: '<think>R</think>A' },
      { role: 'assistant', content: 'R</think>A' },
    ];
    for (const answer of answers)
      expect(deepseekR1Template.render([...user, answer, ...user])).toBe(
        '<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>A<｜end▁of▁sentence｜><｜User｜>Hi<｜Assistant｜><think>\n',
      );
  });

  it('refuses tool messages in so many words', () => {
    expect(() => deepseekR1Template.render([{ role: 'tool', content: 'x' }])).toThrow(/no tool messages/);
  });
});

describe('ChatTemplate', () => {
  it('gives templates the variables transformers gives them', () => {
    const template = new ChatTemplate(
      "{{ bos_token }}{% for m in messages %}{{ m['role'] }}:{{ m.content | trim }}{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %};{% endfor %}{{ tools | tojson }}{% if add_generation_prompt %}>{% endif %}",
      { bosToken: '<s>' },
    );
    const messages: ChatMessage[] = [...user, { role: 'assistant', content: ' yes ', reasoning: 'hm' }];
    expect(template.render(messages, { variables: { tools: [{ name: 'f' }] } })).toBe(
      '<s>user:Hi;assistant:yes(hm);[{"name": "f"}]>',
    );
  });

  it.each<[string, unknown]>([
    ['no list', 'hi'],
    ['an empty list', []],
    ['a null message', [null]],
    ['an unknown role', [{ role: 'root', content: 'x' }]],
    ['content of another type', [{ role: 'user', content: 5 }]],
    ['missing content', [{ role: 'user' }]],
    ['reasoning of another type', [{ role: 'assistant', content: 'x', reasoning: 1 }]],
  ])('refuses messages with %s', (_, messages) => {
    expect(() => deepseekR1Template.render(messages as ChatMessage[])).toThrow(withCode('invalid-argument'));
  });

  it.each(['{% for %}', '{{ ', '{% if x %}', '{'.repeat(50) + '%'.repeat(50)])(
    'refuses broken source %j',
    (source) => {
      expect(() => new ChatTemplate(`${source}{%`)).toThrow(withCode('invalid-file'));
    },
  );

  it('refuses a source that is too long or nested too deeply', () => {
    expect(() => new ChatTemplate('x'.repeat(300_000))).toThrow(withCode('invalid-file'));
    expect(() => new ChatTemplate(`{{ ${'('.repeat(100_000)}1${')'.repeat(100_000)} }}`)).toThrow(
      withCode('invalid-file'),
    );
  });

  it.each([
    ['a huge range', '{% for i in range(1000000000) %}x{% endfor %}'],
    [
      'nested loops',
      '{% for i in range(9999) %}{% for j in range(9999) %}{% for k in range(9999) %}{% endfor %}{% endfor %}{% endfor %}',
    ],
    [
      'a string that doubles',
      "{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
    ],
    [
      'a list that doubles',
      '{% set ns = namespace(s=[1,2]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}',
    ],
    ['a recursive macro', '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}'],
    [
      'a macro that calls itself twice',
      '{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}',
    ],
    [
      'an output too long',
      "{% for i in range(90000) %}{{ 'x' * 1 }}{% for j in range(90) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
    ],
  ])('stops %s in bounded time', (_, source) => {
    const start = performance.now();
    expect(() => new ChatTemplate(source).render(user)).toThrow(
      expect.objectContaining({ name: 'MinkeError' }),
    );
    expect(performance.now() - start).toBeLessThan(6000);
  });

  it('shows templates nothing of JavaScript', () => {
    const render = (source: string) => new ChatTemplate(source).render(user);
    expect(render("[{{ messages.constructor }}{{ messages[0]['__proto__'] }}{{ ''.constructor }}]")).toBe(
      '[]',
    );
    expect(() => render("{{ messages.constructor.constructor('return 1')() }}")).toThrow(
      withCode('invalid-argument'),
    );
  });

  it('keeps state neither between renderings nor after a failure', () => {
    const template = new ChatTemplate(
      "{% set n = namespace(c=0) %}{% for m in messages %}{% set n.c = n.c + 1 %}{% endfor %}{{ n.c }}{% if messages[0].content == 'no' %}{{ raise_exception('no') }}{% endif %}",
    );
    expect(template.render(user)).toBe('1');
    expect(() => template.render([{ role: 'user', content: 'no' }])).toThrow(/no/);
    expect(template.render([...user, ...user])).toBe('2');
  });
});
