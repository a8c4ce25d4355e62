/** A V3-shaped model of a few thousand parameters, for tests of the stages. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Backend } from '@minke/core';
import { auto } from '@minke/gpu-backends';
import { Arena } from '@minke/tensor';
import { type DeepSeekConfig, DeepSeekModel, parseConfig } from '@minke/transformer';
import { afterAll } from 'vitest';

/** Dense and expert layer, 24 ids. */
export const smallConfig: DeepSeekConfig = parseConfig({
  model_type: 'deepseek_v3',
  vocab_size: 24,
  hidden_size: 16,
  num_hidden_layers: 2,
  first_k_dense_replace: 1,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  q_lora_rank: 8,
  kv_lora_rank: 8,
  qk_nope_head_dim: 4,
  qk_rope_head_dim: 4,
  v_head_dim: 4,
  intermediate_size: 24,
  moe_intermediate_size: 8,
  n_routed_experts: 4,
  num_experts_per_tok: 2,
  n_shared_experts: 1,
  n_group: 1,
  topk_group: 1,
  routed_scaling_factor: 2.5,
  norm_topk_prob: true,
  initializer_range: 0.2,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  max_position_embeddings: 64,
  tie_word_embeddings: false,
});

/** The same weights for the same seed. */
export function smallModel(
  backend: Backend,
  {
    seed = 1,
    vocabSize = 24,
    maxPositions = 64,
  }: { seed?: number; vocabSize?: number; maxPositions?: number } = {},
): DeepSeekModel {
  const arena = new Arena(backend, { persistent: true });
  return DeepSeekModel.init({ ...smallConfig, vocabSize, maxPositions }, { arena, seed });
}

/** This machine's backend, until the tests of the file are over. */
export async function testBackend(): Promise<Backend> {
  const backend = await auto();
  afterAll(() => backend.dispose());
  return backend;
}

/** Names of new folders, removed after the tests of the file. */
export function testFolders(): () => string {
  const root = mkdtempSync(join(tmpdir(), 'minke-stage-'));
  afterAll(() => rmSync(root, { recursive: true, force: true }));
  let next = 0;
  return () => join(root, String(next++));
}

/** A file of a run's folder as text. */
export const read = (folder: string, name: string): string => readFileSync(join(folder, name), 'utf8');

/** All weights, for comparisons by bytes. */
export const weightsOf = async (model: DeepSeekModel): Promise<number[]> =>
  (await Promise.all([...model.parameters().values()].map((p) => p.read()))).flatMap((part) =>
    Array.from(part),
  );
