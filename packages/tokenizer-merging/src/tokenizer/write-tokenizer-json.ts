/**
 * Writes the Hugging Face `tokenizer.json` format. Merges are written as pairs (the form `tokenizers` writes
 * since 0.20, free of the ambiguity of "a b"); normalizer, pre-tokenizer and post-processor as they were read.
 */
import type { TokenizerSpec } from './tokenizer-json.ts';

/** The fields of a `tokenizer.json` that this package writes. */
export interface TokenizerJson {
  readonly version: '1.0';
  readonly truncation: null;
  readonly padding: null;
  readonly added_tokens: readonly AddedTokenJson[];
  readonly normalizer: unknown;
  readonly pre_tokenizer: unknown;
  readonly post_processor: unknown;
  readonly decoder: unknown;
  readonly model: BpeModelJson;
}

/** An entry of `added_tokens` as written in the file. */
export interface AddedTokenJson {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
  readonly special: boolean;
}

/** The `model` field of a byte-level BPE. */
export interface BpeModelJson {
  readonly type: 'BPE';
  readonly dropout: null;
  readonly unk_token: null;
  readonly continuing_subword_prefix: null;
  readonly end_of_word_suffix: null;
  readonly fuse_unk: false;
  readonly byte_fallback: false;
  readonly ignore_merges: boolean;
  readonly vocab: Readonly<Record<string, number>>;
  readonly merges: readonly (readonly [left: string, right: string])[];
}

/** The ByteLevel decoder; its options do nothing when decoding. */
export const byteLevelDecoder = {
  type: 'ByteLevel',
  add_prefix_space: true,
  trim_offsets: true,
  use_regex: true,
};

/** The inverse of `parseTokenizerJson`. */
export function writeTokenizerJson(spec: TokenizerSpec): TokenizerJson {
  const byId = [...spec.vocab].sort((a, b) => a[1] - b[1]);
  const tokens = new Map(byId.map(([token, id]) => [id, token]));
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [...spec.addedTokens]
      .sort((a, b) => a.id - b.id)
      .map((token) => ({
        id: token.id,
        content: token.content,
        single_word: token.singleWord,
        lstrip: token.lstrip,
        rstrip: token.rstrip,
        normalized: token.normalized,
        special: token.special,
      })),
    normalizer: spec.source.normalizer,
    pre_tokenizer: spec.source.preTokenizer,
    post_processor: spec.source.postProcessor,
    decoder: byteLevelDecoder,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: spec.ignoreMerges,
      vocab: Object.fromEntries(byId),
      merges: spec.merges.map(([left, right]) => [tokens.get(left)!, tokens.get(right)!]),
    },
  };
}
