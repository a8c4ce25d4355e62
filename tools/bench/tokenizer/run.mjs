// `pnpm bench tokenizer --corpus FOLDER [--quick] [--only PATTERN]`: a byte-pair vocabulary of 32,768 tokens learned from
// real text, beside Hugging Face's trainer (Rust) with the same pre-tokenizer. The corpus is that of
// `node tools/study/corpus.mjs FOLDER --languages all`, some 80 MB; --quick takes its first 20 MB. All merges must be
// equal. Ours runs on one thread; the peer on as many as the case says.

import { existsSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { compare } from '../harness/compare.mjs';
import { quick, wanted } from '../harness/options.mjs';
import { Report } from '../harness/report.mjs';
import { startNode, startPython } from '../harness/side.mjs';
import { deepseekPieces } from './pieces.mjs';

const at = process.argv.indexOf('--corpus');
const path = at < 0 ? null : join(resolve(process.argv[at + 1] ?? ''), 'train.jsonl');
if (path === null || !existsSync(path)) {
  process.stderr.write(
    'bench: expected --corpus and a folder that tools/study/corpus.mjs made, got ' +
      `${path === null ? 'none' : `no ${path}`}; run node tools/study/corpus.mjs FOLDER --languages all\n`,
  );
  process.exit(2);
}

const vocabSize = 32_768;
const mostBytes = quick ? 20e6 : statSync(path).size;
const threadCounts = [1, 2];
const report = new Report('tokenizer', threadCounts);
for (const threads of threadCounts) {
  const name = `train ${vocabSize} tokens, peer ${threads}t`;
  if (!wanted(name)) continue;
  const wish = { threads, path, mostBytes, vocabSize };
  const { ours, peer } = await compare(
    {
      ours: () => startNode(new URL('ours.mjs', import.meta.url), wish),
      peer: () => startPython('train_tokenizer', { ...wish, preTokenizer: deepseekPieces() }),
    },
    { rounds: 3, roundSeconds: 0.5, budgetSeconds: 240 },
  );
  const megabytes = Math.min(mostBytes, statSync(path).size) / 1e6;
  report.addRates({ name, unit: 'MB/s', work: megabytes, threads, ours, peer });
  report.addMemory(`${name} memory`, ours, peer);
}
report.finish();
