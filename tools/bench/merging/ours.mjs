// One side of `pnpm bench merging`: the same weights with merging (`merges`) or without, prefill or decode, the middle
// layers alone or the whole pass. `layout` has a `convKernel` where a convolution comes before the merging. Runs are cut
// at two tokens, so that entries are exactly half of the tokens; the router is asked all the same. Sequences of a decode
// begin one token apart, so that their entries close in turn, unless `together`.

import { createMlaCache } from '../../../packages/mla-attention/dist/index.js';
import { Arena } from '../../../packages/tensor/dist/index.js';
import {
  attentionConfig,
  DeepSeekModel,
  MergingTransformer,
  mergingStateBytes,
  parseConfig,
} from '../../../packages/transformer/dist/index.js';
import { tokenIds } from '../harness/models.mjs';
import { hashed } from '../harness/numbers.mjs';
import { nativeBackend, readCase, serve } from '../harness/serve.mjs';

const { threads, config: json, merges, phase, part, batch, together, context, steps, layout } = readCase();
const backend = await nativeBackend(threads);
const config = parseConfig(json);
const persistent = new Arena(backend, { persistent: true, label: 'model' });
const arena = new Arena(backend);
const model = DeepSeekModel.init(config, { arena: persistent, seed: 0 });
const settings = { ...layout, threshold: 1, maxRun: 2 };
const merging = MergingTransformer.init(model, settings, { arena: persistent });
const middle = model.layers.slice(layout.preLayers, config.numLayers - layout.postLayers);
const sequences = Array.from({ length: batch }, (_, s) => s);
const head = (s) => context + (together ? 0 : s % 2);
const maxTokens = context + steps + 1;
const prompts = tokenIds(config.vocabSize, batch, maxTokens);
/** Whether the token at a position of a sequence closes an entry. */
const closes = (position) => !merges || position % 2 === 0;

const calls = {
  prefill: { middle: prefillMiddle, 'whole pass': prefillWhole },
  decode: { middle: decodeMiddle, 'whole pass': decodeWhole },
};
const { call, details } = await calls[phase][part]();
const convolved = layout.convKernel ? ', convolution' : '';
await serve({ name: merges ? `minke, merging 2x${convolved}` : 'minke, every token', details, call });

function upload(ids) {
  return arena.tensor(ids, [ids.length], 'i32');
}

/** A forward pass over some tokens of each sequence; waits for the logits of the last ones. */
async function pass(holder, pieces, role) {
  const requests = pieces.map(([sequence, { length: count }]) => ({ sequence, count, role }));
  const rows = { ids: upload(pieces.flatMap(([, ids]) => ids)), ...holder.append(arena, requests) };
  const { logits } = merges
    ? await merging.forward(rows, { state: holder, outputs: 'last' })
    : model.forward(rows, { cache: holder, outputs: 'last' });
  await logits.read();
  arena.reset();
}

/** What remembers the tokens: no larger than they need. */
function holderOf(maxEntries) {
  if (!merges) return { holder: model.createCache({ maxTokens, sequences: batch }), details: {} };
  const size = { maxTokens, maxEntries, sequences: batch, rollback: steps };
  const holder = merging.createState(size);
  const bytes = mergingStateBytes(config, settings, size);
  const found = holder.outer.bytes + holder.middle.bytes + holder.merge.bytes;
  if (holder.middle.bytes !== bytes.middle || found !== bytes.outer + bytes.middle + bytes.merge)
    throw new Error(`bench: expected ${JSON.stringify(bytes)} bytes, got ${holder.middle.bytes} of ${found}`);
  return { holder, details: { bytes } };
}

function prefillWhole() {
  const { holder, details } = holderOf(maxTokens);
  const call = async () => {
    const pieces = sequences.map((s) => [s, prompts[s].slice(0, context)]);
    await pass(holder, pieces, 'prompt');
    for (const s of sequences) holder.truncate(s, 0);
  };
  return { call, details };
}

async function decodeWhole() {
  const maxEntries = (maxTokens >> 1) + 64;
  const { holder, details } = holderOf(maxEntries);
  // In pieces: a state has to have room for all new tokens, were none of them merged.
  const room = () => Math.min(...sequences.map((s) => maxEntries - (merges ? holder.entries(s) : 0)));
  for (let start = 0, end = 0; start < context + 1; start = end) {
    end = start + room();
    const pieces = sequences.map((s) => [s, prompts[s].slice(start, Math.min(end, head(s)))]);
    const some = pieces.filter(([, ids]) => ids.length > 0);
    if (some.length > 0) await pass(holder, some, 'prompt');
  }
  const call = async () => {
    for (let t = 0; t < steps; t++)
      await pass(
        holder,
        sequences.map((s) => [s, [prompts[s][head(s) + t]]]),
        'generated',
      );
    for (const s of sequences) holder.truncate(s, head(s));
  };
  return { call, details };
}

/** The middle layers on their own: rows of entries that close, or of every token. */
function middleLayers() {
  const rows = phase === 'prefill' ? context : batch;
  const input = persistent.tensor(hashed('x', batch * rows * config.hiddenSize, 8), [
    batch * rows,
    config.hiddenSize,
  ]);
  const shape = attentionConfig(config);
  const most = merges ? (maxTokens >> 1) + 1 : maxTokens;
  const cache = createMlaCache(backend, shape, {
    ...{ layers: middle.length, sequences: batch, maxTokens: most, keyBias: merges },
  });
  const run = (requests, positions) => {
    let x = arena.adopt(input).rows(0, positions.length);
    const of = arena.tensor(new Float32Array(positions.length).fill(Math.log(2)), [positions.length]);
    const rows = { ...cache.append(arena, requests), positions: upload(positions) };
    middle.forEach((block, layer) => {
      const weights = merging.sizeBias[layer];
      const options = { batch: rows, cache, layer, ...(merges && { keyBias: { of, weights } }) };
      x = arena.scope(() => block.forward(x, options).x);
    });
    arena.submit();
    arena.reset();
  };
  return { cache, run };
}

function prefillMiddle() {
  const { cache, run } = middleLayers();
  const positions = Array.from({ length: context }, (_, p) => p).filter(closes);
  const call = () => {
    run(
      sequences.map((sequence) => ({ sequence, count: positions.length, role: 'prompt' })),
      sequences.flatMap(() => positions),
    );
    cache.clear();
  };
  return { call, details: {} };
}

function decodeMiddle() {
  const { cache, run } = middleLayers();
  const entries = (length) => (merges ? (length + 1) >> 1 : length);
  const begin = () => {
    cache.clear();
    cache.append(
      arena,
      sequences.map((sequence) => ({ sequence, count: entries(head(sequence)), role: 'prompt' })),
    );
    arena.reset();
  };
  const call = () => {
    begin();
    for (let t = 0; t < steps; t++) {
      const own = sequences.filter((s) => closes(head(s) + t));
      if (own.length === 0) continue;
      run(
        own.map((sequence) => ({ sequence, count: 1, role: 'generated' })),
        own.map((s) => head(s) + t),
      );
    }
  };
  return { call, details: {} };
}
