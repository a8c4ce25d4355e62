// Our side of the attention benchmark: causal attention over packed sequences, forward or forward + backward, and
// the absorbed form, in which one row of each sequence attends to its cached latents.

import { attention, latentAttention, packSequences } from '../../../packages/mla-attention/dist/index.js';
import { Arena } from '../../../packages/tensor/dist/index.js';
import { hashed } from '../harness/numbers.mjs';
import { nativeBackend, readCase, serve } from '../harness/serve.mjs';
import { timedOp } from '../harness/timed-op.mjs';

const { threads, kind, heads, keyWidth, valueWidth, ...shape } = readCase();
const backend = await nativeBackend(threads);
const persistent = new Arena(backend, { persistent: true, label: 'attention' });
const operand = (name, ...size) =>
  persistent.parameter(
    hashed(
      name,
      size.reduce((product, n) => product * n, 1),
      8,
    ),
    size,
  );
const arena = new Arena(backend, { grad: kind === 'forward+backward' });
const scale = keyWidth ** -0.5;

await serve({ name: 'minke', ...(kind === 'absorbed decode' ? decode() : training()) });

function training() {
  const { batch, length } = shape;
  const rows = batch * length;
  const inputs = [
    operand('q', rows, heads, keyWidth),
    operand('k', rows, heads, keyWidth),
    operand('v', rows, heads, valueWidth),
  ];
  const weighting = operand('weighting', rows, heads, valueWidth).detach();
  const { ranges } = packSequences(persistent, new Array(batch).fill(length));
  const compute = (q, k, v) => attention(q, k, v, ranges, { scale });
  return timedOp({ arena, inputs, compute, weighting });
}

function decode() {
  const { sequences, context, latent, ropeWidth } = shape;
  const inputs = [
    operand('q', sequences, heads, latent + ropeWidth),
    operand('cache', sequences * context, latent + ropeWidth),
  ];
  const weighting = operand('weighting', sequences, heads, latent).detach();
  const bounds = Array.from({ length: sequences }, (_, s) => [s * context, (s + 1) * context]);
  const ranges = persistent.tensor(bounds.flat(), [sequences, 2], 'i32');
  const compute = (q, cache) => latentAttention(q, cache, ranges, { scale, valueWidth: latent });
  return timedOp({ arena, inputs, compute, weighting });
}
