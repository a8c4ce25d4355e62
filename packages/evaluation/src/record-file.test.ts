import { describe, expect, it } from 'vitest';
import { readRecords } from './record-file.ts';
import type { SampleRecord } from './samples.ts';

const record: SampleRecord = {
  id: 'a',
  family: 'gcd',
  sample: 0,
  strict: 1,
  answer: '7',
  length: 12,
  truncated: false,
  thought: true,
};
const file = (...rows: object[]) => [rows.map((row) => `${JSON.stringify(row)}\n`).join('')];

describe('readRecords', () => {
  it('reads what was written, without fields it does not know', async () => {
    const rows = [record, { ...record, sample: 1, strict: null, lenient: 0, answer: null }];
    expect(await readRecords(file(...rows), 'r')).toEqual(rows);
    expect(await readRecords(file({ ...record, mood: 'good' }), 'r')).toEqual([record]);
  });

  it('names the line and what is wrong in it', async () => {
    const read = (...rows: object[]) => readRecords(file(...rows), 'r.jsonl');
    await expect(read(record, { ...record, strict: 'yes' })).rejects.toThrow(
      /r\.jsonl: line 2: expected strict to be a number or null, got "yes"/,
    );
    await expect(read({ messages: [] })).rejects.toThrow(/line 1: expected id to be a text, got undefined/);
    await expect(readRecords(['not json\n'], 'r.jsonl')).rejects.toMatchObject({ code: 'invalid-file' });
    await expect(readRecords([], 'r.jsonl')).rejects.toMatchObject({ code: 'invalid-file' });
  });
});
