export { Block, type BlockOptions, type BlockResult, DenseMlp, MtpModule } from './block.ts';
export type { CommonConfig } from './common-config.ts';
export {
  attentionConfig,
  type DeepSeekConfig,
  isMoeLayer,
  type ModelConfig,
  type MoeShape,
  validateConfig,
} from './config.ts';
export {
  type BalancedRows,
  DeepSeekModel,
  type ForwardOptions,
  type ForwardResult,
  type HiddenResult,
  type ModelBatch,
  type ModelInit,
} from './deepseek.ts';
export { type DenseConfig, groupedQueryConfig, isDenseConfig } from './dense-config.ts';
export { type ExportModelOptions, exportModel } from './export-model.ts';
export { type BlockType, blockTypeOf } from './fill-parameters.ts';
export { type Fp8Quantization, fp8Weights, parseQuantization } from './fp8-weights.ts';
export { configFromGguf } from './gguf-config.ts';
export { ggufWeights } from './gguf-weights.ts';
export { huggingFaceConfigText, parseConfig, toHuggingFaceConfig } from './hugging-face-config.ts';
export {
  type Attended,
  type AttentionRopes,
  attentionCacheBytes,
  type IndexerStage,
  type LayerAttention,
  type LayerAttentionOptions,
  type ModelCache,
  type ModelCacheSize,
} from './layer-attention.ts';
export {
  isGgufPath,
  type LoadOptions,
  loadModel,
  type OpenModel,
  publishedWeights,
  readConfig,
  type SaveOptions,
  saveModel,
} from './load.ts';
export {
  type AdaptedModel,
  createLora,
  type Lora,
  type LoraConfig,
  loraModules,
  loraScale,
  loraTargets,
} from './lora.ts';
export { loadLora, saveLora } from './lora-files.ts';
export {
  type MergingConfig,
  mergingParameterShapes,
  middleLayers,
  validateMerging,
} from './merging-config.ts';
export { parseMergingConfig, toMergingFields } from './merging-fields.ts';
export { loadMergingModel, loadTransformer, type OpenMergingModel } from './merging-files.ts';
export { MergingState, type MergingStateSize, mergingStateBytes, type SavedPlace } from './merging-state.ts';
export {
  isMerging,
  type MergingForwardOptions,
  type MergingHidden,
  type MergingParts,
  type MergingResult,
  MergingTransformer,
  plainModel,
  type TransformerModel,
} from './merging-transformer.ts';
export {
  mtpCopies,
  type PublishedTensor,
  packedSource,
  parameterShapes,
  publishedTensors,
  type Target,
} from './names.ts';
export { presets } from './presets.ts';
export {
  expertSiblings,
  headName,
  isLatentProjection,
  isQuantizable,
  quantizableParameters,
  tokenTable,
} from './quantizable.ts';
export { type QuantizationRule, rulesOf, type StoredType } from './quantize-choices.ts';
export { type QuantizeModelOptions, quantizeModel } from './quantize-model.ts';
export {
  formatQuantization,
  type QuantizationReport,
  type QuantizedTensor,
  type TensorGroup,
} from './quantize-report.ts';
export type { WeightSource } from './weight-source.ts';
