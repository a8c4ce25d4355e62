/**
 * The recipe's tokenizer: one token for each whole piece of the fixed phrases of its tasks and replies, the 256 bytes,
 * the control tokens of DeepSeek-R1, and no merges.
 *
 * Digits and the letters of content (names, counted and capitalised words) stay single, which copying and counting
 * need; a word outside the phrases falls apart into bytes. With a few hundred ids the embedding and the output of a
 * model of a million parameters stay small.
 */
import { templateTexts } from '@minke/reasoning-tasks';
import { deepseekR1Template, deepseekSpecialTokens, deepseekTokens } from '@minke/tokenizer-merging/chat';
import { Tokenizer, trainBpe } from '@minke/tokenizer-merging/tokenizer';
import { badReplyTexts } from './corruptions.ts';
import { generalTexts } from './general-tasks.ts';
import { spellings } from './step-words.ts';
import { recipeFamilies } from './task-sets.ts';

/** Step words that no thought of the recipe's families holds. */
const unusedWords = 'prime true false keep drop says knight knave wall goal twice'.split(' ');

/** Fixed texts of everything that the recipe's rows hold. */
function fixedTexts(): string[] {
  const unused = unusedWords.flatMap(spellings);
  const ofTasks = templateTexts(recipeFamilies).filter(
    (text) => !unused.some((word) => text === `${word} 0\n` || text.toLowerCase() === `0 ${word}`),
  );
  const ends = ['I do not know.', 'No lo sé.', '\n\n'];
  return [...ofTasks, ...generalTexts(), ...badReplyTexts(), ...ends];
}

/** A letter with a space before it (Spanish `y`, `a`): as one token it would hide the letter where letters count. */
const spacedLetter = /^Ġ\p{L}$/u;

/** The tokenizer; deterministic, made in well under a second. */
export function recipeTokenizer(): Tokenizer {
  const texts = fixedTexts();
  const learned = trainBpe(texts, {
    vocabSize: 4096,
    specialTokens: deepseekSpecialTokens,
    digits: 'individual',
    minFrequency: 1,
  });
  const pieces = new Set(texts.flatMap((text) => [...learned.encode(text)]));
  const json = structuredClone(learned.toJson());
  const control = new Set(json.added_tokens.map(({ content }) => content));
  const kept = Object.entries(json.model.vocab)
    .filter(
      ([token, id]) =>
        control.has(token) || [...token].length === 1 || (pieces.has(id) && !spacedLetter.test(token)),
    )
    .sort(([, a], [, b]) => a - b);
  const vocab = Object.fromEntries(kept.map(([token], id) => [token, id]));
  return Tokenizer.fromJson({
    ...json,
    model: { ...json.model, vocab, merges: [], ignore_merges: true },
    added_tokens: json.added_tokens.map((token) => ({ ...token, id: vocab[token.content] as number })),
  });
}

/** The files that make a model folder complete, by name: `tokenizer.json` and its two companions. */
export function tokenizerFiles(maxTokens = 512): Readonly<Record<string, object>> {
  const tokenizer = recipeTokenizer();
  return {
    'tokenizer.json': tokenizer.toJson(),
    'tokenizer_config.json': {
      tokenizer_class: 'PreTrainedTokenizerFast',
      bos_token: deepseekTokens.bos,
      eos_token: deepseekTokens.eos,
      pad_token: deepseekTokens.pad,
      chat_template: deepseekR1Template.source,
      model_max_length: maxTokens,
    },
    'generation_config.json': {
      bos_token_id: tokenizer.tokenToId(deepseekTokens.bos),
      eos_token_id: tokenizer.tokenToId(deepseekTokens.eos),
      do_sample: false,
    },
  };
}
