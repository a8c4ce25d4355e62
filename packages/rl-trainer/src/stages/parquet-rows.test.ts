import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as zlib from 'node:zlib';
import { MinkeError, Random } from '@minke/core';
import { type RowFormat, readRow } from '@minke/reasoning-tasks';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { describe, expect, it } from 'vitest';
import { readConversations } from '../conversation-file.ts';
import { testFolders } from '../testing/small-model.ts';
import { readRowFile } from './encode-rows.ts';
import { decodeParquet } from './parquet-decoder.ts';
import { readParquet } from './parquet-rows.ts';

// Written by pyarrow: tools/parity/parquet_rows.py.
const fixtures = fileURLToPath(new URL('../../fixtures/parquet/', import.meta.url));
const fixture = (name: string) => join(fixtures, `${name}.parquet`);
const expected = JSON.parse(readFileSync(join(fixtures, 'expected.json'), 'utf8')) as Record<
  string,
  Record<string, unknown>[]
>;
const newPath = testFolders();
const newFile = (): string => `${newPath()}.parquet`;

const withoutNulls = (row: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null));
const rowsOf = (name: string, format: RowFormat) =>
  (expected[name] as Record<string, unknown>[]).map((row) =>
    readRow(withoutNulls(row), format, (text) => new MinkeError('internal', text)),
  );

describe('readRowFile of Parquet', () => {
  it.each([
    ['conversations', 'messages', 24],
    ['preferences', 'preference', 6],
    ['prompts', 'prompt', 8],
  ] as const)('gives the %s that pyarrow wrote', async (name, format, count) => {
    const rows = await readRowFile(fixture(name), format);
    expect(rows).toHaveLength(count);
    expect(rows).toEqual(rowsOf(name, format));
  });

  it('reads conversations to learn from, thoughts apart', async () => {
    const rows = await readConversations(fixture('conversations'));
    expect(rows[0]?.messages[1]).toEqual({
      role: 'assistant',
      content: 'The answer is 2.',
      reasoning_content: '1+1=2',
    });
    expect(rows[2]?.messages[1]).toEqual({ role: 'assistant', content: 'The answer is 6.' });
  });

  it('reads Zstandard where Node has it, and says what it cannot decompress', async () => {
    const zstd = readRowFile(fixture('prompts-zstd'), 'prompt');
    if ('zstdDecompressSync' in zlib) expect(await zstd).toEqual(rowsOf('prompts', 'prompt'));
    else await expect(zstd).rejects.toMatchObject({ code: 'unsupported' });
    const lz4 = readRowFile(fixture('prompts-lz4'), 'prompt');
    await expect(lz4).rejects.toMatchObject({ code: 'unsupported' });
    await expect(lz4).rejects.toThrow(/expected a compression among .*, got LZ4/);
  });

  it('reads more rows than are decoded together', async () => {
    const path = newFile();
    const data = Array.from({ length: 25_000 }, (_, i) => `What is ${i}?`);
    writeFileSync(
      path,
      Buffer.from(parquetWriteBuffer({ columnData: [{ name: 'prompt', data, type: 'STRING' }] })),
    );
    const rows = await readRowFile(path, 'prompt');
    expect(rows.map(({ prompt }) => prompt[0]?.content)).toEqual(data);
  });
});

describe('a bad Parquet file', () => {
  const file = (bytes: string | Uint8Array) => {
    const path = newFile();
    writeFileSync(path, bytes);
    return path;
  };
  const written = (columnData: Parameters<typeof parquetWriteBuffer>[0]['columnData']) =>
    new Uint8Array(parquetWriteBuffer({ columnData }));

  it.each<[what: string, bytes: () => string | Uint8Array, message: RegExp]>([
    [
      'text',
      () => '{"prompt":"a"}\n',
      /expected a Parquet file, which begins with PAR1, got "{\\"pr"; name JSON/,
    ],
    ['nothing', () => '', /expected a Parquet file, which begins with PAR1/],
    ['an encrypted one', () => 'PARE----PARE', /expected a Parquet file in clear, got an encrypted one/],
    ['its first half', () => readFileSync(fixture('conversations')).subarray(0, 3000), /a damaged one/],
    ['no rows', () => written([{ name: 'prompt', data: [], type: 'STRING' }]), /at least one row, got 0/],
    [
      'other columns',
      () => written([{ name: 'text', data: ['a'], type: 'STRING' }]),
      /row 1: expected column prompt of the prompt format, got text/,
    ],
    [
      'other types',
      () => written([{ name: 'prompt', data: [1, 2], type: 'INT32' }]),
      /row 1: expected text or a list of messages in prompt, got 1/,
    ],
    [
      'a null in the place of a prompt',
      () => written([{ name: 'prompt', data: ['a', null], type: 'STRING' }]),
      /row 2: expected column prompt of the prompt format, got none/,
    ],
  ])('%s is named', async (_what, bytes, message) => {
    const path = file(bytes());
    await expect(readRowFile(path, 'prompt')).rejects.toThrow(message);
    await expect(readRowFile(path, 'prompt')).rejects.toSatisfy(
      (error) => MinkeError.isInstance(error) && ['invalid-file', 'unsupported'].includes(error.code),
    );
    await expect(readRowFile(path, 'prompt')).rejects.toThrow(path);
  });

  it('is refused with the file named where it is missing', async () => {
    await expect(readRowFile('no-such-file.parquet', 'prompt')).rejects.toMatchObject({
      code: 'invalid-file',
    });
  });

  it('never ends in anything but rows or a typed error, whatever byte is wrong or missing', async () => {
    const random = new Random(11);
    const whole = readFileSync(fixture('conversations'));
    const path = newFile();
    let refused = 0;
    for (let trial = 0; trial < 300; trial++) {
      const bytes = Buffer.from(whole);
      for (let flip = 0; flip <= trial % 3; flip++)
        bytes[random.integer(4, bytes.length - 8)] = random.integer(0, 256);
      writeFileSync(path, trial % 5 === 0 ? bytes.subarray(0, random.integer(5, bytes.length)) : bytes);
      try {
        for await (const rows of decodeParquet(path)) expect(rows.length).toBeGreaterThan(0);
      } catch (error) {
        expect(error).toSatisfy(MinkeError.isInstance);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(100);
  });

  it('is given up where its decoding does not end', async () => {
    // A gzip page, damaged so that the decoding library reads runs of length 0 for ever.
    const rows = readParquet(fixture('endless'), { patience: 2_000 });
    await expect(rows.next()).rejects.toThrow(/endless\.parquet: .*not decoded in 2 s/);
  });
});
