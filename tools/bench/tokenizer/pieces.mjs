import { trainBpe } from '../../../packages/tokenizer-merging/dist/tokenizer/index.js';

/** The `pre_tokenizer` of what `trainBpe` makes, which the peer gets too. */
export function deepseekPieces() {
  return trainBpe([], { vocabSize: 256 }).toJson().pre_tokenizer;
}
