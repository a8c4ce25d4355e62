// Attention of samples that share a beginning, as in decoding a group: query n looks at rows of the prefix, then at
// rows of its own, as if they lay one after the other.
//
// Neighbours with one prefix are a cohort. At every tile of keys all its lanes take their turn at the shared keys
// while those are near, then each query at its own, whose successor's are asked for meanwhile. Tiles and sections are
// counted from the first row of all, so the bits are those of attention.h over one range of the same rows.
#pragma once
#include "attention.h"

namespace MINKE_NS {

constexpr int cohortLanes = fewLanes < 4 ? 4 : fewLanes;  // scored together
constexpr idx mostQueries = 16;                           // of a cohort
constexpr idx scoredLanes = 128;                          // scores of so many lanes fit the first-level cache
constexpr idx scoresApart = keyTile + W;                  // own keys follow the shared ones; whole vectors are written

/** Queries first .. first + count, whose ranges begin with rows low .. low + shared. */
struct Cohort {
  idx first, count, low, shared;
};

/** Rows that a query alone looks at. */
struct OwnRows {
  idx low, count;
};

struct PrefixedTask {
  AttentionTask base;  // without ranges
  const int32_t* ranges;

  OwnRows rows(idx n, idx part) const {
    const int32_t* range = ranges + 4 * n + 2 * part;
    const idx low = clamp(range[0], 0, base.heads.M);
    return {low, clamp(range[1], low, base.heads.M) - low};
  }
};

/** Cuts the queries into cohorts; only counts them where `cohorts` is null. */
static idx planCohorts(const PrefixedTask& t, Cohort* cohorts) {
  idx made = 0;
  Cohort current = {0, 0, 0, 0};
  for (idx n = 0; n < t.base.heads.N; n++) {
    const OwnRows prefix = t.rows(n, 0);
    const bool same = prefix.count == current.shared && (prefix.count == 0 || prefix.low == current.low);
    if (n > 0 && same && current.count < mostQueries) {
      current.count++;
    } else {
      if (n > 0 && cohorts) cohorts[made - 1] = current;
      current = {n, 1, prefix.low, prefix.count};
      made++;
    }
  }
  if (made > 0 && cohorts) cohorts[made - 1] = current;
  return made;
}

/** out[l][c] += sum over i < n of p[l * apart + i] v[i][c]: `count` lanes, chains over ascending keys. */
static void addValueRows(idx count, const float* p, idx apart, const float* v, idx stride, idx width, idx n, float* out,
                         idx outStride) {
  constexpr int rows = fewLanes < 4 ? 4 : 6;
  for (idx l = 0; l < count; l += rows) {
    const idx some = min(rows, count - l);
    const float* from = p + l * apart;
    float* to = out + l * outStride;
    idx c = 0;
    for (; c + 2 * W <= width; c += 2 * W)
      tileUpTo<rows, 2, 0, 1, false>(some, n, from, apart, 1, v + c, stride, to + c, outStride, true, nullptr);
    for (idx r = 0; r < some; r++) addValues(from + r * apart, v, stride, c, width, n, to + r * outStride);
  }
}

/**
 * s[h * apart + key] = scale q[h].k[key][h] of one lane of each of H key heads, `width` columns apart: their chains run
 * side by side.
 */
template <int H>
static void scoreHeads(const float* const* q, const float* k, idx stride, idx width, idx n, float scale, float* s, idx apart,
                       Ahead& ahead) {
  for (idx i = 0; i < n; i += W) {
    vf dot[H];
    MINKE_UNROLL
    for (int h = 0; h < H; h++) dot[h] = vf{};
    for (idx c = 0; c < width; c += W) {
      const idx columns = min(W, width - c);
      MINKE_UNROLL
      for (int h = 0; h < H; h++) {
        vf block[W];
        ahead.step();
        loadKeys(k + i * stride + h * width + c, stride, min(W, n - i), columns, block);
        if (columns == W) {
          MINKE_UNROLL
          for (int r = 0; r < W; r++) dot[h] = fma(block[r], splat(q[h][c + r]), dot[h]);
        } else {
          for (idx r = 0; r < columns; r++) dot[h] = fma(block[r], splat(q[h][c + r]), dot[h]);
        }
      }
    }
    MINKE_UNROLL
    for (int h = 0; h < H; h++) store(s + h * apart + i, dot[h] * splat(scale));
  }
}

/** out[h * outStride + c] += sum over i < n of p[h * apart + i] v[i][h][c], likewise. */
template <int H>
static void addValueHeads(const float* p, idx apart, const float* v, idx stride, idx width, idx n, float* out, idx outStride) {
  idx c = 0;
  for (; c + 2 * W <= width; c += 2 * W) {
    vf sum[H][2];
    MINKE_UNROLL
    for (int h = 0; h < H; h++)
      MINKE_UNROLL
      for (int j = 0; j < 2; j++) sum[h][j] = load(out + h * outStride + c + j * W);
    for (idx i = 0; i < n; i++)
      MINKE_UNROLL
      for (int h = 0; h < H; h++) {
        const vf x = splat(p[h * apart + i]);
        MINKE_UNROLL
        for (int j = 0; j < 2; j++) sum[h][j] = fma(x, load(v + i * stride + h * width + c + j * W), sum[h][j]);
      }
    MINKE_UNROLL
    for (int h = 0; h < H; h++)
      MINKE_UNROLL
      for (int j = 0; j < 2; j++) store(out + h * outStride + c + j * W, sum[h][j]);
  }
  for (int h = 0; h < H; h++) addValues(p + h * apart, v + h * width, stride, c, width, n, out + h * outStride);
}

/** Key heads h0 .. h0 + heads of a cohort. */
struct CohortPart {
  const PrefixedTask& t;
  const Cohort& cohort;
  idx h0, heads, lanesEach;  // lanes of a key head

