import { Random } from '@minke/core';
import { describe, expect, it } from 'vitest';
import { verify, verifyAnswer } from './answer.ts';
import { allFamilyNames, generate } from './families.ts';
import { type ByteChunks, readJsonLines, toLines } from './json-lines.ts';
import type { Problem } from './problem.ts';
import { type RowFormat, readRows, toPreference, toPrompt } from './rows.ts';
import { completionText, toJsonLines } from './solution.ts';

async function all<T>(rows: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const row of rows) list.push(row);
  return list;
}

const bytes = (text: string) => new TextEncoder().encode(text);

function problems(): Problem[] {
  const random = new Random(8);
  return allFamilyNames.map((name, i) => generate(name, random, 2, i % 2 === 0 ? 'en' : 'es'));
}

/** The bytes of a text in pieces of one size, to cut lines and characters anywhere. */
function* inPieces(text: string, size: number): Generator<Uint8Array> {
  const whole = bytes(text);
  for (let at = 0; at < whole.length; at += size) yield whole.slice(at, at + size);
}

describe('readRows', () => {
  it('reads back the conversations it wrote, however the bytes are cut', async () => {
    const text = [...toJsonLines(problems())].join('');
    for (const size of [1, 7, 4096]) {
      const rows = await all(readRows(inPieces(text, size), 'messages'));
      expect(rows.map(({ messages, extra }) => ({ ...extra, messages }))).toEqual(
        text
          .trimEnd()
          .split('\n')
          .map((line) => JSON.parse(line)),
      );
    }
  });

  it('reads from web streams and texts, skips blank lines, carriage returns and a byte order mark', async () => {
    const text =
      '\ufeff{"prompt":"2+2","answer":"4"}\r\n\r\n  \n{"prompt":[{"role":"user","content":"¿2+3?"}]}';
    const expected = [
      { prompt: [{ role: 'user', content: '2+2' }], extra: { answer: '4' } },
      { prompt: [{ role: 'user', content: '¿2+3?' }], extra: {} },
    ];
    const sources: ByteChunks[] = [
      [text],
      inPieces(text, 3),
      new Blob([text]).stream() as ReadableStream<Uint8Array>,
    ];
    for (const source of sources) expect(await all(readRows(source, 'prompt'))).toEqual(expected);
    const bare = new Blob([text]).stream() as ReadableStream<Uint8Array>;
    const onlyReader = { getReader: () => bare.getReader() } as unknown as ReadableStream<Uint8Array>;
    expect(await all(readRows(onlyReader, 'prompt'))).toEqual(expected);
  });

  it('gives verifiers what they need', async () => {
    const given = problems();
    const rows = await all(readRows(toLines(given.map(toPrompt)), 'prompt'));
    rows.forEach(({ extra, prompt }, i) => {
      const problem = given[i] as Problem;
      expect(prompt[0]?.content).toBe(problem.prompt);
      expect(verify(extra as never, completionText(problem)).score).toBe(1);
    });
  });

  it('reads preferences with and without a prompt column, and writes them', async () => {
    const given = problems();
    const pairs = given.map((problem) => toPreference(problem, 4)).filter((pair) => pair !== null);
    expect(pairs.length).toBeGreaterThan(given.length - 3);
    const rows = await all(readRows(toLines(pairs), 'preference'));
    rows.forEach(({ chosen, rejected, extra }) => {
      const problem = given.find(({ id }) => id === extra.id) as Problem;
      expect(verifyAnswer(problem, chosen[0]?.content as string).score).toBe(1);
      expect(verifyAnswer(problem, rejected[0]?.content as string).score, problem.prompt).toBe(0);
    });
    const whole = (said: string) => [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: said },
    ];
    expect(
      await all(readRows(toLines([{ chosen: whole('a'), rejected: whole('b') }]), 'preference')),
    ).toEqual([
      {
        prompt: [{ role: 'user', content: 'Hi' }],
        chosen: [{ role: 'assistant', content: 'a' }],
        rejected: [{ role: 'assistant', content: 'b' }],
        extra: {},
      },
    ]);
  });

  it('finds the thought where files of the wild put it', async () => {
    const forms = [
      { content: 'B', reasoning_content: 'A' },
      { content: 'B', thinking: 'A' },
      { content: '<think>\nA\n</think>\n\nB' },
    ];
    for (const form of forms) {
      const [row] = await all(
        readRows(toLines([{ messages: [{ role: 'assistant', ...form }] }]), 'messages'),
      );
      expect(row?.messages).toEqual([{ role: 'assistant', content: 'B', reasoning_content: 'A' }]);
    }
  });

  const good = '{"prompt":"a","chosen":"b","rejected":"c"}\n';
  const bad: [string, RowFormat, (string | Uint8Array)[], RegExp][] = [
    ['an empty file', 'prompt', [], /^set: expected at least one row, got an empty file/],
    ['a file of blank lines', 'prompt', ['\n \n\n'], /empty file/],
    [
      'bad JSON',
      'prompt',
      [good, '{"prompt": "a",}\n'],
      /^set: line 2: expected one JSON object, got bad JSON/,
    ],
    ['a cut last line', 'prompt', [good, good, '{"prompt": "a'], /^set: line 3: .*bad JSON/],
    ['a list', 'prompt', ['[1, 2]'], /line 1: expected a JSON object, got a list/],
    ['a number', 'prompt', ['7'], /got a number/],
    ['null', 'prompt', ['null'], /got null/],
    [
      'other columns',
      'messages',
      [good],
      /line 1: expected column messages of the messages format, got prompt, chosen, rejected; this looks like the preference format/,
    ],
    ['ShareGPT columns', 'messages', ['{"conversations":[]}'], /rename it to `messages`/],
    [
      'ShareGPT messages',
      'messages',
      ['{"messages":[{"from":"human","value":"a"}]}'],
      /rename them to `role`\/`content`/,
    ],
    [
      'an unknown role',
      'messages',
      ['{"messages":[{"role":"bot","content":"a"}]}'],
      /expected role .* in messages\[0\], got "bot"/,
    ],
    [
      'content that is no text',
      'messages',
      ['{"messages":[{"role":"user","content":7}]}'],
      /text in messages\[0\].content, got 7/,
    ],
    ['no messages', 'messages', ['{"messages":[]}'], /list of messages in messages, got \[\]/],
    [
      'nothing to learn from',
      'messages',
      ['{"messages":[{"role":"user","content":"a"}]}'],
      /expected an assistant message/,
    ],
    [
      'equal replies',
      'preference',
      ['{"chosen":[{"role":"user","content":"a"}],"rejected":[{"role":"user","content":"a"}]}'],
      /expected chosen and rejected to differ/,
    ],
    ['no prompt to be found', 'preference', ['{"chosen":"a","rejected":"b"}'], /expected a prompt column/],
    [
      'Latin-1 in the second line',
      'prompt',
      [good, new Uint8Array([...bytes('{"prompt":"caf'), 0xe9, ...bytes('"}\n')])],
      /line 2: expected UTF-8, got bytes that are none/,
    ],
    [
      'UTF-16 with a mark',
      'prompt',
      [new Uint8Array([0xff, 0xfe, 0x7b, 0, 0x22, 0])],
      /line 1: expected UTF-8, got UTF-16/,
    ],
    [
      'UTF-16 without one',
      'prompt',
      [good, new Uint8Array([0x7b, 0, 0x22, 0, 10, 0])],
      /line 2: expected UTF-8 text, got a zero byte/,
    ],
    [
      'a character cut in two',
      'prompt',
      [new Uint8Array([...bytes('{"prompt":"'), 0xe2, 0x82, ...bytes('"}\n')])],
      /line 1: expected UTF-8/,
    ],
  ];

  it.each(bad)('names %s', async (_, format, chunks, message) => {
    await expect(all(readRows(chunks, format, { name: 'set' }))).rejects.toThrow(message);
    await expect(all(readRows(chunks, format, { name: 'set' }))).rejects.toMatchObject({
      code: 'invalid-file',
    });
  });

  it('refuses a gigabyte without a newline after reading little of it', async () => {
    let served = 0;
    async function* endless() {
      const chunk = new Uint8Array(1 << 16).fill(0x61);
      for (; served < 1 << 30; served += chunk.length) yield chunk;
    }
    await expect(all(readJsonLines(endless()))).rejects.toThrow(
      /^input: line 1: expected at most 16777216 bytes/,
    );
    expect(served).toBeLessThan(1 << 25);
    const long = `{"prompt":"${'a'.repeat(5000)}"}`;
    await expect(all(readRows([good, long], 'prompt', { maxLineBytes: 4096 }))).rejects.toThrow(/line 2/);
    expect(await all(readRows([good, long], 'prompt'))).toHaveLength(2);
  });

  it('keeps apart rows when the source uses its buffer again', async () => {
    function* reused() {
      const buffer = new Uint8Array(16);
      for (const piece of inPieces('{"prompt":"first"}\n{"prompt":"second"}\n', 16)) {
        buffer.set(piece);
        yield buffer.subarray(0, piece.length);
      }
    }
    const rows = await all(readRows(reused(), 'prompt'));
    expect(rows.map(({ prompt }) => prompt[0]?.content)).toEqual(['first', 'second']);
  });
});
