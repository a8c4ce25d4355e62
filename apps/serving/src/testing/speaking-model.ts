/**
 * For tests: a V3-shaped model folder (query LoRA, experts, dense first layer) whose weights spell one reply.
 *
 * Random blocks with small weights leave the last token's embedding dominant, and the head maps each embedding of
 * the reply to the token that follows it. So a greedy answer is known in advance, while the whole engine computes
 * it: attention, experts, cache, sampling. Not trained, nothing mocked.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Random } from '@minke/core';
import { createReference } from '@minke/gpu-backends/reference';
import { saveLanguageModel } from '@minke/inference';
import { deepseekV3Gate } from '@minke/moe-router';
import { Arena } from '@minke/tensor';
import { deepseekR1Template, deepseekSpecialTokens, deepseekTokens } from '@minke/tokenizer-merging/chat';
import { trainBpe } from '@minke/tokenizer-merging/tokenizer';
import { DeepSeekModel } from '@minke/transformer';

/** What the model says; characters of one to four bytes. */
export const thought = 'First add ones, then tens; carry nothing over.';
export const answer = 'It is 46€😀!';

/** Tokens a request may reach, and one that has no end: as many as a server takes, so that it outlives a test's next steps. */
export const contextLength = 512;
const endlessLength = 4096;

const hiddenSize = 64;

/** A model folder, to be removed after use. `endless`: the thought begins again and again up to the context's end. */
export async function writeSpeakingModel({ endless = false } = {}): Promise<{
  folder: string;
  remove: () => Promise<void>;
}> {
  const tokenizer = trainBpe([thought, 'It is'], {
    vocabSize: 340,
    specialTokens: deepseekSpecialTokens,
    digits: 'individual',
    minFrequency: 1,
  });
  const { vocabSize } = tokenizer;
  const random = new Random(5);
  const arena = new Arena(createReference(), { persistent: true, label: 'speaking model' });
  const model = DeepSeekModel.init(
    {
      modelType: 'deepseek_v3',
      vocabSize,
      hiddenSize,
      intermediateSize: 64,
      numLayers: 2,
      numHeads: 2,
      qLoraRank: 24,
      kvLoraRank: 16,
      qkNopeHeadDim: 16,
      qkRopeHeadDim: 8,
      vHeadDim: 16,
      attentionBias: false,
      moe: { ...deepseekV3Gate, expertSize: 16, experts: 8, topK: 2, groups: 2, topGroups: 1 },
      firstDenseLayers: 1,
      moeLayerFreq: 1,
      mtpLayers: 0,
      normEps: 1e-6,
      ropeTheta: 10000,
      ropeLayout: 'interleaved',
      yarn: null,
      maxPositions: endless ? endlessLength : contextLength,
      initStd: 0.02,
      tieEmbeddings: false,
      bosTokenId: 0,
      eosTokenIds: [1],
      padTokenId: 2,
    },
    { arena, random },
  );
  const idOf = (token: string) => tokenizer.tokenToId(token) as number;
  const [newline] = tokenizer.encode('\n'); // the last token of every prompt
  const spoken = [newline as number, ...tokenizer.encode(thought)];
  if (endless) spoken.push(newline as number);
  else spoken.push(idOf(deepseekTokens.thinkClose), ...tokenizer.encode(answer), idOf(deepseekTokens.eos));
  const followed = spoken.slice(0, -1);
  if (new Set(followed).size < followed.length)
    throw new Error('speaking model: a token of the reply occurs twice; it could not tell what follows');

  const embedding = Float32Array.from({ length: vocabSize * hiddenSize }, () => random.normal());
  const head = new Float32Array(vocabSize * hiddenSize);
  followed.forEach((token, i) => {
    const row = embedding.subarray(token * hiddenSize, (token + 1) * hiddenSize);
    head.set(
      row.map((x, d) => x + (head[(spoken[i + 1] as number) * hiddenSize + d] as number)),
      (spoken[i + 1] as number) * hiddenSize,
    );
  });
  const parameters = model.parameters();
  parameters.get('model.embed_tokens.weight')?.write(embedding);
  parameters.get('lm_head.weight')?.write(head);

  const parent = await mkdtemp(join(tmpdir(), 'minke-serving-'));
  const folder = join(parent, 'speaking');
  const sampling = { temperature: 0, topP: 1, topK: 0, minP: 0 };
  const stopTokenIds = [idOf(deepseekTokens.eos)];
  await saveLanguageModel({ model, tokenizer, template: deepseekR1Template, stopTokenIds, sampling }, folder);
  arena.dispose();
  return { folder, remove: () => rm(parent, { recursive: true, force: true }) };
}
