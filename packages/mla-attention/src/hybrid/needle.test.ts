// A model made by hand that looks a fact up: with a global layer it finds it at any distance, with windows alone only
// where it is near.
import { createReference } from '@minke/gpu-backends/reference';
import { Arena, add } from '@minke/tensor';
import { describe, expect, it } from 'vitest';
import { packSequences } from '../batch.ts';
import { type MlaConfig, mlaRope } from '../mla-config.ts';
import { HybridLatentAttention, hybridParameterShapes, type LayerType } from './index.ts';

const window = 16;
// Features of a token: whether it is the fact, whether it is the question, a constant, then which of four facts.
const D = 8;
const config: MlaConfig = {
  hiddenSize: D,
  numHeads: 1,
  qLoraRank: null,
  kvLoraRank: D,
  qkNopeHeadDim: 1,
  qkRopeHeadDim: 2,
  vHeadDim: 4,
  maxPositions: 256,
  softmaxScale: 1,
};

function weightsOf(name: string, size: number): number[] {
  const weights = new Array<number>(size).fill(0);
  if (name.includes('norm') || name === 'sinks') return weights.fill(1);
  // The question's query looks for facts; rotary entries stay zero.
  if (name === 'q_proj.weight') weights[1] = 40;
  // The latent is the token itself, the key whether it is a fact, the value which one.
  if (name === 'kv_a_proj_with_mqa.weight') for (let i = 0; i < D; i++) weights[i * D + i] = 1;
  if (name === 'kv_b_proj.weight') {
    weights[0] = 1;
    for (let v = 0; v < 4; v++) weights[(1 + v) * D + 4 + v] = 1;
  }
  if (name === 'o_proj.weight') for (let v = 0; v < 4; v++) weights[(4 + v) * 4 + v] = 1;
  return weights;
}

/** Which fact a model of these layers answers, the fact `distance` tokens before the question. */
function answer(layerTypes: readonly LayerType[], fact: number, distance: number): number {
  const backend = createReference();
  const persistent = new Arena(backend, { persistent: true });
  const plan = { layerTypes, window };
  using arena = new Arena(backend);
  const T = 100;
  const tokens = Array.from({ length: T }, (_, t) => {
    const token = new Array<number>(D).fill(0);
    token[2] = 1;
    if (t === T - 1) token[1] = 1;
    if (t === T - 1 - distance) token[0] = token[4 + fact] = 1;
    return token;
  });
  let x = arena.tensor(tokens.flat(), [T, D]);
  const batch = packSequences(arena, [T]);
  layerTypes.forEach((_, layer) => {
    const parameters = [...hybridParameterShapes(config, plan, layer)].map(([name, shape]) => {
      const size = shape.reduce((a, b) => a * b, 1);
      const numbers = name.startsWith('far_bias.') ? new Array<number>(size).fill(0) : weightsOf(name, size);
      return [name, persistent.parameter(numbers, shape)] as const;
    });
    const rope = mlaRope(config, persistent);
    x = add(
      x,
      new HybridLatentAttention(config, plan, layer, new Map(parameters), rope).forward(x, { batch }),
    );
  });
  const scores = Array.from(x.readSync().slice((T - 1) * D + 4, T * D));
  const best = Math.max(...scores);
  return best > 0.5 ? scores.indexOf(best) : -1;
}

describe('a fact in a long context', () => {
  const near = window - 1;
  const far = 4 * window;

  it.each([0, 1, 2, 3])('is found by a global layer, or a hybrid one, beyond the window: fact %i', (fact) => {
    for (const distance of [near, window, far]) {
      expect(answer(['local', 'global'], fact, distance)).toBe(fact);
      expect(answer(['local', 'hybrid'], fact, distance)).toBe(fact);
    }
  });

  it.each([0, 1, 2, 3])('is found by windows alone only within them: fact %i', (fact) => {
    expect(answer(['local'], fact, near)).toBe(fact);
    expect(answer(['local'], fact, window)).toBe(-1);
    expect(answer(['local', 'local'], fact, far)).toBe(-1);
  });
});
