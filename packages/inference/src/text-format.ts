import type { ChatTemplate } from '@minke/tokenizer-merging/chat';
import type { Tokenizer } from '@minke/tokenizer-merging/tokenizer';
import type { SamplingParams } from './sampling.ts';

/** How conversations become token ids and ids become text: a language model without its weights. */
export interface TextFormat {
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate;
  /** Ids that end an answer. */
  readonly stopTokenIds: readonly number[];
  /** Defaults from generation_config.json. */
  readonly sampling: SamplingParams;
}
