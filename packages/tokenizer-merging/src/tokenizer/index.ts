export type { AddedToken } from './added-tokens.ts';
export { StreamDecoder } from './stream-decoder.ts';
export { type DecodeOptions, type EncodeOptions, Tokenizer } from './tokenizer.ts';
export { type DigitSplit, type TrainBpeOptions, trainBpe } from './train.ts';
export type { AddedTokenJson, BpeModelJson, TokenizerJson } from './write-tokenizer-json.ts';
