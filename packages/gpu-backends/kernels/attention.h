// Attention over key ranges, and its absorbed (latent) form, where one shared row is key and value of every head.
//
// Keys are walked in tiles of `keyTile` rows counted from the range's first row (online softmax: Milakov &
// Gimelshein 2018; tiling: FlashAttention-2, Dao 2023). After each section of `sectionKeys` the sums start anew
// and are merged in order, so that one query over a long context can be shared out among threads without
// changing a bit. Several blocks of queries take their turn at a tile, copied close together for them.
#pragma once
#include "attention-bfloat.h"
#include "attention-rows.h"

namespace MINKE_NS {

constexpr idx sectionKeys = 4 * keyTile;
constexpr idx mostBlocks = 4;  // of one task

/** The softmax sums of a block's lanes: out[c][lane], not yet divided by `sum`. */
struct LaneSums {
  float *out, *maximum, *sum;

  static idx floats(idx dv) { return (dv + 2) * lanes; }
  LaneSums() = default;
  LaneSums(float* memory, idx dv) : out(memory), maximum(memory + dv * lanes), sum(maximum + lanes) {}
};

template <int V>
static void clearSums(idx dv, const LaneSums& to) {
  zero(to.out, dv * V * W * 4);
  zero(to.sum, lanes * 4);
  for (int j = 0; j < V; j++) store(to.maximum + j * W, splat(-infinity));
}

/** A tile of keys and values, as it lies in memory or copied. */
struct KeyTile {
  const float *k, *v;
  idx keyStride, valueStride, first, n;
  const NamedRows* named = nullptr;  // then rows of k that lie anywhere, and the values are their beginnings
  RowsAhead own = {};                // asked for while scores are made
};

/** x[i] of n keys from row m0 on, as the parts of the lanes' ranges have it; V vectors of lanes, `j` the one of them. */
template <int V>
static void applyParts(const Parts& parts, int j, idx m0, idx n, vf scale, float* column) {
  vi first, near;
  __builtin_memcpy(&first, parts.first + j * W, sizeof(vi));
  __builtin_memcpy(&near, parts.near + j * W, sizeof(vi));
  const vf bias = load(parts.bias + j * W);
  for (idx i = 0; i < n; i++) {
    const vi m = splati((int32_t)(m0 + i));
    vf x = load(column + i * V * W) * scale;
    x = near > m ? x + bias : x;
    store(column + i * V * W, first > m ? splat(-infinity) : x);
  }
}

template <int V>
static void attendTile(const AttentionTask& t, const Ends& ends, const KeyTile& tile, const float* qt, bool fresh, float* s,
                       const LaneSums& to, Ahead* ahead, const Parts& parts) {
  constexpr idx L = V * W;
  const TileLimits limits(ends, tile.first, tile.n, V);
  RowsAhead own = tile.own;
  if (tile.named) scoreNamedTile<V>(tile.named->at[tile.named->current], tile.n, t.dk, qt, s, own);
  else if (t.bfloat) scoreTile<V, BfloatStep>(limits, tile.n, tile.k, tile.keyStride, wordsOf(t.dk), qt, s);
  else scoreTile<V>(limits, tile.n, tile.k, tile.keyStride, t.dk, qt, s);
  const bool inParts = t.bias && tile.first < parts.last;
  if (inParts)
    for (int j = 0; j < V; j++) applyParts<V>(parts, j, tile.first, j == 0 ? limits.both : tile.n, splat(t.scale), s + j * W);
  if (tile.named)
    for (idx i = 0; i < tile.n; i++)
      for (int j = 0; tile.named->absent[tile.named->current][i] && j < V; j++) store(s + i * L + j * W, splat(-infinity));
  const vf scale = splat(inParts ? 1 : t.scale);
  MINKE_UNROLL
  for (int j = 0; j < V; j++) {
    const idx n = j == 0 ? limits.both : tile.n;
    const vf before = load(to.maximum + j * W);
    const vi limit = limits.vector(j);
    float* column = s + j * W;
    vf most = before;
    if (limits.masked) {
      for (idx i = 0; i < n; i++) {
        vf x = load(column + i * L) * scale;
        x = limit > splati((int32_t)i) ? x : splat(-infinity);
        store(column + i * L, x);
        most = vmax(x, most);
      }
    } else {
      for (idx i = 0; i < n; i++) {
        const vf x = load(column + i * L) * scale;
        store(column + i * L, x);
        most = vmax(x, most);
      }
    }
    const vf shift = most == -infinity ? vf{} : most;
    const vf correction = vexp(before - shift);
    vf sum = load(to.sum + j * W) * correction;
    for (idx i = 0; i < n; i++) {
      const vf p = vexp(load(column + i * L) - shift);
      store(column + i * L, p);
      sum = sum + p;
    }
    store(to.maximum + j * W, most);
    store(to.sum + j * W, sum);
    const vi same = before == most;
    if (!fresh && firstLane(~same) < W)
      for (idx c = 0; c < t.dv; c++) store(to.out + c * L + j * W, load(to.out + c * L + j * W) * correction);
  }
  if (t.bfloat) return addRoundedTile<V>(limits, tile.n, tile.v, tile.valueStride, t.dv, s, to.out, ahead);
  if (!tile.named) return addTile<V>(limits, tile.n, tile.v, tile.valueStride, t.dv, s, to.out, ahead);
  RowsAhead next = tile.named->next(tile.first, (t.dv + namedRows - 1) / namedRows);
  addNamedTile<V>(tile.named->at[tile.named->current], tile.n, t.dv, s, to.out, next);
}

/** total = total and then `part`, for the lanes that have keys from row `begin` on. */
template <int V>
static void mergeSums(idx dv, const Ends& ends, idx begin, const LaneSums& part, const LaneSums& total) {
  constexpr idx L = V * W;
  for (int j = 0; j < V; j++) {
    vi end;
    __builtin_memcpy(&end, ends.of + j * W, sizeof(vi));
    const vi take = end > splati((int32_t)begin);
    const vf before = load(total.maximum + j * W), other = load(part.maximum + j * W);
    const vf most = vmax(before, other), shift = most == -infinity ? vf{} : most;
    const vf a = vexp(before - shift), b = vexp(other - shift);
    auto merge = [&](float* to, const float* from) {
      const vf x = load(to);
      store(to, take ? fma(load(from), b, x * a) : x);
    };
    merge(total.sum + j * W, part.sum + j * W);
    store(total.maximum + j * W, take ? most : before);
    for (idx c = 0; c < dv; c++) merge(total.out + c * L + j * W, part.out + c * L + j * W);
  }
}

template <int V>
static void finishSums(const AttentionTask& t, const Block& block, idx hk, const LaneSums& sums, float* rows) {
  constexpr idx L = V * W;
  float lse[lanes], factors[lanes] = {};
  for (int j = 0; j < V; j++) {
    for (idx l = j * W; l < min((j + 1) * W, block.count); l++) {
      const Finish finish(t, t.heads.row(block.first + l, hk) % t.heads.H, sums.maximum[l], sums.sum[l]);
      factors[l] = finish.factor;
      lse[l] = finish.lse;
    }
    const vf factor = load(factors + j * W);
    for (idx c = 0; c < t.dv; c++) store(sums.out + c * L + j * W, load(sums.out + c * L + j * W) * factor);
  }
  transpose(sums.out, L, t.dv, L, rows, t.dv, false);
  for (idx l = 0; l < block.count; l++) {
    const idx row = t.heads.row(block.first + l, hk);
    vectors(0, t.dv, [&](auto io, idx c) { io.store(t.o + row * t.dv + c, io.load(rows + l * t.dv + c)); });
    if (t.lse) t.lse[row] = lse[l];
  }
}

/** `body` with the number of vectors that a block's lanes fill, as a constant. */
template <int N>
struct Vectors {
  static constexpr int V = N;
};
template <class F>
static void withVectors(const Block& block, F body) {
  if (block.count <= W) body(Vectors<1>{});
  else body(Vectors<2>{});
}

/** Scratch of one task for blocks of lanes. */
struct LaneScratch {
  float *rows, *s, *k, *v, *blocks;
  idx each;

