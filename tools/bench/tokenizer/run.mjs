// `pnpm bench tokenizer [--corpus FOLDER] [--quick] [--only PATTERN]`: encoding (encode.mjs), and, where there is a corpus,
// learning a vocabulary (train.mjs), beside Hugging Face's tokenizers.

import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Report } from '../harness/report.mjs';
import { encodingCases } from './encode.mjs';
import { trainingCases } from './train.mjs';

const at = process.argv.indexOf('--corpus');
const corpus = at < 0 ? undefined : join(resolve(process.argv[at + 1] ?? ''), 'train.jsonl');
if (corpus !== undefined && !existsSync(corpus)) {
  process.stderr.write(
    `bench: expected --corpus and a folder that tools/study/corpus.mjs made, got no ${corpus}; ` +
      'run node tools/study/corpus.mjs FOLDER --languages all\n',
  );
  process.exit(2);
}

const threadCounts = [1, 2];
const report = new Report('tokenizer', threadCounts);
await encodingCases(report);
if (corpus !== undefined) await trainingCases(report, corpus, threadCounts);
report.finish();
