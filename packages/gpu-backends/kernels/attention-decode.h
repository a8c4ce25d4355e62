// Attention of blocks with few lanes, as in decoding: a query's heads over one latent row, or single queries.
//
// Keys lie across the vector lanes for the scores, value columns for the outputs; all lanes (and, where a task
// has several, all key heads) take their turn at a tile of keys while it is near. The same chains of
// multiply-adds as in attention.h, and so the same bits.
#pragma once
#include "attention-lanes.h"
#include "rounded-rows.h"
#include "rows.h"

namespace MINKE_NS {

#if defined(__AVX512F__)
constexpr int fewLanes = 8;  // up to here this is faster than whole vectors of lanes
constexpr int fewVectors = 4;
#elif defined(__AVX2__)
constexpr int fewLanes = 4;
constexpr int fewVectors = 2;
#elif defined(__ARM_NEON)
constexpr int fewLanes = 4;
constexpr int fewVectors = 4;
#else
constexpr int fewLanes = 1;
constexpr int fewVectors = 4;
#endif

/** Lanes that fit the registers beside `fewVectors` of values. */
constexpr int fewGroup = fewLanes < 6 ? fewLanes : 6;

/** Keys and values of a head, rows apart as the strides say. */
struct HeadTile {
  const float *k, *v;
  idx keyStride, valueStride;
};

/** Keys or values in memory: bytes from one row to the next, and of a head's part. */
struct KeptRows {
  const char* p = nullptr;
  idx stride = 0, head = 0;

  /** The part of a head in rows m0 .. m0 + n, to be asked for in so many steps. */
  Ahead ofHead(idx m0, idx n, idx hk, idx steps) const {
    return p ? Ahead(p + m0 * stride + hk * head, max(n, 0), head, stride, steps) : Ahead();
  }
  /** All of rows m0 .. m0 + n. */
  Ahead whole(idx m0, idx n, idx steps) const { return p ? Ahead(p + m0 * stride, max(n, 0) * stride, steps) : Ahead(); }
};

struct AttentionTask {
  Heads heads;
  const float *q, *k, *v;
  float *o, *lse;
  idx dk, dv, keyStride, valueStride;  // strides between key rows
  float scale;
  const float *bias = nullptr, *sink = nullptr;  // [N, H] for ranges of four numbers, and [H]
  const int32_t* rows = nullptr;                 // [N, M]: the rows of k, one key head, that take the place of M keys
  idx rowCount = 0;                              // of k
  RoundedRows rounded = {}, roundedValues = {};  // in place of k and v; of v only with several key heads
  bool bfloat = false;                           // products of bf16 numbers (attention-bfloat.h)

  /** Floats of a tile of keys and values that lie close together, or of rounded rows when they are widened. */
  idx tileFloats() const { return keyTile * (rounded && !roundedValues ? max(dk + dv, keyStride) : dk + dv); }
  /** n keys and values of a key head from row m0 on: as they lie, or widened into memory for `tileFloats`. */
  HeadTile tile(idx hk, idx m0, idx n, float* wide) const {
    if (!rounded)
      return {k + m0 * keyStride + hk * dk, v + m0 * valueStride + hk * dv, keyStride, valueStride};
    if (!roundedValues) {
      rounded.widen(m0, n, 0, rounded.width, wide);
      return {wide, wide, keyStride, valueStride};
    }
    float* values = wide + keyTile * dk;
    rounded.widen(m0, n, hk * dk, dk, wide);
    roundedValues.widen(m0, n, hk * dv, dv, values);
    return {wide, values, dk, dv};
  }
  KeptRows keptKeys() const {
    if (rounded) return {rounded.p, rounded.bytes, bytesOf(rounded.dtype, dk)};
    return {(const char*)k, keyStride * 4, dk * 4};
  }
  /** Empty where values are the beginnings of the keys. */
  KeptRows keptValues() const {
    if (roundedValues) return {roundedValues.p, roundedValues.bytes, bytesOf(roundedValues.dtype, dv)};
    if (rounded || v == k) return {};
    return {(const char*)v, valueStride * 4, dv * 4};
  }
  bool few(const Block& block) const { return !rows && !bfloat && block.count <= fewLanes; }
};

/** What a sink [H] makes of a lane's sums: what its outputs are multiplied by, and the log-sum-exp. */
struct Finish {
  float factor, lse;

