// What is said about settings of merging, and parts, that do not fit.
import { createReference } from '@minke/gpu-backends/reference';
import { Arena } from '@minke/tensor';
import { DynamicTokenInflator, SoftTokenMerger, tokenBitmapText } from '@minke/tokenizer-merging/merging';
import { expect, it } from 'vitest';
import {
  type DeepSeekConfig,
  DeepSeekModel,
  type MergingConfig,
  MergingTransformer,
  presets,
  validateMerging,
} from './index.ts';

const config: DeepSeekConfig = {
  ...presets['DeepSeek-V3'],
  ...{ vocabSize: 61, hiddenSize: 36, intermediateSize: 52, numLayers: 4, numHeads: 3 },
  ...{ qLoraRank: 21, kvLoraRank: 17, qkNopeHeadDim: 12, qkRopeHeadDim: 4, vHeadDim: 9 },
  ...{ moe: null, mtpLayers: 0, yarn: null, maxPositions: 64 },
};
const merging: MergingConfig = { preLayers: 1, postLayers: 1, maxRun: 4, offsets: true, refine: true };

it('names every problem of a config', () => {
  const wrong = {
    preLayers: 0,
    postLayers: 1.5,
    threshold: 2,
    maxRun: 0,
    sizeBias: '1',
    mix: 'x',
    refine: 1,
    convKernel: 1.5,
  };
  expect(() => validateMerging(wrong as never, config)).toThrow(
    /preLayers.*0; postLayers.*1.5; threshold.*2; maxRun.*0; convKernel.*1.5; sizeBias.*"1"; mix.*"x"; refine.*1/,
  );
  expect(() => validateMerging({ preLayers: 2, postLayers: 2 }, config)).toThrow(/leave one of 4 layers/);
  expect(validateMerging(merging, config)).toBe(merging);
});

it('wants the tokens at which entries begin where they decide, and nowhere else', () => {
  const of = (settings: Partial<MergingConfig>) => () => validateMerging({ ...merging, ...settings }, config);
  const boundaryTokens = tokenBitmapText(new Uint8Array(config.vocabSize));
  expect(of({ router: 'tokens' })).toThrow(/boundaryTokens as text with the router tokens, got nothing/);
  expect(of({ boundaryTokens })).toThrow(/no boundaryTokens with the router learned/);
  const short = tokenBitmapText(new Uint8Array(8));
  expect(of({ router: 'tokens', boundaryTokens: short })).toThrow(
    /base64 of 8 bytes.*61 tokens, got 1 bytes/,
  );
  expect(of({ router: 'tokens', boundaryTokens: '*' })).toThrow(/got text that is none/);
  expect(of({ router: 'tokens', boundaryTokens })).not.toThrow();
});

it('refuses parts that do not fit each other', () => {
  const arena = new Arena(createReference(), { persistent: true });
  const model = DeepSeekModel.init(config, { arena, seed: 1 });
  const parts = {
    merger: SoftTokenMerger.init({ hiddenSize: config.hiddenSize, maxRun: 4 }, { arena }),
    inflator: DynamicTokenInflator.init({ hiddenSize: config.hiddenSize, maxRun: 5 }, { arena }),
  };
  const unweighed = { ...merging, sizeBias: 0 };
  expect(() => new MergingTransformer(model, unweighed, parts)).toThrow(/same maxRun.*4 and 5/);
  expect(() => new MergingTransformer(model, { ...merging, convKernel: 4 }, parts)).toThrow(
    /a convolution over 4 tokens.*got one over 1/,
  );
  expect(() => new MergingTransformer(model, merging, parts)).toThrow(
    /expected 2 size biases \[3\], got none/,
  );
});
