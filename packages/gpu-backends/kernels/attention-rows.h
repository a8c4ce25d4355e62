// Products of lanes with key rows that lie anywhere, read where they are: what attention to named rows does.
//
// The same chains of multiply-adds as for rows that lie one after the other (attention-lanes.h), and so the same
// bits. The hardware does not foresee the next row, so each is asked for a few steps before it is read.
#pragma once
#include "attention-lanes.h"

namespace MINKE_NS {

#if defined(__AVX512F__) || defined(__ARM_NEON)
constexpr int namedRows = 8;  // rows, or columns, of a tile: their addresses fit the registers
#elif defined(__AVX2__)
constexpr int namedRows = 6;
#else
constexpr int namedRows = 4;
#endif

/** The rows of a tile of keys, asked for `lines` cache lines at a time. */
struct RowsAhead {
  const float* const* at = nullptr;
  idx rows = 0, bytes = 0, lines = 0, row = 0, byte = 0;

  MINKE_INLINE void step() {
    for (idx i = 0; i < lines && row < rows; i++) {
      __builtin_prefetch((const char*)at[row] + byte, 0, 2);
      byte += 64;
      if (byte < bytes) continue;
      byte = 0;
      row++;
    }
  }
};

/** s[i][lane] = sum over c < width of at[i][c] x[c][lane], i < R. */
template <int R, int V>
static void scoreNamed(const float* const* at, idx width, const float* x, float* s) {
  constexpr idx L = V * W;
  const float* row[R];
  vf sum[R][V];
  MINKE_UNROLL
  for (int i = 0; i < R; i++) {
    row[i] = at[i];
    MINKE_UNROLL
    for (int j = 0; j < V; j++) sum[i][j] = vf{};
  }
  for (idx c = 0; c < width; c++, x += L) {
    vf column[V];
    MINKE_UNROLL
    for (int j = 0; j < V; j++) column[j] = load(x + j * W);
    MINKE_UNROLL
    for (int i = 0; i < R; i++) {
      const vf key = splat(row[i][c]);
      MINKE_UNROLL
      for (int j = 0; j < V; j++) sum[i][j] = fma(key, column[j], sum[i][j]);
    }
  }
  MINKE_UNROLL
  for (int i = 0; i < R; i++)
    MINKE_UNROLL
    for (int j = 0; j < V; j++) store(s + i * L + j * W, sum[i][j]);
}
template <int R, int V>
static void scoreNamedUpTo(idx rows, const float* const* at, idx width, const float* x, float* s) {
  if (rows >= R)
    scoreNamed<R, V>(at, width, x, s);
  else if constexpr (R > 1)
    scoreNamedUpTo<R - 1, V>(rows, at, width, x, s);
}

/** Scores of n named rows, in order; `ahead` takes a step before each few of them. */
template <int V>
static void scoreNamedTile(const float* const* at, idx n, idx width, const float* x, float* s, RowsAhead& ahead) {
  for (idx i = 0; i < n; i += namedRows) {
    ahead.step();
    scoreNamedUpTo<namedRows, V>(n - i, at + i, width, x, s + i * V * W);
  }
}

/** out[i][lane] += sum over keys of at[key][c + i] p[key][lane], i < R. */
template <int R, int V>
static void addNamed(const float* const* at, idx n, idx c, const float* p, float* out) {
  constexpr idx L = V * W;
  vf sum[R][V];
  MINKE_UNROLL
  for (int i = 0; i < R; i++)
    MINKE_UNROLL
    for (int j = 0; j < V; j++) sum[i][j] = load(out + i * L + j * W);
  for (idx k = 0; k < n; k++, p += L) {
    const float* value = at[k] + c;
    vf weight[V];
    MINKE_UNROLL
    for (int j = 0; j < V; j++) weight[j] = load(p + j * W);
    MINKE_UNROLL
    for (int i = 0; i < R; i++) {
      const vf v = splat(value[i]);
      MINKE_UNROLL
      for (int j = 0; j < V; j++) sum[i][j] = fma(v, weight[j], sum[i][j]);
    }
  }
  MINKE_UNROLL
  for (int i = 0; i < R; i++)
    MINKE_UNROLL
    for (int j = 0; j < V; j++) store(out + i * L + j * W, sum[i][j]);
}
template <int R, int V>
static void addNamedUpTo(idx columns, const float* const* at, idx n, idx c, const float* p, float* out) {
  if (columns >= R)
    addNamed<R, V>(at, n, c, p, out);
  else if constexpr (R > 1)
    addNamedUpTo<R - 1, V>(columns, at, n, c, p, out);
}

/** out[c][lane] += sum over n named rows of at[key][c] p[key][lane], c < width. */
template <int V>
static void addNamedTile(const float* const* at, idx n, idx width, const float* p, float* out, RowsAhead& ahead) {
  for (idx c = 0; c < width; c += namedRows) {
    ahead.step();
    addNamedUpTo<namedRows, V>(width - c, at, n, c, p, out + c * V * W);
  }
}

/** The rows that keys begin .. end of a query are, tile by tile, the next one known ahead. */
struct NamedRows {
  const float *from, *none;  // `none`: zeros, in place of rows that are not there
  const int32_t* rows;
  idx rowCount, stride, width, end;
  const float* at[2][keyTile];
  bool absent[2][keyTile];
  int current = 1;

  void look(idx m0, int which) {
    for (idx i = 0; i < min(keyTile, end - m0); i++) {
      const int32_t row = rows[m0 + i];
      absent[which][i] = row < 0 || row >= rowCount;
      at[which][i] = absent[which][i] ? none : from + row * stride;
    }
  }
  /** To the tile at m0; the one after it is looked up too. */
  void advance(idx m0, bool first) {
    if (first) look(m0, 1 - current);
    current = 1 - current;
    look(m0 + keyTile, 1 - current);
  }
  /** What to ask for while the tile's scores are made: its own rows, where nobody did before. */
  RowsAhead own(idx n) const {
    const idx lines = (width * 4 + 63) / 64 + 1;
    return {at[current], n, lines * 64, namedRows * lines};
  }
  /** What to ask for while `steps` columns of its values are added: the rows of the next tile. */
  RowsAhead next(idx m0, idx steps) const {
    const idx lines = (width * 4 + 63) / 64 + 1, n = clamp(end - m0 - keyTile, 0, keyTile);
    return {at[1 - current], n, lines * 64, steps > 0 ? n * lines / steps + 1 : 0};
  }
};

}  // namespace MINKE_NS
