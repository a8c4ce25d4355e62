/** For tests: a V3-shaped language model of random weights that answers at once, in a folder. */
import { createReference } from '@minke/gpu-backends/reference';
import { saveLanguageModel } from '@minke/inference';
import { templateTexts } from '@minke/reasoning-tasks';
import { Arena } from '@minke/tensor';
import { deepseekR1Template, deepseekSpecialTokens } from '@minke/tokenizer-merging/chat';
import { trainBpe } from '@minke/tokenizer-merging/tokenizer';
import { type DeepSeekConfig, DeepSeekModel, type MoeShape, presets } from '@minke/transformer';

/** Widths of two layers, one dense and one of four experts, with two heads. */
export interface SmallWidths
  extends Pick<DeepSeekConfig, 'hiddenSize' | 'intermediateSize' | 'qLoraRank' | 'kvLoraRank' | 'vHeadDim'> {
  readonly expertSize: number;
}

/** Writes it; the same weights for the same widths. */
export async function saveSmallLanguage(
  folder: string,
  { expertSize, ...widths }: SmallWidths,
  dtype: 'f32' | 'bf16',
): Promise<void> {
  const tokenizer = trainBpe(templateTexts(), {
    vocabSize: 400,
    specialTokens: deepseekSpecialTokens,
    digits: 'individual',
  });
  const base: DeepSeekConfig = presets['DeepSeek-V3'];
  const config: DeepSeekConfig = {
    ...base,
    ...widths,
    ...{ vocabSize: tokenizer.vocabSize, numLayers: 2, numHeads: 2, qkNopeHeadDim: 8, qkRopeHeadDim: 4 },
    ...{ firstDenseLayers: 1, mtpLayers: 0, yarn: null, maxPositions: 128, initStd: 0.1 },
    moe: { ...(base.moe as MoeShape), expertSize, experts: 4, topK: 2, groups: 1, topGroups: 1 },
  };
  const model = DeepSeekModel.init(config, {
    arena: new Arena(createReference(), { persistent: true }),
    seed: 3,
  });
  const format = { tokenizer, template: deepseekR1Template, stopTokenIds: [1] };
  const sampling = { temperature: 0, topP: 1, topK: 0, minP: 0 };
  await saveLanguageModel({ model, ...format, sampling }, folder, { dtype });
}
