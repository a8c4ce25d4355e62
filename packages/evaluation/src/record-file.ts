/**
 * Reads records of samples back from JSON lines, to summarise them again or to compare with another system's.
 *
 * Files come from elsewhere, so every field is checked and every error names the line. Fields that are not known are
 * left out.
 */
import { MinkeError } from '@minke/core';
import { type ByteChunks, readJsonLines } from '@minke/reasoning-tasks';
import type { SampleRecord } from './samples.ts';

const score = (value: unknown): value is number | null =>
  value === null || (typeof value === 'number' && Number.isFinite(value));

/** What each field has to be. */
const fields: Readonly<Record<keyof SampleRecord, readonly [string, (value: unknown) => boolean]>> = {
  id: ['a text', (value) => typeof value === 'string'],
  family: ['a text', (value) => typeof value === 'string'],
  sample: ['an integer from 0', (value) => Number.isSafeInteger(value) && (value as number) >= 0],
  strict: ['a number or null', score],
  lenient: ['a number or null', (value) => value === undefined || score(value)],
  answer: ['a text or null', (value) => value === null || typeof value === 'string'],
  length: ['a number from 0', (value) => score(value) && value !== null && value >= 0],
  truncated: ['true or false', (value) => typeof value === 'boolean'],
  thought: ['true or false', (value) => typeof value === 'boolean'],
};

/**
 * The records of a file, one JSON object a line as `collectSamples` yields them.
 *
 * @param bytes the file, in pieces of any size
 * @param name what to call it in errors
 * @throws MinkeError `invalid-file` with the line, for bad JSON, missing or wrong fields, and a file without records
 * @example
 * const before = await readRecords(createReadStream('before.jsonl'), 'before.jsonl');
 */
export async function readRecords(bytes: ByteChunks, name: string): Promise<SampleRecord[]> {
  const records: SampleRecord[] = [];
  for await (const { line, value } of readJsonLines(bytes, { name })) {
    const wrong = Object.entries(fields).find(([field, [, fits]]) => !fits(value[field]));
    if (wrong !== undefined) {
      const [field, [expected]] = wrong;
      throw new MinkeError(
        'invalid-file',
        `${name}: line ${line}: expected ${field} to be ${expected}, got ${JSON.stringify(value[field])}; pass records of samples, as minke eval --records writes them`,
        { details: { line } },
      );
    }
    const known = Object.keys(fields).flatMap((field) =>
      value[field] === undefined ? [] : [[field, value[field]]],
    );
    records.push(Object.fromEntries(known) as SampleRecord);
  }
  return records;
}
