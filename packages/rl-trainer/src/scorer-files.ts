/**
 * Scoring models as folders in the Hugging Face layout: config.json and safetensors, as transformers'
 * `DeepseekV3ForSequenceClassification` with one label reads and writes them.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpoint, writeCheckpoint } from '@minke/checkpoints';
import { type Backend, MinkeError } from '@minke/core';
import type { Arena, Tensor } from '@minke/tensor';
import {
  type DeepSeekModel,
  huggingFaceConfigText,
  loadModel,
  publishedWeights,
  readConfig,
} from '@minke/transformer';

/** The head's name in checkpoints, as transformers has it. */
export const SCORE_HEAD = 'score.weight';

/** Writes backbone and head; bf16 rounds the backbone, the head stays f32. */
export async function saveScorer(
  model: DeepSeekModel,
  head: Tensor,
  folder: string,
  dtype: 'f32' | 'bf16',
): Promise<void> {
  const config = JSON.parse(
    huggingFaceConfigText(model.config, dtype === 'bf16' ? 'bfloat16' : 'float32'),
  ) as { readonly model_type: string };
  if (config.model_type !== 'deepseek_v3')
    throw new MinkeError(
      'unsupported',
      `saveModel: expected a deepseek_v3 backbone, got ${config.model_type}; save its state instead`,
    );
  const weights = publishedWeights(model, dtype);
  weights.delete('lm_head.weight');
  const data = Float32Array.from(await head.read());
  weights.set(SCORE_HEAD, { dtype: 'F32', shape: head.shape, data });
  await mkdir(folder, { recursive: true });
  await writeCheckpoint(folder, weights);
  const labels = { num_labels: 1, id2label: { 0: 'LABEL_0' }, label2id: { LABEL_0: 0 } };
  const text = { ...config, architectures: ['DeepseekV3ForSequenceClassification'], ...labels };
  await writeFile(join(folder, 'config.json'), `${JSON.stringify(text, null, 2)}\n`);
}

/**
 * Backbone and head of a folder that `LocalScorer.saveModel` or transformers wrote.
 * They belong to `arena`, a persistent one, or to one of their own for good. Throws as `loadModel`, and `invalid-file` where the head is missing or has several labels.
 *
 * @example
 * const { model, head } = await loadScorer('runs/helpful/model', { backend });
 * const scorer = new LocalScorer(model, { head });
 */
export async function loadScorer(
  folder: string,
  { backend, arena }: { readonly backend: Backend; readonly arena?: Arena },
): Promise<{ readonly model: DeepSeekModel; readonly head: Float32Array }> {
  const config = await readConfig(folder);
  const weights = await openCheckpoint(folder);
  try {
    const shape = weights.tensors.get(SCORE_HEAD)?.shape;
    if (shape?.join() !== `1,${config.hiddenSize}`)
      throw new MinkeError(
        'invalid-file',
        `loadScorer: expected ${SCORE_HEAD} [1, ${config.hiddenSize}] in ${folder}, got ${shape ? `[${shape.join(', ')}]` : 'none'}`,
      );
    // The files have no head for tokens, as a model with tied embeddings has none.
    const owner = { backend, ...(arena && { arena }) };
    const model = await loadModel({ config: { ...config, tieEmbeddings: true }, weights }, owner);
    return { model, head: await weights.readFloat32(SCORE_HEAD) };
  } finally {
    await weights.close();
  }
}
