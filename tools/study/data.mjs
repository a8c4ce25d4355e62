// What the arms learn from and are measured on: the corpus as token ids, or generated reasoning tasks.

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { recipeTokenizer } from '../../apps/r1-recipe/dist/index.js';
import { scoredDocument } from '../../packages/evaluation/dist/index.js';
import { defaultWeights, heldOut, TaskStream } from '../../packages/reasoning-tasks/dist/index.js';
import { Packer, ShuffledSource, TaskSource } from '../../packages/rl-trainer/dist/index.js';
import {
  deepseekR1Template,
  deepseekSpecialTokens,
  deepseekTokens,
} from '../../packages/tokenizer-merging/dist/chat/index.js';
import { entropyBoundaries, tokenBitmapText } from '../../packages/tokenizer-merging/dist/merging/index.js';
import { Tokenizer, trainBpe } from '../../packages/tokenizer-merging/dist/tokenizer/index.js';

/** Documents of a split of the corpus, `{ source, path, text }`, up to so many bytes of file. */
export function readSplit(corpus, split, mostBytes = Number.MAX_SAFE_INTEGER) {
  const path = join(corpus, `${split}.jsonl`);
  if (!existsSync(path))
    throw new Error(`expected ${path}, found none; make it with node tools/study/corpus.mjs ${corpus}`);
  const documents = [];
  let bytes = 0;
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    if (line === '') continue;
    bytes += line.length;
    if (bytes > mostBytes && documents.length > 0) break;
    documents.push(JSON.parse(line));
  }
  return documents;
}

/** The tokenizer of a study: learned from its training texts once, then read from the folder. */
export function studyTokenizer(folder, { vocabSize }, texts) {
  const path = join(folder, 'tokenizer.json');
  if (existsSync(path)) return Tokenizer.parse(readFileSync(path, 'utf8'));
  const tokenizer = trainBpe(texts(), {
    vocabSize,
    specialTokens: deepseekSpecialTokens,
    digits: 'individual',
  });
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${path}.tmp`, JSON.stringify(tokenizer.toJson()));
  renameSync(`${path}.tmp`, path);
  return tokenizer;
}

/** A document's ids in pieces of at most `context`, each beginning with the last id of the one before. */
export function pieces(ids, context) {
  const cut = [];
  for (let begin = 0; begin + 1 < ids.length; begin += context - 1)
    cut.push({ ids: Int32Array.from(ids.slice(begin, begin + context)), completionStart: 1 });
  return cut;
}

/** Real text: training examples by seed, documents of the test split. */
export function textData(folder, corpus, setting) {
  const training = readSplit(corpus, 'train', setting.trainingBytes).map(({ text }) => text);
  const tokenizer = studyTokenizer(folder, setting, () => training);
  const first = tokenizer.tokenToId(deepseekTokens.bos);
  const examples = training.flatMap((text) => pieces([first, ...tokenizer.encode(text)], setting.context));
  const documents = readSplit(corpus, 'test')
    .slice(0, setting.testDocuments)
    .map(({ source, path, text }) => scoredDocument(`${source}/${path}`, text, tokenizer, first));
  return {
    tokenizer,
    documents,
    source: (seed) => new ShuffledSource(examples, seed),
    manifest: JSON.parse(readFileSync(join(corpus, 'manifest.json'), 'utf8')),
  };
}

/** Generated tasks with their derivations: training examples by seed, problems of the test split. */
export function taskData(setting) {
  const tokenizer = recipeTokenizer();
  const problems = Object.keys(defaultWeights).flatMap((family) =>
    heldOut(family, 'test', { seed: 0, count: setting.problems }),
  );
  return {
    ...{ tokenizer, problems, template: deepseekR1Template },
    source: (seed) => new TaskSource(new TaskStream({ seed }), tokenizer, deepseekR1Template),
    manifest: { families: Object.keys(defaultWeights) },
  };
}

/** Text of settings for a router of tokens: where entries begin, by so many tokens of a source. */
export function boundaryTokens(source, tokens, options) {
  const sequences = [];
  for (let seen = 0; seen < tokens; seen += sequences.at(-1).length) sequences.push(source.next().ids);
  return tokenBitmapText(entropyBoundaries(sequences, options));
}

/** Steps in which a source gives so many tokens. */
export function stepsFor(source, tokens, tokensPerStep) {
  const packer = new Packer(source, tokensPerStep);
  let [steps, seen] = [0, 0];
  for (; seen < tokens; steps++) for (const { ids } of packer.take()) seen += ids.length;
  return steps;
}
