import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { splitOf } from './corpus.mjs';
import { allLanguages, documentsOf, sources } from './documents.mjs';

let root;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'minke-documents-'));
  const put = (path, bytes) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), bytes);
  };
  const kernel = 'usr/share/doc/linux-doc-6.1/Documentation';
  put(`${kernel}/b/usage.rst.gz`, gzipSync('Usage\r\n=====\r\n'));
  put(`${kernel}/a.txt`, 'plain\n\n');
  put(`${kernel}/latin.txt.gz`, gzipSync(Buffer.from([0x66, 0xfc, 0x72])));
  put(`${kernel}/empty.rst`, ' \n');
  put(`${kernel}/picture.svg`, '<svg/>');
  const handbook = 'usr/share/doc/debian-handbook/html';
  const page =
    '<html><body><p id="title"><a href="x">Debian</a></p><ul class="docnav"><li>Next</li></ul><h1>Why?</h1>' +
    '<p>Because <a href="http://a.example">it</a> works.<img src="a.png" alt="a"></p></body></html>';
  put(`${handbook}/en-US/why.html`, page);
  put(`${handbook}/de-DE/why.html`, page);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const documents = (from, name) => [
  ...documentsOf(
    from.find((source) => source.name === name),
    root,
  ),
];

describe('documentsOf', () => {
  it('gives texts in the order of paths, without those that are empty, not UTF-8 or no documents', () => {
    expect(documents(sources, 'linux-doc-6.1')).toEqual([
      { source: 'linux-doc-6.1', path: 'a.txt', text: 'plain\n' },
      { source: 'linux-doc-6.1', path: 'b/usage.rst.gz', text: 'Usage\n=====\n' },
    ]);
  });

  it('gives running text of pages, of one language or all', () => {
    const english = documents(sources, 'debian-handbook');
    expect(english.map(({ path }) => path)).toEqual(['en-US/why.html']);
    expect(english[0].text.split(/\s+/).filter(Boolean)).toEqual('Why? Because it works.'.split(' '));
    expect(documents(allLanguages, 'debian-handbook')).toHaveLength(2);
  });
});

it('keeps two documents in a hundred for validation and two for the test', () => {
  const counts = { train: 0, validation: 0, test: 0 };
  for (let i = 0; i < 5000; i++) counts[splitOf(createHash('sha256').update(`${i}`).digest())]++;
  expect(counts.validation / 5000).toBeCloseTo(0.02, 2);
  expect(counts.test / 5000).toBeCloseTo(0.02, 2);
});