  static idx eachFloats(const AttentionTask& t) { return t.dk * lanes + 2 * LaneSums::floats(t.dv); }
  static idx tileFloats(const AttentionTask& t) {
    return t.bfloat ? roundedTileFloats(t.dk, t.dv, t.keyStride) : t.tileFloats();
  }
  static idx floats(const AttentionTask& t, idx blocks) {
    return lanes * max(t.dk, t.dv) + keyTile * lanes + tileFloats(t) + W + blocks * eachFloats(t);
  }
  LaneScratch(const AttentionTask& t, float* memory) : rows(memory), each(eachFloats(t)) {
    s = rows + lanes * max(t.dk, t.dv);
    k = s + keyTile * lanes;
    v = k + keyTile * t.dk;
    blocks = k + tileFloats(t);
    blocks = memory + roundUp(blocks - memory, W);
  }
};

/** A block of lanes on its way over the keys: its queries as columns, and the sums of the section and of all before. */
struct LaneState {
  float* qt;
  LaneSums part, total;
  Parts parts;
  Ends ends;

  /** `own` has `LaneScratch::eachFloats` of memory; the sums go to `keep` where it is given. */
  void begin(const AttentionTask& t, const Block& block, idx hk, float* own, float* keep, float* rows) {
    qt = own;
    total = LaneSums(keep ? keep : own + t.dk * lanes, t.dv);
    part = LaneSums(own + t.dk * lanes + LaneSums::floats(t.dv), t.dv);
    ends = Ends(t.heads, block);
    if (t.bias) parts = Parts(t.heads, block, hk, t.bias);
    withVectors(block, [&](auto v) {
      constexpr idx L = decltype(v)::V * W;
      gatherLanes<decltype(v)::V>(t.heads, block, hk, t.q, t.dk, rows, own);
      if (t.bfloat) packAcross(own, L, t.dk, L, own, L);
      clearSums<decltype(v)::V>(t.dv, total);
    });
  }

