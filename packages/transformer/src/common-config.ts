/**
 * What every family's configuration has alike: context, initial weights, head and special tokens; in plain data, and in
 * config.json both ways.
 */
import type { Fields } from './config-fields.ts';

/** The part of a model's configuration that does not depend on its family. Plain data. */
export interface CommonConfig {
  /** Longest context, tokens. */
  readonly maxPositions: number;
  /** Standard deviation of the initial weights. DeepSeek's papers train with 0.006. */
  readonly initStd: number;
  /** The head is the embedding. */
  readonly tieEmbeddings: boolean;
  readonly bosTokenId: number | null;
  /** Tokens that end an answer. */
  readonly eosTokenIds: readonly number[];
  readonly padTokenId: number | null;
}

/** From config.json; what is wrong is in `fields.problems`. */
export function parseCommon(fields: Fields, maxPositions: number): CommonConfig {
  const eos = fields.raw('eos_token_id') ?? null;
  return {
    maxPositions,
    initStd: fields.number('initializer_range', 0.02),
    tieEmbeddings: fields.flag('tie_word_embeddings', false),
    bosTokenId: fields.nullable('bos_token_id', null),
    eosTokenIds: (eos === null ? [] : [eos].flat()) as number[],
    padTokenId: fields.nullable('pad_token_id', null),
  };
}

/** For config.json, with the storage type of the weights beside it. */
export function fromCommon(config: CommonConfig, dtype: string): Record<string, unknown> {
  const { eosTokenIds: eos } = config;
  return {
    max_position_embeddings: config.maxPositions,
    initializer_range: config.initStd,
    tie_word_embeddings: config.tieEmbeddings,
    bos_token_id: config.bosTokenId,
    eos_token_id: eos.length > 1 ? eos : (eos[0] ?? null),
    pad_token_id: config.padTokenId,
    use_cache: true,
    torch_dtype: dtype,
  };
}
