// The lightning indexer of sparse attention (DeepSeek-V3.2, section 2): scores of keys, and the choice of the best.
//
// A query's heads lie across the vector lanes while products with a tile of keys are made, keys while the heads are
// summed up: products of heads are never in memory for more than one tile. Each score is the chain of multiply-adds
// over ascending heads, and each product that over ascending columns, as matrix products would have it.
#pragma once
#include "attention-lanes.h"
#include "selection.h"

namespace MINKE_NS {

constexpr idx indexerQueries = 16;  // that take their turn at a tile of keys
constexpr idx indexerKeys = 1024;   // of a task

/** A query's heads in groups of `lanes`: [group][column][lane], where the last group may have half as many lanes. */
struct HeadLanes {
  idx H, C;

  idx groups() const { return (H + lanes - 1) / lanes; }
  int vectorsOf(idx group) const { return H - group * lanes > W ? 2 : 1; }
  idx floats() const { return groups() * C * lanes; }
  void arrange(const float* q, float* to) const {
    for (idx g = 0; g < groups(); g++) {
      const idx width = vectorsOf(g) * W, rows = min(lanes, H - g * lanes);
      float* own = to + g * C * lanes;
      zero(own, C * width * 4);
      transpose(q + g * lanes * C, C, rows, C, own, width, true);
    }
  }
};

/** y[key] += sum over the heads of a group, ascending, of weights[head] relu(s[key][head]); n <= keyTile keys. */
template <int V>
static void addHeads(const float* s, idx n, const float* weights, idx heads, float* y) {
  constexpr idx L = V * W;
  for (idx i = 0; i < n; i += W) {
    vf sum = load(y + i);
    for (int j = 0; j < V; j++) {
      vf block[W];
      MINKE_UNROLL
      for (int r = 0; r < W; r++) block[r] = load(s + (i + r) * L + j * W);
      transposeRegisters(block);
      const idx count = clamp(heads - j * W, 0, W);
      if (count == W) {
        MINKE_UNROLL
        for (int h = 0; h < W; h++) sum = fma(splat(weights[j * W + h]), block[h] <= 0.0f ? vf{} : block[h], sum);
      } else {
        for (idx h = 0; h < count; h++) sum = fma(splat(weights[j * W + h]), block[h] <= 0.0f ? vf{} : block[h], sum);
      }
    }
    store(y + i, sum);
  }
}

/** Scores of n <= keyTile keys for one query. */
static void scoreKeyTile(const HeadLanes& h, const float* q, const float* weights, const float* keys, idx n, float* to, Ahead* ahead) {
  alignas(64) float s[keyTile * lanes], y[keyTile] = {};
  for (idx g = 0; g < h.groups(); g++) {
    const idx first = g * lanes, heads = min(lanes, h.H - first);
    const float* own = q + g * h.C * lanes;
    if (h.vectorsOf(g) == 2) {
      laneProduct<2, false>(n, h.C, keys, h.C, 1, own, s, lanes, false, nullptr, ahead);
      addHeads<2>(s, n, weights + first, heads, y);
    } else {
      laneProduct<1, false>(n, h.C, keys, h.C, 1, own, s, W, false, nullptr, ahead);
      addHeads<1>(s, n, weights + first, heads, y);
    }
  }
  copy(to, y, n * 4);
}

static void indexerScores(const Call& call) {
  const Tensor &q = call.t[0], &weights = call.t[1], &keys = call.t[2];
  const int32_t* ranges = call.t[3].i();
  float* y = call.t[4].f();
  const idx N = q.d[0], M = keys.d[0];
  const HeadLanes h = {q.d[1], q.d[2]};
  const idx each = h.floats(), chunks = (M + indexerKeys - 1) / indexerKeys;
  float* arranged = (float*)call.shared(min(N, indexerQueries) * each * 4);
  if (!arranged) return;
  for (idx n0 = 0; n0 < N; n0 += indexerQueries) {
    const idx count = min(indexerQueries, N - n0);
    for (idx i = 0; i < count; i++) h.arrange(q.f() + (n0 + i) * h.H * h.C, arranged + i * each);
    call.parallel(chunks, [&](idx chunk, int) {
      const idx end = min(M, (chunk + 1) * indexerKeys);
      for (idx m0 = chunk * indexerKeys; m0 < end; m0 += keyTile) {
        const idx n = min(keyTile, end - m0);
        Ahead ahead(keys.f() + (m0 + n) * h.C, min(keyTile, end - m0 - n) * h.C, (n + laneRows - 1) / laneRows);
        for (idx i = 0; i < count; i++) {
          float* row = y + (n0 + i) * M;
          const idx low = clamp(ranges[2 * (n0 + i)], m0, m0 + n), high = clamp(ranges[2 * (n0 + i) + 1], low, m0 + n);
          for (idx m = m0; m < low; m++) row[m] = -infinity;
          for (idx m = high; m < m0 + n; m++) row[m] = -infinity;
          if (low < high)
            scoreKeyTile(h, arranged + i * each, weights.f() + (n0 + i) * h.H, keys.f() + low * h.C, high - low, row + low, &ahead);
        }
      }
    });
  }
}

/** The largest numbers of each row by ascending index; -1 in place of those that are -inf. */
static void selectLargest(const Call& call) {
  const Tensor& x = call.t[0];
  int32_t* indices = call.t[1].i();
  const idx C = x.d[1], k = (idx)call.attributes[0];
  call.pieces(x.d[0], C * 2, [&](idx b, idx e, int thread) {
    int32_t* chosen = (int32_t*)call.local(thread, (2 * C + W) * 4);
    if (!chosen) return;
    for (idx r = b; r < e; r++) {
      const float* row = x.f() + r * C;
      vi some = {};
      vectors(0, C, [&](auto io, idx i) { some -= io.keep(io.load(row + i), -infinity) > -infinity; });
      idx there = 0;
      for (int j = 0; j < W; j++) there += some[j];
      const idx count = min(k, there);
      largestIndices(row, C, count, chosen + C + W, chosen);
      copy(indices + r * k, chosen, count * 4);
      for (idx i = count; i < k; i++) indices[r * k + i] = -1;
    }
  });
}

}  // namespace MINKE_NS