  /** Scores (then probabilities) of lane `l` of key head h0 + i. */
  float* scores(float* s, idx i, idx l) const { return s + (i * lanesEach + l) * scoresApart; }

  void score(idx i, idx lane, idx count, const float* k, idx n, float* s, Ahead& ahead) const {
    const AttentionTask& b = t.base;
    for (idx l = 0; l < count; l += cohortLanes) {
      const float* q[cohortLanes];
      const idx some = min(cohortLanes, count - l);
      for (idx r = 0; r < some; r++)
        q[r] = b.q + b.heads.row(cohort.first * b.heads.group + lane + l + r, h0 + i) * b.dk;
      scoreKeysUpTo<cohortLanes>(some, q, k + (h0 + i) * b.dk, b.keyStride, b.dk, n, b.scale, s + l * scoresApart, scoresApart, ahead);
    }
  }

  /** Scores of one query with keys of its own, from `k` on, into the scores of its lanes from column `at` on. */
  void scoreOwn(idx query, const float* k, idx n, float* s, idx at, Ahead& ahead) const {
    const AttentionTask& b = t.base;
    const idx group = b.heads.group, lane = query * group;
    if (group > 1) {
      for (idx i = 0; i < heads; i++) score(i, lane, group, k, n, scores(s, i, lane) + at, ahead);
      return;
    }
    const float* q = b.q + b.heads.row(cohort.first + query, h0) * b.dk;
    for (idx i = 0; i < heads; i += 2) {
      const float* both[2] = {q + i * b.dk, q + (i + 1) * b.dk};
      const float* from = k + (h0 + i) * b.dk;
      float* to = scores(s, i, lane) + at;
      if (i + 1 < heads) scoreHeads<2>(both, from, b.keyStride, b.dk, n, b.scale, to, lanesEach * scoresApart, ahead);
      else scoreHeads<1>(both, from, b.keyStride, b.dk, n, b.scale, to, 0, ahead);
    }
  }

  /** Adds a query's own values, from `v` on, by the probabilities from column `at` on. */
  void addOwn(idx query, const float* v, idx n, const float* s, idx at, const FewSums& to) const {
    const AttentionTask& b = t.base;
    const idx group = b.heads.group, lane = query * group, apart = lanesEach * scoresApart, outApart = lanesEach * to.stride;
    idx i = 0;
    auto from = [&](idx i) { return s + (i * lanesEach + lane) * scoresApart + at; };
    auto out = [&](idx i) { return to.out + (i * lanesEach + lane) * to.stride; };
    auto values = [&](idx i) { return v + (h0 + i) * b.dv; };
    for (; group == 1 && i + 4 <= heads; i += 4) addValueHeads<4>(from(i), apart, values(i), b.valueStride, b.dv, n, out(i), outApart);
    for (; group == 1 && i + 2 <= heads; i += 2) addValueHeads<2>(from(i), apart, values(i), b.valueStride, b.dv, n, out(i), outApart);
    for (; i < heads; i++) addValueRows(group, from(i), scoresApart, values(i), b.valueStride, b.dv, n, out(i), to.stride);
  }

