import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { readText, replaceFile } from './files.ts';

const root = mkdtempSync(join(tmpdir(), 'minke-files-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

it('replaces a file, and leaves nothing else behind', () => {
  const path = join(root, 'state.json');
  for (const text of ['{}\n', '{"step":1}\n']) {
    replaceFile(path, text);
    expect(readFileSync(path, 'utf8')).toBe(text);
  }
  expect(readdirSync(root)).toEqual(['state.json']);
});

it('leaves what was there where it cannot replace it, and says why in the words of the file system', () => {
  const path = join(root, 'a folder');
  mkdirSync(path);
  writeFileSync(join(path, 'inside'), 'old');
  expect(() => replaceFile(path, 'new')).toThrow(expect.objectContaining({ syscall: 'rename' }));
  expect(readFileSync(join(path, 'inside'), 'utf8')).toBe('old');
  expect(existsSync(`${path}.tmp`)).toBe(false);
  expect(() => replaceFile(join(root, 'missing', 'file'), 'new')).toThrow(
    expect.objectContaining({ code: 'ENOENT' }),
  );
});

it('reads text within a bound, and says what is wrong with what is none', async () => {
  const path = join(root, 'text.json');
  writeFileSync(path, '\ufeff{"größe": 1}');
  expect(await readText(path, 100)).toBe('{"größe": 1}');
  await expect(readText(path, 10)).rejects.toMatchObject({
    code: 'invalid-file',
    message: expect.stringMatching(/at most 10 bytes .* got 17/),
  });
  writeFileSync(path, Buffer.from([0x7b, 0xff, 0x7d]));
  await expect(readText(path, 100)).rejects.toThrow(/expected UTF-8/);
  await expect(readText(root, 100)).rejects.toThrow(/is a folder/);
  await expect(readText(join(root, 'none'), 100)).rejects.toMatchObject({ cause: { code: 'ENOENT' } });
});
