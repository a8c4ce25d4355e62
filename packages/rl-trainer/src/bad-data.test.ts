/** Every defect a data set of a stage may have, through every reader: named with file, line, what came and what to do. */
import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { TaskStream } from '@minke/reasoning-tasks';
import { ChatTemplate, deepseekSpecialTokens } from '@minke/tokenizer-merging/chat';
import { trainBpe } from '@minke/tokenizer-merging/tokenizer';
import { describe, expect, it } from 'vitest';
import {
  conversationSource,
  encodePreference,
  readConversations,
  readKept,
  readPrompts,
  readRowFile,
  rejectionPrompts,
  rowPrompts,
  taskPrompts,
} from './index.ts';
import { testFolders } from './testing/small-model.ts';

const newName = testFolders();

/** What a stage reads, a good row of it, and one with the columns of another. */
const inputs = {
  'conversations for SFT': {
    read: readConversations,
    good: {
      messages: [
        { role: 'user', content: 'café' },
        { role: 'assistant', content: 'b' },
      ],
    },
    wrong: { prompt: 'a', chosen: 'b', rejected: 'c' },
    says: /line 2: expected column messages of the messages format, got prompt, chosen, rejected; this looks like the preference format/,
  },
  'prompts for GRPO and rejection sampling': {
    read: readPrompts,
    good: { prompt: 'café', answer: 'b' },
    wrong: { question: 'a', answer: 'b' },
    says: /line 2: expected column prompt of the prompt format, got question, answer/,
  },
  'preferences for DPO and reward models': {
    read: (path: string) => readRowFile(path, 'preference'),
    good: { prompt: 'café', chosen: 'b', rejected: 'c' },
    wrong: { prompt: 'a', completion: 'b' },
    says: /line 2: expected column chosen, rejected of the preference format, got prompt, completion/,
  },
  'kept samples of rejection sampling': {
    read: readKept,
    good: { id: 'café', prompt_tokens: [1], completion_tokens: [2] },
    wrong: { prompt: 'a', completion: 'b' },
    says: /line 2: expected prompt_tokens and completion_tokens, got prompt, completion; use a kept\.jsonl/,
  },
};

function file(content: string | Uint8Array): string {
  const path = `${newName()}.jsonl`;
  writeFileSync(path, content);
  return path;
}

describe.each(Object.entries(inputs))('%s', (_, { read, good, wrong, says }) => {
  const line = `${JSON.stringify(good)}\n`;
  const refused = async (path: string, message: RegExp) => {
    await expect(read(path)).rejects.toMatchObject({ code: 'invalid-file', message });
    await expect(read(path)).rejects.toThrow(path);
  };

  it('are read, with or without a byte order mark and blank lines', async () => {
    expect(await read(file(`\ufeff${line}\n\n${line}`))).toHaveLength(2);
  });

  it.each([
    ['wrong columns', `${line}${JSON.stringify(wrong)}\n`, says],
    ['an empty file', '', /expected at least one row, got an empty file; check the path/],
    ['a file of blank lines', '\n \n\n', /expected at least one row, got an empty file/],
    [
      'UTF-16',
      Buffer.from(`\ufeff${line}`, 'utf16le'),
      /line 1: expected UTF-8, got UTF-16; convert the file/,
    ],
    ['UTF-16 without a mark', Buffer.from(line, 'utf16le'), /line 1: expected UTF-8 text, got a zero byte/],
    [
      'a line in Latin-1 among UTF-8',
      Buffer.concat([Buffer.from(line), Buffer.from(line, 'latin1')]),
      /line 2: expected UTF-8, got bytes that are none \(Latin-1 or Windows-1252\?\); convert the file/,
    ],
    [
      'a zero byte',
      `${line}${line.replace('café', 'caf\0')}`,
      /line 2: expected UTF-8 text, got a zero byte/,
    ],
    ['a table', `${line}prompt,answer\n`, /line 2: expected one JSON object, got bad JSON/],
    [
      'a list of rows',
      `[${line.trim()}]\n`,
      /line 1: expected a JSON object, got a list; put one row on each line/,
    ],
    ['a row cut short', line.slice(0, -9), /line 1: expected one JSON object, got bad JSON/],
  ])('name %s', async (_defect, content, message) => {
    await refused(file(content), message);
  });

  it('name a file that is not there', async () => {
    await refused(`${newName()}.jsonl`, /expected a file|ENOENT/);
  });

  it('refuse a line of a gigabyte in little memory and time', async () => {
    const path = file(`${line}{"prompt":"`);
    // The rest is a hole: the file has its size without taking room on the disk.
    const handle = openSync(path, 'r+');
    ftruncateSync(handle, 2 ** 30);
    writeSync(handle, '"}\n', 2 ** 30);
    closeSync(handle);
    const [before, began] = [process.memoryUsage.rss(), performance.now()];
    await expect(read(path)).rejects.toThrow(/line 2: expected at most 16777216 bytes, got more/);
    expect(process.memoryUsage.rss() - before).toBeLessThan(300 * 2 ** 20);
    expect(performance.now() - began).toBeLessThan(20_000);
  }, 30_000);
});

describe('rows whose columns are right', () => {
  it('are named where they do not fit', async () => {
    const turns = [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b' },
    ];
    const row = (value: object) => file(`${JSON.stringify(value)}\n`);
    await expect(readPrompts(row({ prompt: turns }))).rejects.toThrow(
      /row 1: expected a prompt that ends before the reply, got an assistant message at its end; correct the row/,
    );
    await expect(readPrompts(row({ prompt: 'a', answer: ['b'] }))).rejects.toThrow(
      /row 1: expected an answer as text or a number, got \["b"\]/,
    );
    await expect(readPrompts(row({ prompt: 'a', language: 5 }))).rejects.toThrow(
      /expected language as text, got 5/,
    );
    await expect(readConversations(row({ messages: [...turns, turns[0]] }))).rejects.toThrow(
      /row 1: expected messages that end with an assistant turn/,
    );
    expect(await readPrompts(row({ prompt: 'a', answer: 5, unit: 'm' }))).toEqual([
      { prompt: [{ role: 'user', content: 'a' }], answer: '5', metadata: { unit: 'm' } },
    ]);
  });
});

describe('a template without a generation prompt', () => {
  const tokenizer = trainBpe(['a b c'], { vocabSize: 300, specialTokens: deepseekSpecialTokens });
  const template = new ChatTemplate('{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}');
  const format = { tokenizer, template };
  const user = { role: 'user', content: 'a' } as const;
  const reply = { role: 'assistant', content: 'b' } as const;

  it.each([
    ['SFT', () => conversationSource([{ messages: [user, reply], extra: {} }], tokenizer, template, 0)],
    [
      'preferences',
      () => encodePreference({ prompt: [user], chosen: [reply], rejected: [user], extra: {} }, format),
    ],
    ['GRPO on rows', () => rowPrompts([{ prompt: 'a' }], format, { seed: 0 }).next()],
    ['GRPO on tasks', () => taskPrompts(new TaskStream({ seed: 0 }), format).next()],
    ['rejection sampling', () => rejectionPrompts([{ prompt: 'a' }], format)],
  ])('is named by %s', (_, use) => {
    expect(use).toThrow(/chat template: expected one with a generation prompt \(add_generation_prompt\)/);
  });
});