  /** Takes the tile in, `section` keys after the first one of its section; `begin` is the first key of all. */
  void take(const AttentionTask& t, const Block& block, const KeyTile& tile, idx section, idx begin, float* s, Ahead* ahead) {
    const idx m0 = tile.first;
    withVectors(block, [&](auto v) {
      constexpr int V = decltype(v)::V;
      KeyTile own = tile;
      own.n = min(tile.n, block.high - m0);
      const bool first = m0 - section <= begin;
      const LaneSums& to = first ? total : part;
      if (!first && section == 0) clearSums<V>(t.dv, to);
      attendTile<V>(t, ends, own, qt, section == 0, s, to, ahead, parts);
      if (!first && (section + keyTile == sectionKeys || m0 + own.n == block.high)) mergeSums<V>(t.dv, ends, m0 - section, part, total);
    });
  }
};

/**
 * Blocks with one first key, over keys begin .. end of their ranges (whole sections), for one key head. Writes
 * the outputs, or leaves the sums of a single block in `keep`.
 */
static void attendBlocks(const AttentionTask& t, const Block* blocks, idx count, idx hk, idx begin, idx end, float* memory,
                         float* keep) {
  const LaneScratch scratch(t, memory);
  LaneState state[mostBlocks];
  for (idx b = 0; b < count; b++) state[b].begin(t, blocks[b], hk, scratch.blocks + b * scratch.each, keep, scratch.rows);
  const bool packed = t.keyStride != t.dk && (count > 1 || t.keyStride * 4 % 2048 == 0);
  NamedRows named;
  if (t.rows) {
    zero(scratch.k, t.dk * 4);
    named.from = t.k, named.none = scratch.k;
    named.rows = t.rows + blocks[0].first / t.heads.group * t.heads.M;
    named.rowCount = t.rowCount, named.stride = t.keyStride, named.width = t.dk, named.end = end;
  }
  for (idx m0 = begin; m0 < end; m0 += keyTile) {
    const idx n = min(keyTile, end - m0), section = (m0 - blocks[0].low) % sectionKeys;
    const HeadTile own = t.bfloat ? roundedTile(t.rounded, m0, n, t.dk, t.dv, scratch.k) : t.tile(hk, m0, n, scratch.k);
    KeyTile tile = {own.k, own.v, own.keyStride, own.valueStride, m0, n};
    Ahead ahead;
    if (t.rows) {
      named.advance(m0, m0 == begin);
      tile.named = &named;
      if (m0 == begin) {
        tile.own = named.own(n);
        for (int i = 0; i < 3; i++) tile.own.step();
      }
    } else if (packed && !t.rounded) {
      packTile(tile.k, t.keyStride, n, t.dk, scratch.k);
      packTile(tile.v, t.valueStride, n, t.dv, scratch.v);
      tile = {scratch.k, scratch.v, t.dk, t.dv, m0, n};
    } else if (t.heads.keyHeads == 1) {
      ahead = t.keptKeys().whole(m0 + n, min(keyTile, end - m0 - n), (t.dv + laneRows - 1) / laneRows);
    }
    for (idx b = 0; b < count; b++)
      if (blocks[b].high > m0) state[b].take(t, blocks[b], tile, section, begin, scratch.s, &ahead);
  }
  if (keep) return;
  for (idx b = 0; b < count; b++)
    withVectors(blocks[b], [&](auto v) { finishSums<decltype(v)::V>(t, blocks[b], hk, state[b].total, scratch.rows); });
}

/** Blocks that one task handles: `count` from `first` on. */
struct BlockGroup {
  idx first, count;
};

static idx groupBlocks(const Block* blocks, idx count, idx most, BlockGroup* groups) {
  idx made = 0;
  for (idx b = 0; b < count; b++) {
    BlockGroup* open = made ? groups + made - 1 : nullptr;
    if (open && open->count < most && blocks[b].count > fewLanes && blocks[open->first].count > fewLanes &&
        blocks[b].low == blocks[open->first].low)
      open->count++;
    else
      groups[made++] = {b, 1};
  }
  return made;
}

/** Few lanes of key heads h0 .. h0 + heads, section by section. */
static void attendFew(const AttentionTask& t, const Block& block, idx h0, idx heads, float* memory) {
  const idx each = FewSums::floats(t.dv, heads * block.count);
  float* wide = memory + 2 * each;
  const FewSums total(memory, t.dv, heads * block.count), part(memory + each, t.dv, heads * block.count);
  fewSection(t, block, h0, heads, block.low, min(block.high, block.low + sectionKeys), total, wide);
  for (idx begin = block.low + sectionKeys; begin < block.high; begin += sectionKeys) {
    fewSection(t, block, h0, heads, begin, min(block.high, begin + sectionKeys), part, wide);
    fewMerge(t, block, heads, begin, part, total);
  }
  fewFinish(t, block.first, block.count, h0, heads, total);
}

/** So few blocks that each section of each is a task; their sums meet in shared memory and are merged in order. */
static void attendSections(const Call& call, const AttentionTask& t, const Block* blocks, idx count, idx longest, float* sums,
                           idx each) {
  const idx keyHeads = t.heads.keyHeads, sections = (longest + sectionKeys - 1) / sectionKeys;
  const idx laneFloats = LaneScratch::floats(t, 1);
  auto sumsOf = [&](idx b, idx hk, idx section) { return sums + ((b * keyHeads + hk) * sections + section) * each; };
  call.parallel(count * keyHeads * sections, [&](idx task, int thread) {
    const idx b = task / (keyHeads * sections), hk = task / sections % keyHeads, section = task % sections;
    const Block& block = blocks[b];
    const idx begin = block.low + section * sectionKeys, end = min(block.high, begin + sectionKeys);
    if (section > 0 && begin >= block.high) return;
    float *keep = sumsOf(b, hk, section), *scratch = (float*)call.local(thread, laneFloats * 4);
    if (!scratch) return;
    if (t.few(block)) fewSection(t, block, hk, 1, begin, end, FewSums(keep, t.dv, block.count), LaneScratch(t, scratch).k);
    else attendBlocks(t, &block, 1, hk, begin, end, scratch, keep);
  });
  call.parallel(count * keyHeads, [&](idx task, int thread) {
    const idx b = task / keyHeads, hk = task % keyHeads;
    const Block& block = blocks[b];
    float* rows = (float*)call.local(thread, laneFloats * 4);
    if (!rows) return;
    if (t.few(block)) {
      const FewSums total(sumsOf(b, hk, 0), t.dv, block.count);
      for (idx s = 1; block.low + s * sectionKeys < block.high; s++)
        fewMerge(t, block, 1, block.low + s * sectionKeys, FewSums(sumsOf(b, hk, s), t.dv, block.count), total);
      return fewFinish(t, block.first, block.count, hk, 1, total);
    }
    withVectors(block, [&](auto v) {
      constexpr int V = decltype(v)::V;
      const Ends ends(t.heads, block);
      const LaneSums total(sumsOf(b, hk, 0), t.dv);
      for (idx s = 1; block.low + s * sectionKeys < block.high; s++)
        mergeSums<V>(t.dv, ends, block.low + s * sectionKeys, LaneSums(sumsOf(b, hk, s), t.dv), total);
      finishSums<V>(t, block, hk, total, rows);
    });
  });
}

static void runAttention(const Call& call, const AttentionTask& t) {
  const Heads& h = t.heads;
  if (h.N * h.H == 0) return;
  const idx count = planBlocks(h, nullptr), planned = roundUp(count * (idx)(sizeof(Block) + sizeof(BlockGroup)), 64);
  constexpr idx enough = 16;  // tasks: fewer than this, and long ranges are cut into sections
  const idx eachSums = max(LaneSums::floats(t.dv), FewSums::floats(t.dv, fewLanes));
  const idx sections = count * h.keyHeads < enough ? (h.M + sectionKeys - 1) / sectionKeys : 0;
  char* shared = call.shared(planned + count * h.keyHeads * sections * eachSums * 4);
  if (!shared) return;
  Block* blocks = (Block*)shared;
  planBlocks(h, blocks);
  idx longest = 0;
  for (idx b = 0; b < count; b++) longest = max(longest, blocks[b].high - blocks[b].low);
  if (sections > 0 && longest > sectionKeys)
    return attendSections(call, t, blocks, count, longest, (float*)(shared + planned), eachSums);
  BlockGroup* groups = (BlockGroup*)(blocks + count);
  const idx most = t.rows ? 1 : clamp(count * h.keyHeads / enough, 1, mostBlocks), made = groupBlocks(blocks, count, most, groups);
  // With many short blocks (a batch of sequences in decoding) one task takes all heads of a block.
  const bool together = count >= enough;
  const idx wideFloats = t.rounded ? t.tileFloats() : 0;
  const idx floats = max(LaneScratch::floats(t, most), 2 * FewSums::floats(t.dv, fewLanes * (together ? h.keyHeads : 1)) + wideFloats);
  call.parallel(made * h.keyHeads, [&](idx task, int thread) {
    float* scratch = (float*)call.local(thread, floats * 4);
    if (!scratch) return;
    const idx hk = task % h.keyHeads;
    const BlockGroup& group = groups[made - 1 - task / h.keyHeads];  // the longest ranges of a causal mask first
    const Block* first = blocks + group.first;
    if (t.few(*first)) {
      if (!together || hk == 0) attendFew(t, *first, hk, together ? h.keyHeads : 1, scratch);
      return;
    }
    idx high = first->low;
    for (idx b = 0; b < group.count; b++) high = max(high, first[b].high);
    attendBlocks(t, first, group.count, hk, first->low, high, scratch, nullptr);
  });
}

}  // namespace MINKE_NS
