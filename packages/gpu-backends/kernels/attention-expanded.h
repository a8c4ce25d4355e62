// Attention in the expanded form over rows of latents: each tile's keys and values are made from them in the cache, for
// all queries of a task at once, and never reach memory (DeepSeek-V2, arXiv 2405.04434, section 2.1).
//
// A key's entry is one chain over the latent, as the products of matmul are, and tiles and sums are those of
// attention.h: so the bits are those of expanding all rows first, for weights in f32. Weights in blocks of 8 bits give
// what their numbers in f32 give. With products of bf16 numbers latents, weights, keys and values are rounded to them.
#pragma once
#include "attention.h"

namespace MINKE_NS {

/** Blocks of lanes of one task: keys and values of a tile are made once for all of them. */
constexpr idx mostExpanded = 64;

/** The sizes of one head, and the rows of latents: keys have `nope` entries from the latent and P of the row's own, values `value`. */
struct Expansion {
  const Tensor& w;  // [H, nope + value, R]
  const float* cache;
  RoundedRows rounded;  // in place of `cache`
  idx width, R, nope, value, P;
  bool bfloat;  // products of bf16 numbers

  idx keyPanels() const { return (nope + tileColumns - 1) / tileColumns; }
  idx valuePanels() const { return (value + tileColumns - 1) / tileColumns; }
  idx keyStride() const { return roundUp(max(keyPanels() * tileColumns, nope + P), W); }
  idx valueStride() const { return valuePanels() * tileColumns; }
  /** Floats of a head's panels, of a tile of keys and values, and of the rows on the way to panels. */
  idx panelFloats() const { return (keyPanels() + valuePanels()) * tileColumns * R; }
  idx tileFloats() const { return keyTile * (keyStride() + valueStride() + (rounded ? width : 0) + (bfloat ? wordsOf(R) : 0)); }
  idx rowFloats() const { return W * roundUp(R, W); }
};

/** Rows first .. first + count of a head's weights as columns of panels [R][tileColumns]; zeros beyond. */
static void fillPanels(const Expansion& x, idx h, idx first, idx count, float* rows, float* panels) {
  const idx height = x.nope + x.value;
  zero(panels, (count + tileColumns - 1) / tileColumns * tileColumns * x.R * 4);
  for (idx a = 0; a < count; a += W) {
    const idx n = min(W, count - a), at = h * height + first + a;
    const float* from = x.w.f() + at * x.R;
    if (x.w.dtype == Q8_0) {
      const idx G = x.R / groupSize;
      for (idx g = 0; g < n * G; g++) {
        vf numbers[groupVectors];
        readBlock8(x.w.p + (at * G + g) * block8Bytes, numbers);
        for (int v = 0; v < groupVectors; v++) store(rows + g * groupSize + v * W, numbers[v]);
      }
      from = rows;
    }
    transpose(from, x.R, n, x.R, panels + a / tileColumns * tileColumns * x.R + a % tileColumns, tileColumns, false);
  }
}

/** n rows of `depth` numbers (or words), `apart` floats from one to the next, times panels: to[row][column]. */
template <class Op>
static void expandRows(const Expansion& x, const float* rows, idx apart, idx depth, idx n, const float* panels, idx count, float* to,
                       idx stride) {
  for (idx p = 0; p < count; p++)
    for (idx i = 0; i < n; i += tileRows)
      tileUpTo<tileRows, 2, 0, 1, false, Op>(n - i, depth, rows + i * apart, apart, 1, panels + p * tileColumns * x.R, tileColumns,
                                             to + i * stride + p * tileColumns, stride, false, nullptr);
}

/** A head's weights as panels, and a tile of its keys and values, and of latents where they are widened or words. */
struct HeadMemory {
  float *keyPanels, *valuePanels, *k, *v, *words, *latents;

  HeadMemory(const Expansion& x, idx h, float* memory)
      : keyPanels(memory), valuePanels(memory + x.keyPanels() * tileColumns * x.R) {
    float* rows = memory + x.panelFloats();
    k = rows + x.rowFloats();
    v = k + keyTile * x.keyStride();
    words = v + keyTile * x.valueStride();
    latents = words + (x.bfloat ? keyTile * wordsOf(x.R) : 0);
    fillPanels(x, h, 0, x.nope, rows, keyPanels);
    fillPanels(x, h, x.nope, x.value, rows, valuePanels);
    for (float* panel = keyPanels; x.bfloat && panel < rows; panel += tileColumns * x.R)
      packAcross(panel, tileColumns, x.R, tileColumns, panel, tileColumns);
  }

