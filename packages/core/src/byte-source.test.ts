import { mkdtemp, rename, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ByteSource, fileSource, memorySource } from './byte-source.ts';

const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'minke-byte-source-'));
  await writeFile(join(folder, 'file'), bytes);
});
afterAll(() => rm(folder, { recursive: true }));

describe.each([
  ['memorySource', async () => memorySource(bytes)],
  ['fileSource', () => fileSource(join(folder, 'file'))],
] as [string, () => Promise<ByteSource>][])('%s', (_, open) => {
  it('reads any range, the empty one at the end included', async () => {
    const source = await open();
    expect(source.size).toBe(100);
    const [head, tail, none] = await Promise.all([
      source.read(0, 3),
      source.read(97, 3),
      source.read(100, 0),
    ]);
    expect([...head]).toEqual([0, 1, 2]);
    expect([...tail]).toEqual([97, 98, 99]);
    expect(none.length).toBe(0);
    await source.close();
    await source.close();
  });

  it('gives bytes that the caller may change', async () => {
    const source = await open();
    (await source.read(0, 4)).fill(255);
    expect([...(await source.read(0, 4))]).toEqual([0, 1, 2, 3]);
    await source.close();
  });

  it.each([
    [-1, 2],
    [99, 2],
    [0.5, 1],
    [0, Number.NaN],
    [2 ** 53, 1],
  ])('refuses the range %d, %d', async (offset, length) => {
    const source = await open();
    await expect(source.read(offset, length)).rejects.toMatchObject({ code: 'invalid-argument' });
    await source.close();
  });
});

describe('fileSource', () => {
  it('says what is wrong with a missing file or a folder', async () => {
    await expect(fileSource(join(folder, 'none'))).rejects.toMatchObject({
      code: 'invalid-file',
      message: expect.stringContaining('there is no such file'),
    });
    await expect(fileSource(folder)).rejects.toThrow(/it is a folder/);
  });

  it('fails cleanly when the file is cut short while open', async () => {
    const path = join(folder, 'shrinking');
    await writeFile(path, bytes);
    const source = await fileSource(path);
    await truncate(path, 10);
    await expect(source.read(0, 50)).rejects.toMatchObject({ code: 'invalid-file' });
    await source.close();
    await expect(source.read(0, 1)).rejects.toThrow(/is closed/);
  });

  it('notices a file that is written to while open, and not one that is replaced', async () => {
    const path = join(folder, 'changing');
    await writeFile(path, bytes);
    await utimes(path, 1, 1);
    const source = await fileSource(path);
    await writeFile(join(folder, 'next'), new Uint8Array(100));
    await rename(join(folder, 'next'), path);
    expect([...(await source.read(0, 2))]).toEqual([0, 1]);
    const replaced = await fileSource(path);
    await writeFile(path, new Uint8Array(100).fill(7));
    await utimes(path, 2, 2);
    await expect(replaced.read(0, 2)).rejects.toMatchObject({
      code: 'invalid-file',
      message: expect.stringMatching(/changed while open/),
    });
    await Promise.all([source.close(), replaced.close()]);
  });
});
