// Products of few rows, as in decoding: B is read where it lies, because packing pays only when each element is used often
// enough. The order of additions is that of the tiles.
#pragma once
#include "gemm-tiles.h"

namespace MINKE_NS {

/**
 * c[i][j] += sum over k < D of a[i * rsa + k * csa] b[k * ldb + j], i < R, j < n. Streams whole rows of B and
 * keeps the sums in the first-level cache.
 */
template <int R, int D>
static void thinStep(const float* a, idx rsa, idx csa, const float* b, idx ldb, float* c, idx ldc, idx n) {
  float x[R][D];
  for (int i = 0; i < R; i++)
    for (int k = 0; k < D; k++) x[i][k] = a[i * rsa + k * csa];
  vectors(0, n, [&](auto io, idx j) {
    vf row[D];
    MINKE_UNROLL
    for (int k = 0; k < D; k++) row[k] = io.load(b + k * ldb + j);
    MINKE_UNROLL
    for (int i = 0; i < R; i++) {
      vf sum = io.load(c + i * ldc + j);
      MINKE_UNROLL
      for (int k = 0; k < D; k++) sum = fma(splat(x[i][k]), row[k], sum);
      io.store(c + i * ldc + j, sum);
    }
  });
}

/** Fewer rows, or too few registers for tiles in place: memory sets the pace, and it gives whole rows of b fastest. */
constexpr int streamedRows = W == 16 ? 3 : W == 8 ? 8 : 4;
template <int R>
static void thin(idx rows, idx K, const float* a, idx rsa, idx csa, const float* b, idx ldb, float* c, idx ldc, idx n) {
  if constexpr (R > 1)
    if (rows < R) return thin<R - 1>(rows, K, a, rsa, csa, b, ldb, c, ldc, n);
  constexpr int depth = 8;
  idx k = 0;
  for (; k + depth <= K; k += depth) thinStep<R, depth>(a + k * csa, rsa, csa, b + k * ldb, ldb, c, ldc, n);
  for (; k < K; k++) thinStep<R, 1>(a + k * csa, rsa, csa, b + k * ldb, ldb, c, ldc, n);
}

/**
 * c[i][j] (+)= sum over k < K of a[i * rsa + k * csa] b[k * ldb + j], i < R, j < V vectors: B as it lies in memory.
 * Its rows are too far apart for the processor to guess the next line, so each step asks for one `ahead` floats on.
 */
template <int R, int V, class IO>
static void directTile(IO io, idx K, const float* __restrict__ a, idx rsa, idx csa, const float* __restrict__ b, idx ldb,
                       idx ahead, float* __restrict__ c, idx ldc, bool accumulate) {
  vf sum[R][V];
  MINKE_UNROLL
  for (int i = 0; i < R; i++)
    MINKE_UNROLL
    for (int j = 0; j < V; j++) sum[i][j] = accumulate ? io.load(c + i * ldc + j * W) : vf{};
  for (idx k = 0; k < K; k++) {
    MINKE_UNROLL
    for (int j = 0; j < V; j++) __builtin_prefetch(b + ahead + j * W, 0, 2);
    vf row[V];
    MINKE_UNROLL
    for (int j = 0; j < V; j++) row[j] = io.load(b + j * W);
    MINKE_UNROLL
    for (int i = 0; i < R; i++) {
      const vf x = splat(a[i * rsa]);
      MINKE_UNROLL
      for (int j = 0; j < V; j++) sum[i][j] = fma(x, row[j], sum[i][j]);
    }
    a += csa;
    b += ldb;
  }
  MINKE_UNROLL
  for (int i = 0; i < R; i++)
    MINKE_UNROLL
    for (int j = 0; j < V; j++) io.store(c + i * ldc + j * W, sum[i][j]);
}

template <int R, int V, class IO>
static void directUpTo(idx rows, IO io, idx K, const float* a, idx rsa, idx csa, const float* b, idx ldb, idx ahead, float* c,
                       idx ldc, bool accumulate) {
  if (rows >= R) return directTile<R, V>(io, K, a, rsa, csa, b, ldb, ahead, c, ldc, accumulate);
  if constexpr (R > 1) directUpTo<R - 1, V>(rows, io, K, a, rsa, csa, b, ldb, ahead, c, ldc, accumulate);
}

/** Rows of a tile that reads B in place, its vectors of columns, and the rows up to which packing B does not pay. */
constexpr int directRows = 8, directVectors = 4;
constexpr idx directLimit = W == 16 ? 64 : 0;

/** c [rows, n] (+)= a b for more than `streamedRows` rows. The first strip of rows brings a block of b into the second-level cache. */
[[maybe_unused]] static void directProduct(idx rows, idx K, const float* a, idx rsa, idx csa, const float* b, idx ldb, float* c,
                                           idx ldc, idx n, bool accumulate) {
  const idx strips = (rows + directRows - 1) / directRows, height = (rows + strips - 1) / strips;
  constexpr idx wide = directVectors * W;
  for (idx s = 0; s < K; s += blockK) {
    const idx steps = min(blockK, K - s);
    const bool load_ = accumulate || s > 0;
    for (idx j = 0; j < n;) {
      const idx columns = n - j >= wide ? wide : min(W, n - j);
      const idx next = j + columns < n ? columns : steps * ldb - j;
      for (idx i = 0; i < rows; i += height) {
        const idx m = min(height, rows - i), ahead = i ? 0 : next;
        const float *x = a + i * rsa + s * csa, *from = b + s * ldb + j;
        float* to = c + i * ldc + j;
        if (columns == wide) directUpTo<directRows, directVectors>(m, Whole{}, steps, x, rsa, csa, from, ldb, ahead, to, ldc, load_);
        else if (columns == W) directUpTo<directRows, 1>(m, Whole{}, steps, x, rsa, csa, from, ldb, ahead, to, ldc, load_);
        else directUpTo<directRows, 1>(m, Part{columns}, steps, x, rsa, csa, from, ldb, ahead, to, ldc, load_);
      }
      j += columns;
    }
  }
}

/** Rows up to which b is read in place: each of its elements is used too seldom for packing. */
constexpr int thinRows = W > 4 ? 8 : 4;
constexpr idx inPlaceRows(bool transB) {
  return transB ? thinRows : directLimit > streamedRows ? directLimit : streamedRows;
}

/** c += a b for B stored [n, K]: blocks of W x W turned in registers, the sums of W columns kept there too. */
template <int R>
static void thinTransposed(idx rows, idx K, const float* a, idx rsa, idx csa, const float* b, idx ldb, float* c, idx ldc, idx n) {
  if constexpr (R > 1)
    if (rows < R) return thinTransposed<R - 1>(rows, K, a, rsa, csa, b, ldb, c, ldc, n);
  vectors(0, n, [&](auto io, idx j) {
    const idx columns = min(W, n - j);
    const float* from = b + j * ldb;
    vf sum[R], turned[W];
    MINKE_UNROLL
    for (int i = 0; i < R; i++) sum[i] = io.load(c + i * ldc + j);
    idx k = 0;
    for (; k + W <= K; k += W) {
      MINKE_UNROLL
      for (int r = 0; r < W; r++) turned[r] = r < columns ? load(from + r * ldb + k) : vf{};
      transposeRegisters(turned);
      MINKE_UNROLL
      for (int i = 0; i < R; i++)
        MINKE_UNROLL
        for (int q = 0; q < W; q++) sum[i] = fma(splat(a[i * rsa + (k + q) * csa]), turned[q], sum[i]);
    }
    for (; k < K; k++) {
      float across[W] = {};
      for (idx r = 0; r < columns; r++) across[r] = from[r * ldb + k];
      MINKE_UNROLL
      for (int i = 0; i < R; i++) sum[i] = fma(splat(a[i * rsa + k * csa]), load(across), sum[i]);
    }
    MINKE_UNROLL
    for (int i = 0; i < R; i++) io.store(c + i * ldc + j, sum[i]);
  });
}

}  // namespace MINKE_NS
