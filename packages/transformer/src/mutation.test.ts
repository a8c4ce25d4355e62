import { type MlaConfig, MultiHeadLatentAttention, mlaRope, yarnRotaryFactor } from '@minke/mla-attention';
import { groupedExperts, type MoeConfig, MoeLayer, route } from '@minke/moe-router';
import { Arena, add, affine, div, gatherLast, linear, sum, swiglu, type Tensor } from '@minke/tensor';
import { afterAll, describe, expect, it } from 'vitest';
import type { Block } from './block.ts';
import { attentionConfig, type DeepSeekConfig } from './config.ts';
import { DeepSeekModel, type ModelBatch } from './deepseek.ts';
import { loadModel } from './load.ts';
import { distance, fastBackend, fixtureFolder, fixtureNames, readExpected } from './testing/fixtures.ts';

/** A mistake someone could make, as a change of the model, of its blocks, or of the batch. */
interface Mistake {
  readonly applies: (config: DeepSeekConfig) => boolean;
  readonly config?: (config: DeepSeekConfig) => DeepSeekConfig;
  readonly attention?: (config: DeepSeekConfig) => Partial<MlaConfig>;
  readonly mlp?: (layer: MoeLayer) => Pick<MoeLayer, 'forward'>;
  readonly batch?: (batch: ModelBatch, arena: Arena) => ModelBatch;
}

const withMoe = (config: DeepSeekConfig, change: Partial<MoeConfig>) => ({
  ...config,
  moe: { ...config.moe!, ...change },
});

const mistakes: Record<string, Mistake> = {
  'no RoPE': {
    applies: () => true,
    batch: (batch, arena) => ({ ...batch, positions: arena.zeros(batch.positions.shape, 'i32') }),
  },
  'the other RoPE layout': {
    applies: () => true,
    config: (config) => ({ ...config, ropeLayout: config.ropeLayout === 'half' ? 'interleaved' : 'half' }),
  },
  'no mscale squared in the softmax scale': {
    applies: ({ yarn }) => yarn?.mscaleAllDim !== undefined,
    config: (config) => {
      const { mscale: _, mscaleAllDim: __, ...yarn } = config.yarn!;
      return { ...config, yarn: { ...yarn, attentionFactor: yarnRotaryFactor(config.yarn!) } };
    },
  },
  'the softmax scale of the absorbed width': {
    applies: () => true,
    attention: ({ kvLoraRank, qkRopeHeadDim }) => ({ softmaxScale: (kvLoraRank + qkRopeHeadDim) ** -0.5 }),
  },
  "the model's epsilon in the latent norms": {
    applies: ({ normEps, kvLoraRank, hiddenSize }) =>
      normEps !== 1e-6 && kvLoraRank === 24 && hiddenSize === 48,
    attention: ({ normEps }) => ({ latentNormEps: normEps }),
  },
  'gate weights taken with their bias': {
    applies: ({ moe }) => moe?.method === 'noaux_tc',
    mlp: weightsWithBias,
  },
  'the scaling factor dropped': {
    applies: ({ moe }) => moe !== null && moe.scalingFactor !== 1,
    config: (config) => withMoe(config, { scalingFactor: 1 }),
  },
  'the scaling factor applied twice': {
    applies: ({ moe }) => moe !== null && moe.scalingFactor !== 1,
    config: (config) => withMoe(config, { scalingFactor: config.moe!.scalingFactor ** 2 }),
  },
};

/** A mixture layer that makes the mistake of mixing by score plus bias. */
function weightsWithBias(layer: MoeLayer): Pick<MoeLayer, 'forward'> {
  const weight = (name: string) => layer.parameters().get(name) as Tensor;
  return {
    forward(x) {
      const bias = weight('gate.e_score_correction_bias');
      const routing = route(x, weight('gate.weight'), bias, layer.config);
      let weights = gatherLast(add(routing.scores, bias), routing.indices);
      if (layer.config.normTopK) weights = div(weights, sum(weights, 1).reshape([-1, 1]));
      weights = affine(weights, layer.config.scalingFactor, 0);
      const packed = {
        gate: weight('experts.gate_proj'),
        up: weight('experts.up_proj'),
        down: weight('experts.down_proj'),
      };
      const routed = groupedExperts(x, { ...routing, weights }, packed);
      const shared = (name: string, input: Tensor) =>
        linear(input, weight(`shared_experts.${name}_proj.weight`));
      const output = add(routed, shared('down', swiglu(shared('gate', x), shared('up', x))));
      return { output, load: x.arena.zeros([layer.config.experts]), routing };
    },
  };
}

function withMistake(model: DeepSeekModel, mistake: Mistake): DeepSeekModel {
  const own = model.config as DeepSeekConfig;
  const config = mistake.config?.(own) ?? own;
  const mutant = new DeepSeekModel(config, model.parameters());
  const arena = new Arena(model.backend, { persistent: true });
  for (const block of mutant.layers as unknown as { -readonly [K in keyof Block]: Block[K] }[]) {
    if (mistake.attention) {
      const changed = { ...attentionConfig(config), ...mistake.attention(config) };
      const attention = new MultiHeadLatentAttention(
        changed,
        block.attention.parameters(),
        mlaRope(changed, arena),
      );
      block.attention = {
        parameters: () => attention.parameters(),
        forward: (x, { batch }) => ({ output: attention.forward(x, { batch }), indexerLoss: null }),
      };
    }
    if (mistake.mlp && block.mlp instanceof MoeLayer) block.mlp = mistake.mlp(block.mlp) as MoeLayer;
  }
  return mutant;
}

const moved: Record<string, Record<string, string>> = {};
afterAll(() => console.table(moved));

describe.each(fixtureNames)('parity on %s notices', (name) => {
  it('each likely mistake, by moving the logits by at least 1e-2', async () => {
    const model = await loadModel(fixtureFolder(name), { backend: fastBackend });
    const { sequences, logits } = await readExpected(name);
    using arena = new Arena(fastBackend);
    for (const [description, mistake] of Object.entries(mistakes)) {
      if (!mistake.applies(model.config as DeepSeekConfig)) continue;
      const right = model.batch(arena, sequences);
      const result = withMistake(model, mistake).forward(mistake.batch?.(right, arena) ?? right);
      const by = distance(result.logits.readSync(), logits);
      (moved[description] ??= {})[name] = by.toPrecision(2);
      expect(by, description).toBeGreaterThanOrEqual(1e-2);
    }
  });
});

it('makes every mistake on at least one fixture', () => {
  expect(Object.keys(moved).sort()).toEqual(Object.keys(mistakes).sort());
});
