// Encoding with DeepSeek-V3's vocabulary, one thread, beside Hugging Face's tokenizers in JavaScript and, for orientation,
// in Rust. All ids must be equal.
//
// `cold`: a new tokenizer, so nothing is in its caches, reads text in parts of 4 KB; making it does not count, and the
// engine has compiled the code on the rounds before. `warm`: a tokenizer that has read the same text before.
// `one letter`: a text without any place to cut, of one length and of twice that; linear work doubles.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compare } from '../harness/compare.mjs';
import { quick, wanted } from '../harness/options.mjs';
import { startNode, startPython } from '../harness/side.mjs';
import { bytesOf, textsOf, vocabularyPath } from './encode-texts.mjs';

const node = (script, wish) => () => startNode(new URL(script, import.meta.url), wish);
const rounds = { rounds: quick ? 3 : 5, roundSeconds: 0.4, budgetSeconds: quick ? 10 : 60 };

export async function encodingCases(report) {
  const bytes = quick ? 1_000_000 : 5_000_000;
  const text = { kind: 'prose and code', bytes };
  await one(report, 'encode, cold', { ...text, cold: true }, 'encode-peer.mjs');
  await one(report, 'encode, warm', { ...text, cold: false }, 'encode-peer.mjs');
  await one(report, 'encode, warm, beside Rust', { ...text, cold: false });
  for (const length of [500_000, 1_000_000])
    await one(
      report,
      `one letter ${length} times, cold`,
      { kind: 'one letter', bytes: length, cold: true },
      'encode-peer.mjs',
    );
}

async function one(report, name, wish, peerScript) {
  if (!wanted(name)) return;
  const asked = { ...wish, threads: 1 };
  const texts = textsOf(wish);
  const folder = mkdtempSync(join(tmpdir(), 'minke-bench-'));
  try {
    const textsPath = join(folder, 'texts.json');
    writeFileSync(textsPath, JSON.stringify(texts));
    const rust = () => startPython('encode_texts', { ...asked, textsPath, vocabularyPath });
    const { ours, peer } = await compare(
      { ours: node('encode-ours.mjs', asked), peer: peerScript ? node(peerScript, asked) : rust },
      rounds,
    );
    report.addRates({ name, unit: 'MB/s', work: bytesOf(texts) / 1e6, threads: 1, ours, peer });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
