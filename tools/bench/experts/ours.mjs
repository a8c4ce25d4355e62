// Our side of the experts benchmark: a MoeLayer forward, or forward and backward by input and all weights.
// Operands are computed from their names (harness/numbers.mjs), so that the peer has the same.

import { MoeLayer } from '../../../packages/moe-router/dist/index.js';
import { Arena } from '../../../packages/tensor/dist/index.js';
import { hashed } from '../harness/numbers.mjs';
import { nativeBackend, readCase, serve } from '../harness/serve.mjs';
import { timedOp } from '../harness/timed-op.mjs';

const { threads, backward, tokens, ...shape } = readCase();
const { hiddenSize: D, experts: E, expertSize: F, sharedExperts: S } = shape;
const backend = await nativeBackend(threads);
const persistent = new Arena(backend, { persistent: true, label: 'experts' });
const parameter = (name, ...size) => persistent.parameter(hashed(name, size[0] * size[1]), size);
const packed = (name, ...size) => {
  const count = size[0] * size[1];
  const data = new Float32Array(E * count);
  for (let e = 0; e < E; e++) data.set(hashed(`${name}.${e}`, count), e * count);
  return persistent.parameter(data, [E, ...size]);
};
const layer = new MoeLayer(
  {
    ...shape,
    groups: 1,
    topGroups: 1,
    scoring: 'sigmoid',
    method: 'noaux_tc',
    normTopK: true,
    scalingFactor: 2.5,
  },
  new Map([
    ['gate.weight', parameter('gate', E, D)],
    ['gate.e_score_correction_bias', persistent.zeros([E])],
    ['experts.gate_proj', packed('experts.gate', F, D)],
    ['experts.up_proj', packed('experts.up', F, D)],
    ['experts.down_proj', packed('experts.down', D, F)],
    ['shared_experts.gate_proj.weight', parameter('shared.gate', S * F, D)],
    ['shared_experts.up_proj.weight', parameter('shared.up', S * F, D)],
    ['shared_experts.down_proj.weight', parameter('shared.down', D, S * F)],
  ]),
);
const input = persistent.parameter(hashed('input', tokens * D, 8), [tokens, D]);
const weighting = persistent.tensor(hashed('weighting', tokens * D, 8), [tokens, D]);
const arena = new Arena(backend, { grad: backward });

const compute = (x) => layer.forward(x).output;
await serve({ name: 'minke', ...timedOp({ arena, inputs: [input], compute, weighting }) });
