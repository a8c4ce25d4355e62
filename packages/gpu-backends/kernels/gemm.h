// f32 matrix products. Every output is one chain of multiply-adds over ascending k: blocks of k reload the
// sum, tasks split rows and columns only. `accumulate` starts the chain from what c holds, so gradients
// summed over two batches in turn equal the gradient of both at once.
//
// Panels: A in strips of `tileRows` rows, B in strips of two vectors, both k-major (Goto & van de Geijn,
// "Anatomy of high-performance matrix multiplication", 2008). Transposed operands differ only in packing.
// Products of a few rows, as in decoding, read B in place, in the same order of additions.
#pragma once
#include "runtime.h"

namespace MINKE_NS {

#if defined(__AVX512F__)
constexpr int tileRows = 12;
#elif defined(__AVX2__)
constexpr int tileRows = 6;
#elif defined(__ARM_NEON)
constexpr int tileRows = 8;
#else
constexpr int tileRows = 4;
#endif
constexpr idx tileColumns = 2 * W;
constexpr idx blockK = 256;

/**
 * c[i][j] (+)= sum over k of a[i * RSA + k * CSA] b[k * ldb + j], i < R, j < V * W.
 * RSA or CSA 0 means the run-time stride. With MASKED, lane j takes part only while k < limits[j].
 */
template <int R, int V, int RSA, int CSA, bool MASKED>
static void tile(idx K, const float* __restrict__ a, idx rsa, idx csa, const float* __restrict__ b, idx ldb,
                 float* __restrict__ c, idx ldc, bool accumulate, const int32_t* limits) {
  if (RSA) rsa = RSA;
  if (CSA) csa = CSA;
  vf sum[R][V];
  if (accumulate) {
    MINKE_UNROLL
    for (int i = 0; i < R; i++)
      MINKE_UNROLL
      for (int j = 0; j < V; j++) sum[i][j] = load(c + i * ldc + j * W);
  } else {
    MINKE_UNROLL
    for (int i = 0; i < R; i++)
      MINKE_UNROLL
      for (int j = 0; j < V; j++) sum[i][j] = vf{};
  }
  vi limit[V];
  if (MASKED)
    MINKE_UNROLL
    for (int j = 0; j < V; j++) __builtin_memcpy(&limit[j], limits + j * W, sizeof(vi));
  for (idx k = 0; k < K; k++) {
    vf row[V];
    MINKE_UNROLL
    for (int j = 0; j < V; j++) row[j] = load(b + j * W);
    vi take[V];
    if (MASKED)
      MINKE_UNROLL
      for (int j = 0; j < V; j++) take[j] = limit[j] > splati((int32_t)k);
    MINKE_UNROLL
    for (int i = 0; i < R; i++) {
      const vf x = splat(a[i * rsa]);
      MINKE_UNROLL
      for (int j = 0; j < V; j++)
        sum[i][j] = MASKED ? fmaWhere(take[j], x, row[j], sum[i][j]) : fma(x, row[j], sum[i][j]);
    }
    a += csa;
    b += ldb;
  }
  MINKE_UNROLL
  for (int i = 0; i < R; i++)
    MINKE_UNROLL
    for (int j = 0; j < V; j++) store(c + i * ldc + j * W, sum[i][j]);
}

/** `tile` for any number of rows up to R. */
template <int R, int V, int RSA, int CSA, bool MASKED>
static void tileUpTo(idx rows, idx K, const float* a, idx rsa, idx csa, const float* b, idx ldb, float* c, idx ldc,
                     bool accumulate, const int32_t* limits) {
  if (rows >= R)
    tile<R, V, RSA, CSA, MASKED>(K, a, rsa, csa, b, ldb, c, ldc, accumulate, limits);
  else if constexpr (R > 1)
    tileUpTo<R - 1, V, RSA, CSA, MASKED>(rows, K, a, rsa, csa, b, ldb, c, ldc, accumulate, limits);
}

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

/** Few rows: B as it lies in memory, because packing pays only when each element is used often enough. */
constexpr int thinRows = W > 4 ? 8 : 4;
template <int R>
static void thin(idx rows, idx K, const float* a, idx rsa, idx csa, const float* b, idx ldb, float* c, idx ldc, idx n) {
  if constexpr (R > 1)
    if (rows < R) return thin<R - 1>(rows, K, a, rsa, csa, b, ldb, c, ldc, n);
  constexpr int depth = 8;
  idx k = 0;
  for (; k + depth <= K; k += depth) thinStep<R, depth>(a + k * csa, rsa, csa, b + k * ldb, ldb, c, ldc, n);
  for (; k < K; k++) thinStep<R, 1>(a + k * csa, rsa, csa, b + k * ldb, ldb, c, ldc, n);
}

/** `thin` for B stored [n, K]: blocks of W x W turned in registers, the sums of W columns kept there too. */
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

/** One product: c [M, N] (+)= op(a) op(b). Strides are shared by a batch. */
struct Product {
  const float* a;
  const float* b;
  float* c;
  idx M, N, K;
};

struct Layout {
  bool transA, transB, accumulate;
  idx lda, ldb, ldc;
};

static void packRows(const Product& p, const Layout& l, idx i0, idx rows, idx k0, idx kc, float* to) {
  for (idx i = 0; i < rows; i += tileRows) {
    const idx n = min(tileRows, rows - i);
    if (!l.transA) {
      transpose(p.a + (i0 + i) * l.lda + k0, l.lda, n, kc, to + i * kc, tileRows, true);
      continue;
    }
    const float* from = p.a + k0 * l.lda + i0 + i;
    float* strip = to + i * kc;
    const bool whole = i0 + i + roundUp(tileRows, W) <= p.M;
    for (idx k = 0; k < kc; k++)
      for (idx j = 0; j < tileRows; j += W)
        store(strip + k * tileRows + j, whole ? load(from + k * l.lda + j) : loadPart(from + k * l.lda + j, clamp(n - j, 0, W)));
  }
}

static void packColumns(const Product& p, const Layout& l, idx j, idx n, idx k0, idx kc, float* to) {
  if (l.transB) {
    transpose(p.b + j * l.ldb + k0, l.ldb, n, kc, to, tileColumns, true);
    return;
  }
  const float* from = p.b + k0 * l.ldb + j;
  if (n == tileColumns) {
    for (idx k = 0; k < kc; k++) {
      store(to + k * tileColumns, load(from + k * l.ldb));
      store(to + k * tileColumns + W, load(from + k * l.ldb + W));
    }
    return;
  }
  for (idx k = 0; k < kc; k++)
    vectors(0, n, [&](auto io, idx x) { store(to + k * tileColumns + x, io.load(from + k * l.ldb + x)); });
}

/** `productBlock` for few rows. The sums move close together: rows of c a power of two apart share cache sets. */
static void thinBlock(const Call& call, const Product& p, const Layout& l, idx i0, idx mc, idx j0, idx nc, int thread) {
  const idx stride = nc + W, rsa = l.transA ? 1 : l.lda, csa = l.transA ? l.lda : 1;
  float* sums = (float*)call.local(thread, mc * stride * 4);
  if (!sums) return;
  float* c = p.c + i0 * l.ldc + j0;
  for (idx r = 0; r < mc; r++)
    if (l.accumulate) copy(sums + r * stride, c + r * l.ldc, nc * 4);
    else zero(sums + r * stride, nc * 4);
  const float* a = p.a + i0 * rsa;
  if (l.transB) thinTransposed<thinRows>(mc, p.K, a, rsa, csa, p.b + j0 * l.ldb, l.ldb, sums, stride, nc);
  else thin<thinRows>(mc, p.K, a, rsa, csa, p.b + j0, l.ldb, sums, stride, nc);
  for (idx r = 0; r < mc; r++) copy(c + r * l.ldc, sums + r * stride, nc * 4);
}

/** Rows i0 .. i0 + mc and columns j0 .. j0 + nc of one product. */
static void productBlock(const Call& call, const Product& p, const Layout& l, idx i0, idx mc, idx j0, idx nc, int thread) {
  if (mc <= thinRows) return thinBlock(call, p, l, i0, mc, j0, nc, thread);
  const idx depth = min(p.K, blockK);
  const idx rowsSize = roundUp(mc, tileRows) * depth + 2 * W, columnsSize = depth * tileColumns + W;
  float* rows = (float*)call.local(thread, (rowsSize + columnsSize + tileRows * tileColumns) * 4);
  if (!rows) return;
  float* columns = rows + roundUp(rowsSize, W);
  float* edge = columns + roundUp(columnsSize, W);
  for (idx k0 = 0; k0 < p.K; k0 += blockK) {
    const idx kc = min(blockK, p.K - k0);
    const bool load_ = l.accumulate || k0 > 0;
    packRows(p, l, i0, mc, k0, kc, rows);
    for (idx j = 0; j < nc; j += tileColumns) {
      const idx n = min(tileColumns, nc - j);
      packColumns(p, l, j0 + j, n, k0, kc, columns);
      for (idx i = 0; i < mc; i += tileRows) {
        const idx m = min(tileRows, mc - i);
        float* c = p.c + (i0 + i) * l.ldc + j0 + j;
        const float* a = rows + i * kc;
        if (n == tileColumns) {
          tileUpTo<tileRows, 2, 1, tileRows, false>(m, kc, a, 1, tileRows, columns, tileColumns, c, l.ldc, load_, nullptr);
        } else if (n == W) {
          tileUpTo<tileRows, 1, 1, tileRows, false>(m, kc, a, 1, tileRows, columns, tileColumns, c, l.ldc, load_, nullptr);
        } else {
          if (load_)
            for (idx r = 0; r < m; r++) copy(edge + r * tileColumns, c + r * l.ldc, n * 4);
          if (n < W)
            tileUpTo<tileRows, 1, 1, tileRows, false>(m, kc, a, 1, tileRows, columns, tileColumns, edge, tileColumns, load_, nullptr);
          else
            tileUpTo<tileRows, 2, 1, tileRows, false>(m, kc, a, 1, tileRows, columns, tileColumns, edge, tileColumns, load_, nullptr);
          for (idx r = 0; r < m; r++) copy(c + r * l.ldc, edge + r * tileColumns, n * 4);
        }
      }
    }
  }
}

/** Runs a batch. `products` must not live in the call's shared scratch beyond its first `count` entries. */
static void runProducts(const Call& call, const Product* products, idx count, const Layout& l) {
  double work = 0;
  idx tallest = 0, widest = 0;
  for (idx i = 0; i < count; i++) {
    const Product& p = products[i];
    work += 2.0 * (double)p.M * (double)p.N * (double)p.K;
    tallest = max(tallest, p.M);
    widest = max(widest, p.N);
  }
  if (!tallest || !widest) return;
  idx mc = min(roundUp(tallest, tileRows), 40 * tileRows), nc = min(roundUp(widest, tileColumns), 512);
  auto tasksOf = [&](const Product& p) { return p.K == 0 ? 0 : ((p.M + mc - 1) / mc) * ((p.N + nc - 1) / nc); };
  idx tasks = 0;
  for (;;) {
    tasks = 0;
    for (idx i = 0; i < count; i++) tasks += tasksOf(products[i]);
    if (tasks >= 8 || (tasks > 0 && work / (double)tasks < 1e6)) break;
    if (mc > 4 * tileRows && mc >= nc) mc = roundUp(mc / 2, tileRows);
    else if (nc > 2 * tileColumns || (nc > tileColumns && mc <= 4 * tileRows)) nc = roundUp(nc / 2, tileColumns);
    else if (mc > 4 * tileRows) mc = roundUp(mc / 2, tileRows);
    else break;
  }
  if (!l.accumulate)
    for (idx i = 0; i < count; i++)
      if (products[i].K == 0)
        for (idx r = 0; r < products[i].M; r++) zero(products[i].c + r * l.ldc, products[i].N * 4);
  auto block = [&](const Product& p, idx t, int thread) {
    const idx across = (p.N + nc - 1) / nc, i0 = t / across * mc, j0 = t % across * nc;
    productBlock(call, p, l, i0, min(mc, p.M - i0), j0, min(nc, p.N - j0), thread);
  };
  bool uniform = true;
  for (idx i = 1; i < count; i++) uniform = uniform && tasksOf(products[i]) == tasksOf(products[0]);
  auto task = [&](idx t, int thread) {
    idx i = uniform ? t / tasksOf(products[0]) : 0;
    if (uniform) t %= tasksOf(products[0]);
    for (; t >= tasksOf(products[i]); i++) t -= tasksOf(products[i]);
    block(products[i], t, thread);
  };
  if (work < 3e5)
    for (idx t = 0; t < tasks; t++) task(t, 0);
  else
    call.parallel(tasks, task);
}

static void matmul(const Call& call, bool accumulate) {
  const Tensor &a = call.t[0], &b = call.t[1], &c = call.t[2];
  const bool ta = call.attributeInt(0) != 0, tb = call.attributeInt(1) != 0;
  const int o = a.rank - 2;
  const idx batch = o ? a.d[0] : 1, M = c.d[o], N = c.d[o + 1], K = ta ? a.d[o] : a.d[o + 1];
  const Layout l = {ta, tb, accumulate, a.d[o + 1], b.d[o + 1], N};
  if (batch * M * N == 0) return;
  Product* products = (Product*)call.shared(batch * (idx)sizeof(Product));
  if (!products) return;
  for (idx i = 0; i < batch; i++) products[i] = {a.f() + i * M * K, b.f() + i * K * N, c.f() + i * M * N, M, N, K};
  runProducts(call, products, batch, l);
}

/** Rows of each expert from untrusted offsets: clamped, and never before the end of the expert before. */
static void expertRows(const Tensor& offsets, idx e, idx total, idx& end, idx& first, idx& count) {
  const idx begin = max(end, clamp(offsets.i()[e], 0, total)), stop = clamp(offsets.i()[e + 1], 0, total);
  first = begin;
  count = max(stop - begin, 0);
  end = max(end, stop);
}

static void groupedMatmul(const Call& call) {
  const Tensor &x = call.t[0], &w = call.t[1], &offsets = call.t[2], &y = call.t[3];
  const bool tw = call.attributeInt(0) != 0;
  const idx E = w.d[0], R = x.d[0], K = x.d[1], N = y.d[1];
  Product* products = (Product*)call.shared(E * (idx)sizeof(Product));
  if (!products) return;
  idx end = 0, covered = 0;
  for (idx e = 0; e < E; e++) {
    idx first, count;
    expertRows(offsets, e, R, end, first, count);
    if (count) {
      zero(y.f() + covered * N, (first - covered) * N * 4);
      covered = first + count;
    }
    products[e] = {x.f() + first * K, w.f() + e * K * N, y.f() + first * N, count, N, K};
  }
  zero(y.f() + covered * N, (R - covered) * N * 4);
  runProducts(call, products, E, {false, tw, false, K, tw ? K : N, N});
}

static void groupedMatmulGradWeight(const Call& call) {
  const Tensor &dy = call.t[0], &x = call.t[1], &offsets = call.t[2], &dw = call.t[3];
  const idx E = dw.d[0], N = dw.d[1], K = dw.d[2], R = x.d[0];
  Product* products = (Product*)call.shared(E * (idx)sizeof(Product));
  if (!products) return;
  idx end = 0;
  for (idx e = 0; e < E; e++) {
    idx first, count;
    expertRows(offsets, e, R, end, first, count);
    products[e] = {dy.f() + first * N, x.f() + first * K, dw.f() + e * N * K, N, K, count};
  }
  runProducts(call, products, E, {true, false, true, N, K, K});
}

}  // namespace MINKE_NS