  Finish(const AttentionTask& t, idx head, float maximum, float sum) {
    factor = sum == 0 ? 0 : 1 / sum;
    const float own = sum == 0 ? -infinity : maximum + log1(sum);
    lse = own;
    if (!t.sink || t.sink[head] == -infinity) return;
    const float sink = t.sink[head];
    if (sum == 0) {
      lse = sink - sink + sink;  // an infinite one has none
      return;
    }
    const float most = max1(sink, own);
    const float mine = vexp(splat(own - most))[0], total = mine + vexp(splat(sink - most))[0];
    factor *= mine / total;
    lse = most + log1(total);
  }
};

/** W columns of up to W keys, as columns: block[c][key]; zeros where there are no more. */
MINKE_INLINE void loadKeys(const float* from, idx stride, idx rows, idx columns, vf block[W]) {
  if (rows == W && columns == W) {
    MINKE_UNROLL
    for (int r = 0; r < W; r++) block[r] = load(from + r * stride);
  } else {
    for (int r = 0; r < W; r++) block[r] = r < rows ? loadPart(from + r * stride, columns) : vf{};
  }
  transposeRegisters(block);
}

/** Memory of two kinds, asked for side by side. */
struct AheadOfTwo {
  Ahead values, keys;

  MINKE_INLINE void step() {
    values.step();
    keys.step();
  }
};

/** s[l * apart + key] = scale q[l].k[key] of R lanes with n <= keyTile keys; writes whole vectors of keys. */
template <int R, class More>
static void scoreKeys(const float* const* q, const float* k, idx stride, idx width, idx n, float scale, float* s, idx apart,
                      More& ahead) {
  for (idx i = 0; i < n; i += W) {
    vf dot[R];
    MINKE_UNROLL
    for (int l = 0; l < R; l++) dot[l] = vf{};
    for (idx c = 0; c < width; c += W) {
      const idx columns = min(W, width - c);
      vf block[W];
      ahead.step();
      loadKeys(k + i * stride + c, stride, min(W, n - i), columns, block);
      if (columns == W) {
        MINKE_UNROLL
        for (int r = 0; r < W; r++)
          MINKE_UNROLL
          for (int l = 0; l < R; l++) dot[l] = fma(block[r], splat(q[l][c + r]), dot[l]);
      } else {
        for (idx r = 0; r < columns; r++)
          MINKE_UNROLL
          for (int l = 0; l < R; l++) dot[l] = fma(block[r], splat(q[l][c + r]), dot[l]);
      }
    }
    MINKE_UNROLL
    for (int l = 0; l < R; l++) store(s + l * apart + i, dot[l] * splat(scale));
  }
}
template <int R, class More>
static void scoreKeysUpTo(idx count, const float* const* q, const float* k, idx stride, idx width, idx n, float scale, float* s,
                          idx apart, More& ahead) {
  if (count >= R)
    scoreKeys<R>(q, k, stride, width, n, scale, s, apart, ahead);
  else if constexpr (R > 1)
    scoreKeysUpTo<R - 1>(count, q, k, stride, width, n, scale, s, apart, ahead);
}

/** out[c] += sum over i < n of p[i] v[i][c] for columns from c0 on: one lane, any number of columns. */
static void addValues(const float* p, const float* v, idx stride, idx c0, idx width, idx n, float* out) {
  vectors(c0, width, [&](auto io, idx c) {
    vf sum = load(out + c);
    for (idx i = 0; i < n; i++) sum = fma(io.load(v + i * stride + c), splat(p[i]), sum);
    store(out + c, sum);
  });
}

/** The softmax sums of a block of few lanes for key heads h0 .. h0 + heads: out [head][lane][stride]. */
struct FewSums {
  float *out, *maximum, *sum;
  idx stride;