  /** Adds the tile of keys m0 .. m0 + keyTile, counted from the prefix's first row. */
  void tile(idx m0, bool first, float* s, const FewSums& to) const {
    const AttentionTask& b = t.base;
    const idx group = b.heads.group, shared = clamp(cohort.shared - m0, 0, keyTile);
    const idx past = max(m0 - cohort.shared, 0);
    auto ownOf = [&](idx query) -> OwnRows {
      const OwnRows own = t.rows(cohort.first + query, 1);
      return {own.low + past, clamp(own.count - past, 0, keyTile - shared)};
    };
    auto keysAhead = [&](idx query, idx steps) {
      if (query >= cohort.count) return Ahead();
      const OwnRows own = ownOf(query);
      return Ahead(b.k + own.low * b.keyStride + h0 * b.dk, own.count * b.keyStride, steps);
    };
    const idx across = (b.dk + W - 1) / W;
    if (shared > 0) {
      Ahead ahead = keysAhead(0, heads * ((shared + W - 1) / W) * across);
      const float* k = b.k + (cohort.low + m0) * b.keyStride;
      for (idx i = 0; i < heads; i++) score(i, 0, lanesEach, k, shared, scores(s, i, 0), ahead);
    }
    for (idx query = 0; query < cohort.count; query++) {
      const OwnRows own = ownOf(query);
      Ahead ahead = keysAhead(query + 1, heads * ((own.count + W - 1) / W) * across);
      Ahead values(b.v + own.low * b.valueStride + h0 * b.dv, own.count * b.valueStride, heads * group);
      scoreOwn(query, b.k + own.low * b.keyStride, own.count, s, shared, ahead);
      for (idx g = 0; g < group; g++) {
        const idx lane = query * group + g, n = shared + own.count;
        for (idx i = 0; i < heads; i++) {
          values.step();
          fewExp(scores(s, i, lane), n, to, i * lanesEach + lane, first);
        }
        addScores<8>(heads, scores(s, 0, lane), lanesEach * scoresApart, n, to.sum + lane, lanesEach);
      }
    }
    const float* v = b.v + (cohort.low + m0) * b.valueStride + h0 * b.dv;
    for (idx i = 0; shared > 0 && i < heads; i++)
      addValueRows(lanesEach, scores(s, i, 0), scoresApart, v + i * b.dv, b.valueStride, b.dv, shared,
                   to.out + i * lanesEach * to.stride, to.stride);
    for (idx query = 0; query < cohort.count; query++) {
      const OwnRows own = ownOf(query);
      addOwn(query, b.v + own.low * b.valueStride, own.count, s, shared, to);
    }
  }

  void run(float* memory) const {
    const AttentionTask& b = t.base;
    const idx count = heads * lanesEach, each = FewSums::floats(b.dv, count);
    const FewSums total(memory, b.dv, count), part(memory + each, b.dv, count);
    float* s = memory + 2 * each;
    idx longest = 0;
    for (idx query = 0; query < cohort.count; query++)
      longest = max(longest, cohort.shared + t.rows(cohort.first + query, 1).count);
    fewClear(total, count);
    for (idx begin = 0; begin < longest; begin += sectionKeys) {
      const FewSums& to = begin == 0 ? total : part;
      if (begin > 0) fewClear(part, count);
      for (idx m0 = begin; m0 < min(longest, begin + sectionKeys); m0 += keyTile) tile(m0, m0 == begin, s, to);
      for (idx i = 0; begin > 0 && i < count; i++) {
        const idx query = i % lanesEach / b.heads.group;
        if (cohort.shared + t.rows(cohort.first + query, 1).count > begin) fewMergeLane(i, part, total);
      }
    }
    fewFinish(b, cohort.first * b.heads.group, lanesEach, h0, heads, total);
  }
};

static void prefixedAttention(const Call& call) {
  const Tensor &q = call.t[0], &k = call.t[1], &v = call.t[2];
  const idx H = q.d[1], Hk = k.d[1], dv = v.d[2];
  const Heads heads = {q.d[0], H, Hk, Hk ? H / Hk : 0, k.d[0], nullptr};
  const PrefixedTask t = {{heads, q.f(), k.f(), v.f(), call.t[4].f(), nullptr, q.d[2], dv, Hk * q.d[2], Hk * dv, call.attributeFloat(0)},
                          call.t[3].i()};
  if (heads.N * H == 0) return;
  const idx count = planCohorts(t, nullptr);
  Cohort* cohorts = (Cohort*)call.shared(count * (idx)sizeof(Cohort));
  if (!cohorts) return;
  planCohorts(t, cohorts);
  const idx mostLanes = mostQueries * heads.group, atOnce = clamp(scoredLanes / mostLanes, 1, Hk);
  constexpr idx enough = 8;  // cohorts: fewer than this, and each key head is a task
  const idx each = count >= enough ? atOnce : 1, parts = (Hk + each - 1) / each;
  const idx floats = each * mostLanes * (2 * FewSums::floats(dv, 1) + scoresApart) + W;
  call.parallel(count * parts, [&](idx task, int thread) {
    float* memory = (float*)call.local(thread, floats * 4);
    const Cohort& cohort = cohorts[task / parts];
    const idx h0 = task % parts * each;
    if (memory) CohortPart{t, cohort, h0, min(each, Hk - h0), cohort.count * heads.group}.run(memory);
  });
}

}  // namespace MINKE_NS
