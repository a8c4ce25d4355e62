import { writeFileSync } from 'node:fs';
import type { PreferenceRow } from '@minke/reasoning-tasks';
import { ChatTemplate, deepseekR1Template, deepseekSpecialTokens } from '@minke/tokenizer-merging/chat';
import { trainBpe } from '@minke/tokenizer-merging/tokenizer';
import { describe, expect, it } from 'vitest';
import { testFolders } from '../testing/small-model.ts';
import { encodePreference, encodeScoredText, readRowFile } from './encode-rows.ts';
import { checkGenerationPrompt } from './prompt-format.ts';

const tokenizer = trainBpe(['What is the sum of 0 and 0? The answer is 0.'], {
  vocabSize: 300,
  specialTokens: deepseekSpecialTokens,
});
const format = { tokenizer, template: deepseekR1Template };
const newFile = testFolders();
const textOf = (ids: Iterable<number>, from = 0) => tokenizer.decode([...ids].slice(from));

const row: PreferenceRow = {
  prompt: [{ role: 'user', content: 'What is 1 and 1?' }],
  chosen: [{ role: 'assistant', content: 'The answer is 2.', reasoning_content: '1 and 1 is 2' }],
  rejected: [{ role: 'assistant', content: 'no' }],
  extra: { margin: 0.5 },
};

describe('encodePreference', () => {
  it('encodes replies as the model writes them, whole or without the thought', () => {
    const { chosen, rejected, margin } = encodePreference(row, format);
    expect(margin).toBe(0.5);
    const prompt = deepseekR1Template.render([{ role: 'user', content: 'What is 1 and 1?' }]);
    expect(textOf(chosen.ids.slice(0, chosen.completionStart))).toBe(prompt);
    expect(textOf(chosen.ids, chosen.completionStart)).toBe(
      `1 and 1 is 2\n</think>\n\nThe answer is 2.${deepseekR1Template.eosToken}`,
    );
    expect(textOf(rejected.ids, rejected.completionStart)).toBe(
      `\n</think>\n\nno${deepseekR1Template.eosToken}`,
    );
    const summary = encodePreference(row, format, 'summary').chosen;
    expect(textOf(summary.ids, summary.completionStart)).toBe(
      `\n</think>\n\nThe answer is 2.${deepseekR1Template.eosToken}`,
    );
  });

  it('is what rewards give the same question and reply', () => {
    const question = { prompt: 'What is 1 and 1?' };
    const response = '1 and 1 is 2\n</think>\n\nThe answer is 2.';
    expect(encodeScoredText({ ...question, response }, format, 'whole')).toEqual([
      ...encodePreference(row, format).chosen.ids,
    ]);
    expect(encodeScoredText({ ...question, response: 'The answer is 2.' }, format, 'summary')).toEqual([
      ...encodePreference(row, format, 'summary').chosen.ids,
    ]);
    const open = encodeScoredText({ ...question, response: '1 and 1 and 1' }, format, 'whole');
    expect(textOf(open)).toMatch(/<think>\n1 and 1 and 1$/);
  });

  it('takes the messages before the last reply as context', () => {
    const turns = [
      ...row.chosen,
      { role: 'user', content: 'sure?' } as const,
      { role: 'assistant', content: 'yes' } as const,
    ];
    const { chosen } = encodePreference({ ...row, chosen: turns }, format);
    expect(textOf(chosen.ids)).toMatch(/The answer is 2\..*sure\?.*<think>\n\n<\/think>\n\nyes/s);
  });
});

describe('bad data sets', () => {
  it('are named with file and line', async () => {
    const file = (content: string | Uint8Array) => {
      const path = `${newFile()}.jsonl`;
      writeFileSync(path, content);
      return path;
    };
    const good = '{"prompt":"a","chosen":"b","rejected":"c"}\n';
    const cases: [string | Uint8Array, RegExp][] = [
      [`${good}{"prompt":"a","messages":[]}\n`, /\.jsonl: line 2: expected column chosen, rejected/],
      [
        `${good}${good}{"prompt":"a","chosen":1,"rejected":"c"}\n`,
        /line 3: expected text or a list of messages in chosen/,
      ],
      ['\n\n', /expected .*(row|object|line)/],
      [Buffer.concat([Buffer.from(good), Buffer.from([0x7b, 0xe9, 0x7d, 0x0a])]), /line 2: expected UTF-8/],
      [Buffer.from(`\ufeff${good}`, 'utf16le'), /line 1: expected UTF-8, got UTF-16/],
      [`${good}{"prompt":"${'x'.repeat(17 * 2 ** 20)}"}`, /line 2: expected at most 16777216 bytes/],
    ];
    for (const [content, message] of cases)
      await expect(readRowFile(file(content), 'preference')).rejects.toThrow(message);
    await expect(readRowFile(newFile(), 'preference')).rejects.toThrow(/cannot be read: ENOENT/);
    expect(await readRowFile(file(good), 'preference')).toHaveLength(1);
  });

  it('include a template without a generation prompt', () => {
    const template = new ChatTemplate('{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}');
    expect(() => checkGenerationPrompt({ tokenizer, template })).toThrow(/add_generation_prompt/);
    expect(() => checkGenerationPrompt(format)).not.toThrow();
  });
});
