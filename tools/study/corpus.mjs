// Builds the corpus of the studies from documentation packages of Debian: real text, free to use, the same everywhere
// where the packages are of the same version. The corpus is not committed; its manifest says what it is made of.
//
//   node tools/study/corpus.mjs <folder> [--languages all]
//
// Writes train.jsonl, validation.jsonl and test.jsonl (`{ source, path, text }` a line) and manifest.json. A document is
// in one split whole: 96, 2 and 2 % by the hash of its text, so that equal texts cannot be in two; the second is left out.

import { createHash } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { findOnPath, run, SetupError } from '../scripts/process.mjs';
import { allLanguages, documentsOf, sources } from './documents.mjs';

const splits = /** @type {const} */ (['train', 'validation', 'test']);

/** The split of a document of this digest. */
export function splitOf(digest) {
  const percent = digest.readUInt32LE(0) % 100;
  return percent < 2 ? 'validation' : percent < 4 ? 'test' : 'train';
}

/** Fetches the packages with apt-get, which checks their signatures, and unpacks them; gives folder and version of each. */
async function unpack(names, folder) {
  for (const command of ['apt-get', 'dpkg-deb'])
    if (!findOnPath(command))
      throw new SetupError(`expected ${command}, got nothing of that name; build the corpus on Debian`);
  await run('apt-get', ['download', '-q', ...names], { cwd: folder });
  const unpacked = new Map();
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.deb'))) {
    const [name, version] = file.replace(/\.deb$/, '').split('_');
    const root = join(folder, name);
    await run('dpkg-deb', ['-x', join(folder, file), root]);
    unpacked.set(name, { root, version: decodeURIComponent(version) });
  }
  const missing = names.filter((name) => !unpacked.has(name));
  if (missing.length > 0)
    throw new SetupError(`expected apt-get to fetch ${missing.join(', ')}, got nothing`);
  return unpacked;
}

async function build(out, chosen) {
  mkdirSync(out, { recursive: true });
  const work = mkdtempSync(join(tmpdir(), 'minke-corpus-'));
  try {
    const packages = await unpack(
      chosen.map(({ name }) => name),
      work,
    );
    const files = Object.fromEntries(
      splits.map((split) => [split, openSync(join(out, `${split}.jsonl`), 'w')]),
    );
    const totals = Object.fromEntries(splits.map((split) => [split, { documents: 0, bytes: 0 }]));
    const seen = new Set();
    const whole = createHash('sha256');
    for (const source of chosen) {
      for (const document of documentsOf(source, packages.get(source.name).root)) {
        const digest = createHash('sha256').update(document.text).digest();
        const key = digest.toString('base64');
        if (seen.has(key)) continue;
        seen.add(key);
        whole.update(digest);
        const split = splitOf(digest);
        writeSync(files[split], `${JSON.stringify(document)}\n`);
        totals[split].documents++;
        totals[split].bytes += Buffer.byteLength(document.text);
      }
    }
    for (const file of Object.values(files)) closeSync(file);
    const manifest = {
      packages: Object.fromEntries([...packages].map(([name, { version }]) => [name, version])),
      splits: totals,
      sha256: whole.digest('hex'),
    };
    writeFileSync(join(out, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
    return manifest;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

if (process.argv[1] === import.meta.filename) {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { languages: { type: 'string', default: 'english' } },
  });
  const [folder] = positionals;
  if (folder === undefined || positionals.length > 1 || !['english', 'all'].includes(values.languages)) {
    console.error('corpus: expected a folder to write to and no more than --languages english or all');
    process.exit(2);
  }
  try {
    console.log(
      JSON.stringify(
        await build(resolve(folder), values.languages === 'all' ? allLanguages : sources),
        null,
        2,
      ),
    );
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    console.error(`corpus: ${error.message}`);
    process.exitCode = 1;
  }
}
