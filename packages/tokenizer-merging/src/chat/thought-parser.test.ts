import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { endsInThought, splitThought, type ThoughtDelta, ThoughtParser } from './index.ts';

/** Parses pieces and joins neighbours of a kind, which is what a client sees in the end. */
function parse(pieces: string[], startInThought = false): ThoughtDelta[] {
  const parser = new ThoughtParser({ startInThought });
  const deltas = pieces.flatMap((piece) => parser.push(piece)).concat(parser.flush());
  const joined: { kind: 'thought' | 'text'; value: string }[] = [];
  for (const delta of deltas) {
    const [kind, value] = Object.entries(delta)[0] as ['thought' | 'text', string];
    expect(value).not.toBe('');
    const last = joined[joined.length - 1];
    if (last?.kind === kind) last.value += value;
    else joined.push({ kind, value });
  }
  return joined.map(({ kind, value }) => ({ [kind]: value })) as ThoughtDelta[];
}

describe('ThoughtParser', () => {
  const cases: [string, string, boolean, ThoughtDelta[]][] = [
    ['a thought and an answer', '<think>\nhm\n</think>\n\nyes', false, [{ thought: 'hm' }, { text: 'yes' }]],
    ['a thought the prompt opened', 'hm\n</think>\n\nyes', true, [{ thought: 'hm' }, { text: 'yes' }]],
    ['no thought', 'just text', false, [{ text: 'just text' }]],
    ['an empty thought', '<think>\n\n</think>\n\nyes', false, [{ text: 'yes' }]],
    ['an empty thought the prompt opened', '\n</think>\nyes', true, [{ text: 'yes' }]],
    ['an unclosed thought', '<think>so far', false, [{ thought: 'so far' }]],
    ['an unclosed thought the prompt opened', 'so far', true, [{ thought: 'so far' }]],
    ['a repeated opening', '<think>\nhm', true, [{ thought: 'hm' }]],
    ['an opening inside a thought', 'a <think>b</think>c', true, [{ thought: 'a b' }, { text: 'c' }]],
    [
      'a second thought',
      '<think>a</think>b<think>c</think>d',
      false,
      [{ thought: 'a' }, { text: 'b' }, { thought: 'c' }, { text: 'd' }],
    ],
    ['a stray closing', 'a</think>b', false, [{ text: 'ab' }]],
    ['a closing first', '</think>\n\nb', false, [{ text: 'b' }]],
    ['a doubled closing', 'a</think></think>b', true, [{ thought: 'a' }, { text: 'b' }]],
    ['white space before the opening', ' \n<think>a</think>b', false, [{ thought: 'a' }, { text: 'b' }]],
    ['white space before text', '  b', false, [{ text: '  b' }]],
    ['inner white space', 'a \n b</think>\n c \n d ', true, [{ thought: 'a \n b' }, { text: 'c \n d ' }]],
    ['things that are no tags', 'a<b</thin k><thinking>', false, [{ text: 'a<b</thin k><thinking>' }]],
    ['half a tag at the end', 'a</thi', true, [{ thought: 'a</thi' }]],
    ['half an opening at the end', 'a<think', false, [{ text: 'a<think' }]],
    ['a bracket before a tag', 'a<</think><b', true, [{ thought: 'a<' }, { text: '<b' }]],
    ['nothing', '', true, []],
  ];
  it.each(cases)('reads %s, in one piece and character by character', (_, text, startInThought, expected) => {
    expect(parse([text], startInThought)).toEqual(expected);
    expect(parse([...text], startInThought)).toEqual(expected);
  });

  it('gives the same result however the text is cut, and loses only tags and white space', () => {
    const part = fc.constantFrom(
      '<think>',
      '</think>',
      '<',
      'think',
      '>',
      '</',
      ' ',
      '\n',
      'a',
      'b🐋',
      '<thi',
      'nk>',
    );
    fc.assert(
      fc.property(
        fc.array(part, { maxLength: 14 }),
        fc.boolean(),
        fc.array(fc.nat(60)),
        (parts, start, cuts) => {
          const text = parts.join('');
          const at = [0, ...cuts.filter((cut) => cut <= text.length).sort((a, b) => a - b), text.length];
          const pieces = at.slice(1).map((end, i) => text.slice(at[i]!, end));
          const whole = parse([text], start);
          expect(parse(pieces, start)).toEqual(whole);
          const shown = whole.map((delta) => Object.values(delta)[0]).join('');
          expect(shown.replace(/\s/g, '')).toBe(text.replace(/<\/?think>/g, '').replace(/\s/g, ''));
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('shows text as soon as it cannot be a tag', () => {
    const parser = new ThoughtParser({ startInThought: true });
    expect(parser.push('a<')).toEqual([{ thought: 'a' }]);
    expect(parser.push('b')).toEqual([{ thought: '<b' }]);
    expect(parser.thinking).toBe(true);
    expect(parser.push('</think>c')).toEqual([{ text: 'c' }]);
    expect(parser.thinking).toBe(false);
  });

  it('takes time in proportion to the reply, whatever it repeats', () => {
    const many = 400_000;
    const start = process.cpuUsage();
    expect(parse(['<think>'.repeat(many)], false)).toEqual([]);
    expect(parse(['x', ...Array.from({ length: many }, () => ' '), 'y'], true)).toEqual([
      { thought: `x${' '.repeat(many)}y` },
    ]);
    expect(splitThought(`a${'\n'.repeat(many)}b</think>c`).answer).toBe('c');
    const { user, system } = process.cpuUsage(start);
    expect((user + system) / 1e6).toBeLessThan(10);
  });

  it('takes other tags', () => {
    const parser = new ThoughtParser({ open: '[t]', close: '[/t]' });
    expect(parser.push('[t]a[/t]b')).toEqual([{ thought: 'a' }, { text: 'b' }]);
  });
});

describe('splitThought', () => {
  it.each([
    ['no tags', { thought: undefined, answer: 'no tags' }],
    ['<think>\na\n</think>\n\nb', { thought: 'a', answer: '\n\nb' }],
    ['a</think>b', { thought: 'a', answer: 'b' }],
    ['<think>a</think>b<think>c</think>d', { thought: 'abc', answer: 'd' }],
    ['<think>never closed', { thought: undefined, answer: '<think>never closed' }],
  ])('cuts %j at the last closing tag', (text, expected) => {
    expect(splitThought(text)).toEqual(expected);
  });
});

it('knows whether a prompt ends inside a thought', () => {
  expect(endsInThought('<｜Assistant｜><think>\n')).toBe(true);
  expect(endsInThought('<｜Assistant｜>')).toBe(false);
  expect(endsInThought('<think></think>')).toBe(false);
});
