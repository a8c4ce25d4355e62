export type { AddedToken } from './added-tokens.ts';
export { ggufTokenizer } from './gguf-tokenizer.ts';
export type { DigitSplit } from './pre-tokenizer-forms.ts';
export { splitByTokens, type TextPart } from './split.ts';
export { StreamDecoder } from './stream-decoder.ts';
export { type TokenReport, tokenReport } from './token-report.ts';
export { type DecodeOptions, type EncodeOptions, Tokenizer } from './tokenizer.ts';
export { type ExtendVocabularyOptions, extendVocabulary, type TrainBpeOptions, trainBpe } from './train.ts';
export type { AddedTokenJson, BpeModelJson, TokenizerJson } from './write-tokenizer-json.ts';
