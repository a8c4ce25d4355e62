export type { CacheType } from '@minke/mla-attention';
export {
  type ChatOptions,
  type ChatPart,
  type ChatUsage,
  type CompleteOptions,
  type Completion,
  chat,
  complete,
} from './chat.ts';
export { Engine, type EngineLoad, type EngineOptions, type GenerationRequest } from './engine.ts';
export { exportLanguageModel } from './export-language-model.ts';
export {
  joinLanguageModel,
  type LanguageModel,
  type LoadLanguageModelOptions,
  loadAnyLanguageModel,
  loadLanguageModel,
} from './language-model.ts';
export { loadTextFormat } from './load-text-format.ts';
export {
  type Chunk,
  type Draw,
  ModelStep,
  type ModelStepOptions,
  type QuantizedStorage,
} from './model-step.ts';
export { quantizeLanguageModel } from './quantize-language-model.ts';
export {
  argmax,
  type DrawnToken,
  defaultSampling,
  type SamplingParams,
  sampleToken,
  validateSampling,
} from './sampling.ts';
export { saveLanguageModel } from './save-language-model.ts';
export { StopStrings } from './stop-strings.ts';
export type { TextFormat } from './text-format.ts';
export type { TokenEvent, TokenStream } from './token-queue.ts';