  static idx floats(idx dv, idx count) { return count * (roundUp(dv, W) + 2); }
  FewSums(float* memory, idx dv, idx count)
      : out(memory), maximum(out + count * roundUp(dv, W)), sum(maximum + count), stride(roundUp(dv, W)) {}
};

static void fewClear(const FewSums& to, idx count) {
  zero(to.out, count * to.stride * 4);
  for (idx i = 0; i < count; i++) {
    to.maximum[i] = -infinity;
    to.sum[i] = 0;
  }
}

/**
 * Makes a lane's n scores probabilities, and scales what it has summed to their maximum; `addScores` follows.
 * `first`: nothing was added before.
 */
static void fewExp(float* scores, idx n, const FewSums& to, idx lane, bool first) {
  const float fresh = max1(rowMax(scores, n), to.maximum[lane]), shift = fresh == -infinity ? 0 : fresh;
  vectors(0, n, [&](auto io, idx j) { io.store(scores + j, vexp(io.load(scores + j) - shift)); });
  const float before = to.maximum[lane];
  to.maximum[lane] = fresh;
  if (first) return;
  const float correction = vexp(splat(before - shift))[0];
  to.sum[lane] *= correction;
  float* out = to.out + lane * to.stride;
  if (correction != 1)
    for (idx c = 0; c < to.stride; c += W) store(out + c, load(out + c) * splat(correction));
}

/** sum[l * each] += scores[l * apart + j] over ascending j < n: chains of up to L lanes side by side. */
template <int L>
static void addScores(idx count, const float* scores, idx apart, idx n, float* sum, idx each) {
  for (; count >= L; count -= L, scores += L * apart, sum += L * each) {
    float total[L];
    MINKE_UNROLL
    for (int l = 0; l < L; l++) total[l] = sum[l * each];
    for (idx j = 0; j < n; j++)
      MINKE_UNROLL
      for (int l = 0; l < L; l++) total[l] += scores[l * apart + j];
    MINKE_UNROLL
    for (int l = 0; l < L; l++) sum[l * each] = total[l];
  }
  if constexpr (L > 1) addScores<L / 2>(count, scores, apart, n, sum, each);
}

/** Scores of `n` keys from row m0 on, for a lane whose range has parts. */
static void fewParts(const AttentionTask& t, idx lane, idx hk, idx m0, idx n, float* scores) {
  const int32_t* range = t.heads.ranges + t.heads.each * (lane / t.heads.group);
  const float bias = t.bias[t.heads.row(lane, hk)];
  for (idx i = 0; i < clamp(range[2] - m0, 0, n); i++) scores[i] += bias;
  for (idx i = 0; i < clamp(range[1] - m0, 0, n); i++) scores[i] = -infinity;
}

/**
 * Sums over keys begin .. end, which belong to one section of the range. Rounded rows are widened into `wide`, a tile of
 * them.
 */
static void fewSection(const AttentionTask& t, const Block& block, idx h0, idx heads, idx begin, idx end, const FewSums& to,
                       float* wide) {
  const Heads& h = t.heads;
  const idx count = block.count;
  fewClear(to, heads * count);
  idx ends[fewLanes];
  bool even = true;
  for (idx l = 0; l < count; l++) {
    idx low;
    h.range((block.first + l) / h.group, low, ends[l]);
    even = even && min(ends[l], end) == min(ends[0], end);
  }
  // Memory asked for while scores are made: where rows hold one head of several, this head's values and the next keys;
  // where heads take their turn at whole rows, or share one, the next tile from end to end.
  const KeptRows keys = t.keptKeys(), values = t.keptValues();
  const bool apart = heads < h.keyHeads;
  auto rowsFrom = [&](idx m0) { return min(keyTile, end - m0); };
  const idx atOnce = 1;
  if (apart) {
    keys.ofHead(begin, rowsFrom(begin), h0, atOnce).step();
  } else if (values.p) {
    keys.whole(begin, rowsFrom(begin), atOnce).step();
    values.whole(begin, rowsFrom(begin), atOnce).step();
  }
  for (idx m0 = begin; m0 < end; m0 += keyTile) {
    const idx n = rowsFrom(m0), next = m0 + n, steps = (n + W - 1) / W * ((t.dk + W - 1) / W);
    AheadOfTwo ahead;
    if (!apart) ahead = {values.whole(next, rowsFrom(next), heads * steps), keys.whole(next, rowsFrom(next), heads * steps)};
    for (idx i = 0; i < heads; i++) {
      const idx hk = h0 + i;
      const float* q[fewLanes];
      float s[fewLanes * keyTile];
      for (idx l = 0; l < count; l++) q[l] = t.q + h.row(block.first + l, hk) * t.dk;
      const auto [k, v, keyStride, valueStride] = t.tile(hk, m0, n, wide);
      if (apart) {
        ahead.values = values.ofHead(m0, n, hk, steps);
        ahead.keys = i + 1 < heads ? keys.ofHead(m0, n, hk + 1, steps) : keys.ofHead(next, rowsFrom(next), h0, steps);
      }
      scoreKeysUpTo<fewLanes>(count, q, k, keyStride, t.dk, n, t.scale, s, keyTile, ahead);
      for (idx l = 0; l < count; l++) {
        const idx own = clamp(ends[l] - m0, 0, n);
        float* scores = s + l * keyTile;
        if (t.bias) fewParts(t, block.first + l, hk, m0, own, scores);
        fewExp(scores, own, to, i * count + l, m0 == begin);
      }
      if (!even) {
        for (idx l = 0; l < count; l++) {
          const idx at = i * count + l, own = clamp(ends[l] - m0, 0, n);
          addScores<1>(1, s + l * keyTile, 0, own, to.sum + at, 0);
          addValues(s + l * keyTile, v, valueStride, 0, t.dv, own, to.out + at * to.stride);
        }
        continue;
      }
      const idx own = clamp(ends[0] - m0, 0, n);
      addScores<4>(count, s, keyTile, own, to.sum + i * count, 1);
      float* out = to.out + i * count * to.stride;
      for (idx l = 0; l < count; l += fewGroup) {
        const idx rows = min(fewGroup, count - l);
        idx c = 0;
        for (; c + fewVectors * W <= t.dv; c += fewVectors * W)
          tileUpTo<fewGroup, fewVectors, 0, 1, false>(rows, own, s + l * keyTile, keyTile, 1, v + c, valueStride,
                                                   out + l * to.stride + c, to.stride, true, nullptr);
        for (idx r = l; r < l + rows; r++)
          addValues(s + r * keyTile, v, valueStride, c, t.dv, own, out + r * to.stride);
      }
    }
  }
}

static void fewMergeLane(idx lane, const FewSums& part, const FewSums& total) {
  const float m = max1(total.maximum[lane], part.maximum[lane]), shift = m == -infinity ? 0 : m;
  const vf a = vexp(splat(total.maximum[lane] - shift)), b = vexp(splat(part.maximum[lane] - shift));
  total.maximum[lane] = m;
  total.sum[lane] = fma(splat(part.sum[lane]), b, splat(total.sum[lane]) * a)[0];
  float *to = total.out + lane * total.stride, *from = part.out + lane * part.stride;
  for (idx c = 0; c < total.stride; c += W) store(to + c, fma(load(from + c), b, load(to + c) * a));
}

/** total = total and then `part`, whose keys begin at row `begin`. */
static void fewMerge(const AttentionTask& t, const Block& block, idx heads, idx begin, const FewSums& part, const FewSums& total) {
  for (idx i = 0; i < heads * block.count; i++) {
    idx low, high;
    t.heads.range((block.first + i % block.count) / t.heads.group, low, high);
    if (high > begin) fewMergeLane(i, part, total);
  }
}

static void fewFinish(const AttentionTask& t, idx first, idx count, idx h0, idx heads, const FewSums& sums) {
  for (idx i = 0; i < heads * count; i++) {
    const idx row = t.heads.row(first + i % count, h0 + i / count);
    const Finish finish(t, row % t.heads.H, sums.maximum[i], sums.sum[i]);
    const float* from = sums.out + i * sums.stride;
    vectors(0, t.dv, [&](auto io, idx c) { io.store(t.o + row * t.dv + c, load(from + c) * finish.factor); });
    if (t.lse) t.lse[row] = finish.lse;
  }
}

}  // namespace MINKE_NS
