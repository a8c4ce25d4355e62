/**
 * Makes the embedded model's tokenizer: byte-level BPE, digits one by one, trained on the fixed phrases of the
 * reasoning tasks only. Words that are not in a phrase fall apart into letters, which is what counting them needs.
 *
 * Usage (after a build): node packages/tiny-reasoner/recipe/make-tokenizer.mjs <folder>
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { templateTexts } from '@minke/reasoning-tasks';
import { deepseekR1Template, deepseekSpecialTokens, deepseekTokens } from '@minke/tokenizer-merging/chat';
import { trainBpe } from '@minke/tokenizer-merging/tokenizer';

const folder = process.argv[2];
if (!folder) {
  console.error('usage: make-tokenizer.mjs <folder>');
  process.exit(2);
}
const tokenizer = trainBpe(templateTexts(), {
  vocabSize: 512,
  specialTokens: deepseekSpecialTokens,
  digits: 'individual',
});
const write = (name, value) => writeFileSync(join(folder, name), `${JSON.stringify(value, null, 2)}\n`);
mkdirSync(folder, { recursive: true });
write('tokenizer.json', tokenizer.toJson());
write('tokenizer_config.json', {
  tokenizer_class: 'PreTrainedTokenizerFast',
  bos_token: deepseekTokens.bos,
  eos_token: deepseekTokens.eos,
  pad_token: deepseekTokens.pad,
  chat_template: deepseekR1Template.source,
  model_max_length: 512,
});
write('generation_config.json', {
  bos_token_id: tokenizer.tokenToId(deepseekTokens.bos),
  eos_token_id: tokenizer.tokenToId(deepseekTokens.eos),
  do_sample: false,
});
console.error(`${folder}: ${tokenizer.vocabSize} tokens`);
