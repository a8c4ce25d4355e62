import { expect, it } from 'vitest';
import { mtpCopies, packedSource, parameterShapes, publishedTensors } from './names.ts';
import { presets } from './presets.ts';

const v3 = presets['DeepSeek-V3'];
const v2Lite = presets['DeepSeek-V2-Lite'];

it("names and shapes a published V3's tensors", () => {
  const tensors = new Map(publishedTensors(v3).map(({ name, shape }) => [name, shape]));
  expect(tensors.get('model.layers.0.mlp.gate_proj.weight')).toEqual([18432, 7168]);
  expect(tensors.get('model.layers.3.mlp.gate.e_score_correction_bias')).toEqual([256]);
  expect(tensors.get('model.layers.60.mlp.experts.255.down_proj.weight')).toEqual([7168, 2048]);
  expect(tensors.get('model.layers.60.mlp.shared_experts.up_proj.weight')).toEqual([2048, 7168]);
  expect(tensors.get('model.layers.5.self_attn.kv_a_proj_with_mqa.weight')).toEqual([576, 7168]);
  expect(tensors.get('model.layers.61.eh_proj.weight')).toEqual([7168, 14336]);
  expect(tensors.get('model.layers.61.shared_head.norm.weight')).toEqual([7168]);
  expect(tensors.has('model.layers.2.mlp.gate.weight')).toBe(false);
  expect(tensors.has('model.layers.61.embed_tokens.weight')).toBe(false);
  expect([...mtpCopies(v3).keys()]).toEqual([
    'model.layers.61.embed_tokens.weight',
    'model.layers.61.shared_head.head.weight',
  ]);
});

it.each(Object.entries(presets))('covers every parameter of %s exactly once', (_, config) => {
  const covered = new Map<string, number>();
  const tensors = publishedTensors(config);
  for (const { shape, target } of tensors) {
    covered.set(target.name, (covered.get(target.name) ?? 0) + shape.reduce((a, b) => a * b, 1));
  }
  expect(new Set(tensors.map(({ name }) => name)).size).toBe(tensors.length);
  const sizes = [...parameterShapes(config)].map(([name, shape]) => [name, shape.reduce((a, b) => a * b, 1)]);
  expect(JSON.stringify([...covered])).toBe(JSON.stringify(sizes));
});

it('has one query projection without a query rank, and no head when it is the embedding', () => {
  const names = [...parameterShapes({ ...v2Lite, tieEmbeddings: true }).keys()];
  expect(names).toContain('model.layers.0.self_attn.q_proj.weight');
  expect(names).not.toContain('model.layers.0.self_attn.q_a_proj.weight');
  expect(names).not.toContain('lm_head.weight');
});

it('knows the packed tensors of transformers', () => {
  expect(packedSource('model.layers.1.mlp.experts.up_proj')).toEqual({
    name: 'model.layers.1.mlp.experts.gate_up_proj',
    half: 1,
  });
  expect(packedSource('model.layers.1.mlp.experts.down_proj')).toEqual({
    name: 'model.layers.1.mlp.experts.down_proj',
    half: null,
  });
  expect(packedSource('model.layers.1.mlp.gate.weight')).toBeNull();
});
