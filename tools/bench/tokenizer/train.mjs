// A byte-pair vocabulary of 32,768 tokens learned from real text, beside Hugging Face's trainer (Rust) with the same
// pre-tokenizer. The corpus is that of `node tools/study/corpus.mjs FOLDER --languages all`, some 80 MB; --quick takes
// its first 20 MB. All merges must be equal. Ours runs on one thread; the peer on as many as the case says.

import { statSync } from 'node:fs';
import { compare } from '../harness/compare.mjs';
import { quick, wanted } from '../harness/options.mjs';
import { startNode, startPython } from '../harness/side.mjs';
import { deepseekPieces } from './pieces.mjs';

const vocabSize = 32_768;

/** `path`: the corpus's train.jsonl. */
export async function trainingCases(report, path, threadCounts) {
  const mostBytes = quick ? 20e6 : statSync(path).size;
  for (const threads of threadCounts) {
    const name = `train ${vocabSize} tokens, peer ${threads}t`;
    if (!wanted(name)) continue;
    const wish = { threads, path, mostBytes, vocabSize };
    const { ours, peer } = await compare(
      {
        ours: () => startNode(new URL('train-ours.mjs', import.meta.url), wish),
        peer: () => startPython('train_tokenizer', { ...wish, preTokenizer: deepseekPieces() }),
      },
      { rounds: 3, roundSeconds: 0.5, budgetSeconds: 240 },
    );
    const megabytes = Math.min(mostBytes, statSync(path).size) / 1e6;
    report.addRates({ name, unit: 'MB/s', work: megabytes, threads, ours, peer });
    report.addMemory(`${name} memory`, ours, peer);
  }
}
