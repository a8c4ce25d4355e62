// One side of the rows at long context: decoding one token on four layers of DeepSeek-V2-Lite's attention, whose
// caches hold `context` tokens. `part` is the attention alone (scores, selection, softmax, values) or the whole step of
// the four layers: projections and a SwiGLU as wide as the experts a token uses, without embedding and head.

import { HybridCache, HybridLatentAttention } from '../../../packages/mla-attention/dist/hybrid/index.js';
import { gatheredAttention, latentAttention } from '../../../packages/mla-attention/dist/index.js';
import { SparseCache, SparseLatentAttention } from '../../../packages/mla-attention/dist/sparse/index.js';
import { Arena, add, linear, swiglu } from '../../../packages/tensor/dist/index.js';
import { hashed } from '../harness/numbers.mjs';
import { nativeBackend, readCase, serve } from '../harness/serve.mjs';

const { threads, kind, part, context, window, indexer } = readCase();
const backend = await nativeBackend(threads);
const layers = 4;
const config = {
  hiddenSize: 2048,
  numHeads: 16,
  qLoraRank: null,
  kvLoraRank: 512,
  qkNopeHeadDim: 128,
  qkRopeHeadDim: 64,
  vHeadDim: 128,
  maxPositions: context,
};
const width = config.kvLoraRank + config.qkRopeHeadDim;
const activeWidth = 8 * 1408; // 6 routed experts and 2 shared ones
const persistent = new Arena(backend, { persistent: true, label: 'long context' });
const arena = new Arena(backend);
const scale = (config.qkNopeHeadDim + config.qkRopeHeadDim) ** -0.5;
const plan = {
  layerTypes: Array.from({ length: layers }, (_, i) => (kind === 'hybrid' && i > 0 ? 'local' : 'global')),
  window,
};
const cache =
  kind === 'sparse'
    ? new SparseCache(backend, { layers, maxTokens: context, width, indexWidth: indexer.headDim })
    : new HybridCache(backend, { plan, maxTokens: context, width, slack: 1 });
fillCaches();

await serve({ name: `minke ${kind}`, call: part === 'attention' ? attentionOnly() : wholeStep() });

function fillCaches() {
  const tables = (layer) => [cache.latents(layer), ...(kind === 'sparse' ? [cache.indexKeys(layer)] : [])];
  for (let layer = 0; layer < layers; layer++)
    for (const table of tables(layer)) table.write(hashed(`table ${table.shape[1]}`, table.size, 2));
  cache.append(arena, [{ sequence: 0, count: context - 1, role: 'prompt' }]);
  arena.reset();
}

/** The batch of one more token, which is taken back when the step is done. */
function step(run) {
  return () => {
    const batch = cache.append(arena, [{ sequence: 0, count: 1, role: 'generated' }]);
    run(batch);
    arena.submit();
    arena.reset();
    cache.truncate(0, context - 1);
  };
}

function attentionOnly() {
  const q = persistent.tensor(hashed('q', 16 * width, 4), [1, 16, width]);
  const options = { scale, valueWidth: config.kvLoraRank };
  if (kind !== 'sparse')
    return step((batch) => {
      for (let layer = 0; layer < layers; layer++) {
        const [query, table] = [arena.adopt(q), cache.latents(layer)];
        if (plan.layerTypes[layer] === 'local')
          gatheredAttention(query, table, batch.window.ring.named, options);
        else latentAttention(query, table, batch.cached.ranges, options);
      }
    });
  const own = sparseLayer().indexer;
  const { heads, headDim } = indexer;
  const [iq, weights] = [
    persistent.tensor(hashed('iq', heads * headDim, 4), [1, heads, headDim]),
    persistent.tensor(hashed('weights', heads, 4), [1, heads]),
  ];
  const visible = persistent.tensor([0, context], [1, 2], 'i32');
  return step(() => {
    for (let layer = 0; layer < layers; layer++) {
      const [query, factors, all] = [iq, weights, visible].map((tensor) => arena.adopt(tensor));
      const indices = own.select(query, factors, cache.indexKeys(layer), all);
      gatheredAttention(arena.adopt(q), cache.latents(layer), indices, options);
    }
  });
}

function wholeStep() {
  const [gate, up, down] = [
    [activeWidth, config.hiddenSize],
    [activeWidth, config.hiddenSize],
    [config.hiddenSize, activeWidth],
  ].map((shape) => persistent.full(shape, 1e-3));
  const mlp = (x) => linear(swiglu(linear(x, gate), linear(x, up)), down);
  const init = { backend, seed: 1 };
  const sparse = kind === 'sparse' ? sparseLayer() : null;
  const attentions = sparse
    ? new Array(layers).fill(sparse)
    : plan.layerTypes.map((_, layer) => HybridLatentAttention.init(config, plan, layer, init));
  const input = persistent.tensor(hashed('x', config.hiddenSize, 1), [1, config.hiddenSize]);
  return step((batch) => {
    let x = arena.adopt(input);
    attentions.forEach((attention, layer) => {
      x = arena.scope(() => {
        const result = attention.forward(x, { batch, cache, ...(sparse && { layer }) });
        const h = add(x, sparse ? result.output : result);
        return add(h, mlp(h));
      });
    });
  });
}

function sparseLayer() {
  return SparseLatentAttention.init({ ...config, indexer }, { backend, seed: 1 });
}