  /** Keys and values of n rows of latents; where products are of bf16 numbers, as their words. */
  void expand(const Expansion& x, const float* from, idx n) const {
    const idx keyStride = x.keyStride(), valueStride = x.valueStride(), depth = wordsOf(x.R);
    if (x.bfloat) {
      for (idx i = 0; i < n; i++) packAlong(from + i * x.width, x.R, words + i * depth);
      expandRows<BfloatStep>(x, words, depth, depth, n, keyPanels, x.keyPanels(), k, keyStride);
      expandRows<BfloatStep>(x, words, depth, depth, n, valuePanels, x.valuePanels(), v, valueStride);
    } else {
      expandRows<Single>(x, from, x.width, x.R, n, keyPanels, x.keyPanels(), k, keyStride);
      expandRows<Single>(x, from, x.width, x.R, n, valuePanels, x.valuePanels(), v, valueStride);
    }
    for (idx i = 0; i < n; i++) copyFloats(k + i * keyStride + x.nope, from + i * x.width + x.R, x.P);
    if (!x.bfloat) return;
    for (idx i = 0; i < n; i++) packAlong(k + i * keyStride, x.nope + x.P, k + i * keyStride);
    packAcross(v, valueStride, n, x.value, v, valueStride);
  }
};

/** `count` blocks with one first key, for one head. */
static void attendExpanded(const AttentionTask& t, const Expansion& x, const Block* blocks, idx count, idx h, const HeadMemory& head,
                           const LaneScratch& scratch, LaneState* state) {
  const idx begin = blocks->low;
  idx end = begin;
  for (idx b = 0; b < count; b++) {
    state[b].begin(t, blocks[b], h, scratch.blocks + b * scratch.each, nullptr, scratch.rows);
    end = max(end, blocks[b].high);
  }
  for (idx m0 = begin; m0 < end; m0 += keyTile) {
    const idx n = min(keyTile, end - m0);
    const float* latents = x.rounded ? head.latents : x.cache + m0 * x.width;
    if (x.rounded) x.rounded.widen(m0, n, 0, x.rounded.width, head.latents);
    head.expand(x, latents, n);
    const KeyTile tile = {head.k, head.v, x.keyStride(), x.valueStride(), m0, n};
    for (idx b = 0; b < count; b++)
      if (blocks[b].high > m0) state[b].take(t, blocks[b], tile, (m0 - begin) % sectionKeys, begin, scratch.s, nullptr);
  }
  for (idx b = 0; b < count; b++)
    withVectors(blocks[b], [&](auto vectors) { finishSums<decltype(vectors)::V>(t, blocks[b], h, state[b].total, scratch.rows); });
}

static void expandedAttention(const Call& call) {
  const Tensor &q = call.t[0], &cache = call.t[1], &w = call.t[2], &o = call.t[4];
  const idx H = q.d[1], nope = call.attributeInt(1), R = w.d[2];
  const Heads heads = {q.d[0], H, H, 1, cache.d[0], call.t[3].i()};
  AttentionTask t = {heads, q.f(), nullptr, nullptr, o.f(), nullptr, q.d[2], o.d[2], 0, 0, call.attributeFloat(0)};
  t.bfloat = call.attributeInt(2);
  const Expansion x = {w, cache.f(), RoundedRows(cache), cache.d[1], R, nope, o.d[2], q.d[2] - nope, t.bfloat};
  if (heads.N * H == 0) return;
  const idx count = planBlocks(heads, nullptr), planned = roundUp(count * (idx)(sizeof(Block) + sizeof(BlockGroup)), 64);
  char* shared = call.shared(planned);
  if (!shared) return;
  Block* blocks = (Block*)shared;
  BlockGroup* groups = (BlockGroup*)(blocks + count);
  planBlocks(heads, blocks);
  idx made = 0, most = 0;
  for (idx b = 0; b < count; b++) {
    BlockGroup* open = made ? groups + made - 1 : nullptr;
    if (open && open->count < mostExpanded && blocks[b].low == blocks[open->first].low) open->count++;
    else groups[made++] = {b, 1};
    most = max(most, groups[made - 1].count);
  }
  const idx stateBytes = roundUp(most * (idx)sizeof(LaneState), 64), laneFloats = roundUp(LaneScratch::floats(t, most), W);
  const idx headFloats = x.panelFloats() + x.rowFloats() + x.tileFloats();
  // With many heads a task is a head, whose panels are filled once, and else a head and a group.
  const idx parts = H >= 16 ? 1 : made;
  call.parallel(parts * H, [&](idx task, int thread) {
    char* memory = call.local(thread, stateBytes + (laneFloats + headFloats) * 4);
    if (!memory) return;
    float* floats = (float*)(memory + stateBytes);
    const idx h = task % H, part = task / H;
    const LaneScratch scratch(t, floats);
    const HeadMemory head(x, h, floats + laneFloats);
    for (idx g = made * (part + 1) / parts - 1; g >= made * part / parts; g--)
      attendExpanded(t, x, blocks + groups[g].first, groups[g].count, h, head, scratch, (LaneState*)memory);
  });
}

}  // namespace MINKE_NS
