/**
 * Makes the embedded model's tokenizer: one token for each whole piece of the reasoning tasks' fixed phrases,
 * the 256 bytes, and no merges. A byte-pair encoding would learn pieces such as `er` and apply them everywhere;
 * here digits stay single and a word outside the phrases falls apart into letters, which counting them needs.
 *
 * Usage (after a build): node packages/tiny-reasoner/recipe/make-tokenizer.mjs <folder>
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { templateTexts } from '@minke/reasoning-tasks';
import { deepseekR1Template, deepseekSpecialTokens, deepseekTokens } from '@minke/tokenizer-merging/chat';
import { Tokenizer, trainBpe } from '@minke/tokenizer-merging/tokenizer';

/** The tokenizer; deterministic. */
export function makeTokenizer() {
  const options = {
    vocabSize: 4096,
    specialTokens: deepseekSpecialTokens,
    digits: 'individual',
    minFrequency: 1,
  };
  const learned = trainBpe(templateTexts(), options);
  const pieces = new Set(templateTexts().flatMap((text) => [...learned.encode(text)]));
  const json = structuredClone(learned.toJson());
  const control = new Set(json.added_tokens.map((token) => token.content));
  const kept = Object.entries(json.model.vocab)
    .filter(([token, id]) => control.has(token) || [...token].length === 1 || pieces.has(id))
    .sort(([, a], [, b]) => a - b);
  json.model.vocab = Object.fromEntries(kept.map(([token], id) => [token, id]));
  json.added_tokens = json.added_tokens.map((token) => ({ ...token, id: json.model.vocab[token.content] }));
  json.model.merges = [];
  json.model.ignore_merges = true;
  return Tokenizer.fromJson(json);
}

/** Writes tokenizer.json, tokenizer_config.json with the chat template, and generation_config.json. */
function write(folder) {
  const tokenizer = makeTokenizer();
  const put = (name, value) => writeFileSync(join(folder, name), `${JSON.stringify(value, null, 2)}\n`);
  mkdirSync(folder, { recursive: true });
  put('tokenizer.json', tokenizer.toJson());
  put('tokenizer_config.json', {
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: deepseekTokens.bos,
    eos_token: deepseekTokens.eos,
    pad_token: deepseekTokens.pad,
    chat_template: deepseekR1Template.source,
    model_max_length: 512,
  });
  put('generation_config.json', {
    bos_token_id: tokenizer.tokenToId(deepseekTokens.bos),
    eos_token_id: tokenizer.tokenToId(deepseekTokens.eos),
    do_sample: false,
  });
  console.error(`${folder}: ${tokenizer.vocabSize} tokens`);
}

if (process.argv[1] === import.meta.filename) {
  const folder = process.argv[2];
  if (folder === undefined) {
    console.error('usage: make-tokenizer.mjs <folder>');
    process.exit(2);
  }
  write(folder);
}
