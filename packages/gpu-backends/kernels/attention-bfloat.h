// Attention whose products are of bf16 numbers: queries, a tile of keys and values, and probabilities as their operands.
//
// Numbers are rounded to bf16 (nearest even, subnormal ones to zero) and sums are f32. With AVX512_BF16 a word holds two
// neighbours of a sum, and a step multiplies both; everywhere else a word is one number, rounded, as f32. A sum over keys
// begins at the tile's first one, and zero follows the last of an odd count: so no bit depends on what comes after it.
#pragma once
#include "attention-decode.h"

namespace MINKE_NS {

#if defined(__AVX512BF16__)
typedef Pairs BfloatStep;
#else
typedef Single BfloatStep;
#endif

/** Words of `count` numbers. */
constexpr idx wordsOf(idx count) { return (count + BfloatStep::depth - 1) / BfloatStep::depth; }

/** Numbers of a row as words along it; `to` may be `from`. */
static void packAlong(const float* from, idx count, float* to) {
#if defined(__AVX512BF16__)
  for (idx c = 0; c < count; c += 2 * W) {
    const idx first = min(W, count - c), second = min(W, count - c - first);
    const __m512bh words = _mm512_cvtne2ps_pbh((__m512)(second > 0 ? loadPart(from + c + W, second) : vf{}), (__m512)loadPart(from + c, first));
    storePart(to + c / 2, (vf)words, wordsOf(first + second));
  }
#else
  vectors(0, count, [&](auto io, idx c) { io.store(to + c, roundToBfloat(io.load(from + c))); });
#endif
}

/** Rows as words across them: of rows i and i + 1 where words hold two; `to` may be `from`, with its stride. */
static void packAcross(const float* from, idx stride, idx rows, idx width, float* to, idx toStride) {
#if defined(__AVX512BF16__)
  for (idx i = 0; i < rows; i += 2)
    vectors(0, width, [&](auto io, idx c) {
      const vf second = i + 1 < rows ? io.load(from + (i + 1) * stride + c) : vf{};
      io.store(to + i / 2 * toStride + c, pairUp(io.load(from + i * stride + c), second));
    });
#else
  for (idx i = 0; i < rows; i++)
    vectors(0, width, [&](auto io, idx c) { io.store(to + i * toStride + c, roundToBfloat(io.load(from + i * stride + c))); });
#endif
}

#if defined(__AVX512BF16__)
/** `packAcross` of rows that are bf16, `bytes` apart. */
static void pairAcross(const char* from, idx bytes, idx rows, idx width, float* to) {
  alignas(64) static constexpr auto turns = [] {
    struct { uint16_t of[2][2 * W]; } t{};  // numbers of the first and of the second row, in turns
    for (int half = 0; half < 2; half++)
      for (int i = 0; i < 2 * W; i++) t.of[half][i] = (uint16_t)((i & 1) * 2 * W + half * W + i / 2);
    return t;
  }();
  const __m512i low = _mm512_load_si512(turns.of[0]), high = _mm512_load_si512(turns.of[1]);
  for (idx i = 0; i < rows; i += 2)
    for (idx c = 0; c < width; c += 2 * W) {
      const char* at = from + i * bytes + 2 * c;
      const __m512i first = loadHalves((const uint16_t*)at, width - c);
      const __m512i second = i + 1 < rows ? loadHalves((const uint16_t*)(at + bytes), width - c) : __m512i{};
      float* words = to + i / 2 * width + c;
      storePart(words, (vf)_mm512_permutex2var_epi16(first, low, second), min(W, width - c));
      if (c + W < width) storePart(words + W, (vf)_mm512_permutex2var_epi16(first, high, second), min(W, width - c - W));
    }
}
#endif

/** Floats of a tile that `roundedTile` makes, and of its rows on the way. */
constexpr idx roundedTileFloats(idx dk, idx dv, idx width) { return keyTile * (dk + dv + width); }

/** n rounded latents from row m0 on as keys [n][words along] and, their first dv numbers, as values [words across][dv]. */
static HeadTile roundedTile(const RoundedRows& rows, idx m0, idx n, idx dk, idx dv, float* memory) {
  float *keys = memory, *values = keys + keyTile * dk, *wide = values + keyTile * dv;
#if defined(__AVX512BF16__)
  if (rows.dtype == BF16 && rows.width % 2 == 0 && dk % 2 == 0) {
    pairAcross(rows.at(m0), rows.bytes, n, dv, values);
    return {(const float*)rows.at(m0), values, rows.bytes / 4, dv};
  }
#endif
  rows.widen(m0, n, 0, rows.width, wide);
  for (idx i = 0; i < n; i++) packAlong(wide + i * rows.width, dk, keys + i * dk);
  packAcross(wide, rows.width, n, dv, values, dv);
  return {keys, values, dk, dv};
}

/** out[c][lane] += sum over keys of v[key][c] p[key][lane], p [n][lanes] packed in place; keys beyond a lane's limit are not looked at. */
template <int V>
static void addRoundedTile(const TileLimits& tile, idx n, const float* v, idx stride, idx width, float* p, float* out, Ahead* ahead) {
  constexpr idx L = V * W;
  for (idx i = tile.both; V == 2 && i < n; i++) store(p + i * L, vf{});
  packAcross(p, L, n, L, p, L);
  if (tile.masked) return laneProduct<V, true, BfloatStep>(width, wordsOf(n), v, 1, stride, p, out, L, true, tile.limits, ahead);
  laneProduct<V, false, BfloatStep>(width, wordsOf(n), v, 1, stride, p, out, L, true, nullptr, ahead);
}

}  // namespace MINKE_NS
