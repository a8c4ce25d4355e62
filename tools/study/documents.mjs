// What the corpus is made of: the texts of three documentation packages of Debian, by the path inside the package.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { convert } from 'html-to-text';

/**
 * @typedef {object} Source
 * @property {string} name the Debian package
 * @property {string} folder where its documents lie inside the package
 * @property {RegExp} documents which files of the folder are documents
 */

/** @type {readonly Source[]} */
export const sources = [
  {
    name: 'linux-doc-6.1',
    folder: 'usr/share/doc/linux-doc-6.1/Documentation',
    documents: /\.(rst|txt|yaml)(\.gz)?$/,
  },
  {
    name: 'python3.11-doc',
    folder: 'usr/share/doc/python3.11/html/_sources',
    documents: /\.rst\.txt$/,
  },
  {
    name: 'debian-handbook',
    folder: 'usr/share/doc/debian-handbook/html',
    documents: /^en-US\/.*\.html$/,
  },
];

/** The handbook in all of its languages: for tokenizers, which should see more than English. */
export const allLanguages = sources.map((source) =>
  source.name === 'debian-handbook' ? { ...source, documents: /\.html$/ } : source,
);

/** Running text of a page of the handbook: no pictures, addresses or navigation. */
function textOf(html) {
  return convert(html, {
    wordwrap: false,
    selectors: [
      ...['h1', 'h2', 'h3', 'h4', 'h5', 'h6'].map((selector) => ({
        selector,
        options: { uppercase: false },
      })),
      { selector: 'a', options: { ignoreHref: true } },
      { selector: 'img', format: 'skip' },
      { selector: 'p#title', format: 'skip' },
      { selector: 'ul.docnav', format: 'skip' },
    ],
  });
}

/**
 * The documents of an unpacked package in the order of their paths, as text with `\n` at line ends. Bytes that are not
 * UTF-8 make a document be left out: a model of bytes or tokens should not learn replacement characters.
 *
 * @param {Source} source
 * @param {string} root folder of the unpacked package
 * @returns {Generator<{ source: string, path: string, text: string }>}
 */
export function* documentsOf({ name, folder, documents }, root) {
  const base = join(root, folder);
  const paths = readdirSync(base, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(base.length + 1))
    .filter((path) => documents.test(path))
    .sort();
  const decoder = new TextDecoder('utf-8', { fatal: true });
  for (const path of paths) {
    const bytes = readFileSync(join(base, path));
    let text;
    try {
      text = decoder.decode(path.endsWith('.gz') ? gunzipSync(bytes) : bytes);
    } catch {
      continue;
    }
    const plain = (path.endsWith('.html') ? textOf(text) : text).replaceAll('\r\n', '\n').trim();
    if (plain !== '') yield { source: name, path, text: `${plain}\n` };
  }
}
