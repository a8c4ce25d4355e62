// Matrix products. Every f32 output is one chain of multiply-adds over ascending k: blocks of k reload the sum,
// tasks split rows and columns only, so neither the split nor the rows beside a row change its bits.
// `accumulate` starts the chain from what c holds, so gradients summed over two batches in turn equal the
// gradient of both at once.
//
// Panels: A in strips of up to `tileRows` rows, B in strips of two vectors, both k-major (Goto & van de Geijn,
// "Anatomy of high-performance matrix multiplication", 2008). Transposed operands differ only in packing. B is
// packed once for all row blocks where there are several, else by the block that needs it; packed weights
// are read as they are. Products of few rows, as in decoding, read B in place, in the same order.
#pragma once
#include "bfloat.h"
#include "memory.h"

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
/** Columns of a task: with `blockK` steps its panels of b fill two thirds of a second-level cache of 1 MB. */
constexpr idx blockColumns = 20 * tileColumns;
/** Columns of b packed at once: rows of b are then read in pieces of several cache lines. */
constexpr idx groupColumns = 4 * tileColumns;

constexpr idx lineFloats = 16;

/** Arithmetic of a tile: one f32 product a step. `Pairs` (bfloat.h) takes two bf16 products. */
struct Single {
  static constexpr idx depth = 1;
  MINKE_INLINE static vf splat(const float* p) { return MINKE_NS::splat(*p); }
  MINKE_INLINE static vf step(vf a, vf b, vf c) { return fma(a, b, c); }
};

/**
 * c[i][j] (+)= sum over k of a[i * RSA + k * CSA] b[k * ldb + j], i < R, j < V * W.
 * RSA or CSA 0 means the run-time stride. With MASKED, lane j takes part only while k < limits[j].
 * Meanwhile `lines` cache lines from `ahead`, which a later tile reads, move to the second-level cache.
 */
template <int R, int V, int RSA, int CSA, bool MASKED, class Op = Single>
static void tile(idx K, const float* __restrict__ a, idx rsa, idx csa, const float* __restrict__ b, idx ldb,
                 float* __restrict__ c, idx ldc, bool accumulate, const int32_t* limits, const float* ahead = nullptr,
                 idx lines = 0) {
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
    if (!MASKED && k < lines) __builtin_prefetch(ahead + k * lineFloats, 0, 2);
    vf row[V];
    MINKE_UNROLL
    for (int j = 0; j < V; j++) row[j] = load(b + j * W);
    vi take[V];
    if (MASKED)
      MINKE_UNROLL
      for (int j = 0; j < V; j++) take[j] = limit[j] > splati((int32_t)k);
    MINKE_UNROLL
    for (int i = 0; i < R; i++) {
      const vf x = Op::splat(a + i * rsa);
      MINKE_UNROLL
      for (int j = 0; j < V; j++)
        sum[i][j] = MASKED ? fmaWhere(take[j], x, row[j], sum[i][j]) : Op::step(x, row[j], sum[i][j]);
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
template <int R, int V, int RSA, int CSA, bool MASKED, class Op = Single>
static void tileUpTo(idx rows, idx K, const float* a, idx rsa, idx csa, const float* b, idx ldb, float* c, idx ldc,
                     bool accumulate, const int32_t* limits, const float* ahead = nullptr, idx lines = 0) {
  if (rows >= R)
    tile<R, V, RSA, CSA, MASKED, Op>(K, a, rsa, csa, b, ldb, c, ldc, accumulate, limits, ahead, lines);
  else if constexpr (R > 1)
    tileUpTo<R - 1, V, RSA, CSA, MASKED, Op>(rows, K, a, rsa, csa, b, ldb, c, ldc, accumulate, limits, ahead, lines);
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

/**
 * One product: c [M, N] (+)= op(a) op(b), b f32 or bf16, or packed weights of either. Strides are shared by a
 * batch. The others are of the plan: where its packed strips and panels and its tasks begin.
 */
struct Product {
  const float* a;
  const void* b;
  float* c;
  idx M, N, K;
  idx strips = 0, panels = 0, firstTask = 0;
};

struct Layout {
  bool transA, transB, accumulate;
  idx lda, ldb, ldc;
  bool bf16 = false, packed = false;
};

#if defined(__AVX512BF16__)
constexpr bool hasPairs = true;
#else
constexpr bool hasPairs = false;
#endif

/** Whether tiles read packed weights as they lie in memory; else they are widened into panels first. */
MINKE_INLINE bool readsPacked(const Layout& l) { return l.packed && (!l.bf16 || hasPairs); }

template <class Op>
MINKE_INLINE idx stepsOf(idx K) {
  return (K + Op::depth - 1) / Op::depth;
}

/** Strips of `height` rows of op(a), k-major, each row `tileRows` floats wide, strips `stride` apart. */
static void packRows(const Product& p, const Layout& l, idx i0, idx rows, idx height, idx k0, idx kc, float* to, idx stride) {
  if (kc <= 0) return;
  const idx strips = (rows + height - 1) / height;
  // Whole vectors reach into the next row: the last one stops where the strip does.
  if (!l.transA) {
    for (idx s = 0; s < strips; s++) {
      const idx n = min(height, rows - s * height);
      const float* from = p.a + (i0 + s * height) * l.lda + k0;
      float* strip = to + s * stride;
      transpose(from, l.lda, n, kc - 1, strip, tileRows, true);
      for (idx r = 0; r < n; r++) strip[(kc - 1) * tileRows + r] = from[r * l.lda + kc - 1];
    }
    return;
  }
  // Several strips at once: each row of a is read in one piece.
  constexpr idx atOnce = 8, wide = (tileRows + W - 1) / W * W;
  for (idx s0 = 0; s0 < strips; s0 += atOnce) {
    const idx end = min(s0 + atOnce, strips);
    for (idx k = 0; k < kc; k++) {
      const float* from = p.a + (k0 + k) * l.lda + i0;
      for (idx s = s0; s < end; s++) {
        const idx i = s * height;
        float* strip = to + s * stride + k * tileRows;
        if (k + 1 < kc && i0 + i + wide <= p.M) {
          MINKE_UNROLL
          for (idx j = 0; j < wide; j += W) store(strip + j, load(from + i + j));
        } else {
          copy(strip, from + i, min(height, rows - i) * 4);
        }
      }
    }
  }
}

/** `packRows` in steps of Op: numbers rounded to bf16 where the other side is. `spare` holds one strip. */
template <class Op>
static void packRowSteps(const Product& p, const Layout& l, idx i0, idx rows, idx height, idx s0, idx steps, float* spare, float* to, idx stride) {
  if constexpr (Op::depth == 1) {
    packRows(p, l, i0, rows, height, s0, steps, to, stride);
    if (!l.bf16) return;
    for (idx i = 0, strip = 0; i < rows; i += height, strip++)
      vectors(0, steps * tileRows, [&](auto io, idx x) {
        float* at = to + strip * stride + x;
        io.store(at, roundToBfloat(io.load(at)));
      });
  } else {
#if defined(__AVX512BF16__)
    const idx k0 = s0 * 2, kc = min(steps * 2, p.K - k0);
    for (idx i = 0, strip = 0; i < rows; i += height, strip++) {
      packRows(p, l, i0 + i, min(height, rows - i), height, k0, kc, spare, 0);
      if (kc < steps * 2) zero(spare + kc * tileRows, tileRows * 4);
      float* words = to + strip * stride;
      for (idx s = 0; s < steps; s++) {
        const float* from = spare + 2 * s * tileRows;
        const vf pair = pairUp(load(from), load(from + tileRows));
        if (s + 1 < steps) store(words + s * tileRows, pair);
        else storePart(words + s * tileRows, pair, tileRows);
      }
    }
#else
    (void)spare;
#endif
  }
}

/**
 * Panels of `tileColumns` columns of op(b), `stride` floats apart: columns j .. j + n, `steps` steps from s0.
 * The last panel is filled up with zeros.
 */
template <class Op>
static void packColumns(const Product& p, const Layout& l, idx j, idx n, idx s0, idx steps, float* to, idx stride) {
  if constexpr (Op::depth == 2) {
#if defined(__AVX512BF16__)
    const uint16_t* b = (const uint16_t*)p.b;
    const idx k0 = s0 * 2, kc = min(steps * 2, p.K - k0);
    for (idx x = 0; x < n; x += tileColumns) {
      float* panel = to + x / tileColumns * stride;
      const idx columns = min(tileColumns, n - x);
      if (l.transB) {
        for (idx s = 0; s < steps; s += W)
          for (idx half = 0; half < tileColumns; half += W) {
            vf turned[W];
            const idx left = kc - 2 * s;
            const uint16_t* from = b + (j + x + half) * l.ldb + k0 + 2 * s;
            MINKE_UNROLL
            for (idx r = 0; r < W; r++)
              turned[r] = half + r < columns ? (vf)loadHalves(from + r * l.ldb, left) : vf{};
            transposeRegisters(turned);
            for (idx r = 0; r < min(W, steps - s); r++) store(panel + (s + r) * tileColumns + half, turned[r]);
          }
      } else {
        typedef uint16_t halves __attribute__((vector_size(64)));
        for (idx s = 0; s < steps; s++) {
          const uint16_t* from = b + (k0 + 2 * s) * l.ldb + j + x;
          const halves first = (halves)loadHalves(from, columns);
          const halves second = (halves)(2 * s + 1 < kc ? loadHalves(from + l.ldb, columns) : loadHalves(from, 0));
          store(panel + s * tileColumns,
                (vf)__builtin_shufflevector(first, second, 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 8, 40, 9, 41,
                                            10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47));
          store(panel + s * tileColumns + W,
                (vf)__builtin_shufflevector(first, second, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55, 24,
                                            56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63));
        }
      }
    }
#endif
    return;
  }
  if (l.bf16 && l.packed) {
    const idx words = (p.K + 1) / 2;
    for (idx x = 0; x < n; x += tileColumns) {
      const idx column = j + x;
      const float* tile = (const float*)p.b + column / packedColumns * words * packedColumns + column % packedColumns;
      float* panel = to + x / tileColumns * stride;
      for (idx k = 0; k < steps; k++)
        for (idx v = 0; v < tileColumns; v += W) {
          const vi word = loadWords(tile + (s0 + k) / 2 * packedColumns + v);
          store(panel + k * tileColumns + v, widenBits((s0 + k) % 2 ? word & (int32_t)0xffff0000 : word << 16));
        }
    }
    return;
  }
  if (l.bf16) {
    const uint16_t* b = (const uint16_t*)p.b;
    for (idx x = 0; x < n; x += tileColumns) {
      float* panel = to + x / tileColumns * stride;
      const idx columns = min(tileColumns, n - x);
      if (l.transB) {
        float wide[tileColumns * 64];
        for (idx k = 0; k < steps; k += 64) {
          const idx some = min(64, steps - k);
          for (idx r = 0; r < columns; r++) widenRow(b + (j + x + r) * l.ldb + s0 + k, some, wide + r * 64);
          transpose(wide, 64, columns, some, panel + k * tileColumns, tileColumns, true);
          if (columns <= tileColumns - W)
            for (idx q = 0; q < some; q++) store(panel + (k + q) * tileColumns + W, vf{});
        }
      } else {
        for (idx k = 0; k < steps; k++) {
          if (columns < tileColumns) zero(panel + k * tileColumns, tileColumns * 4);
          widenRow(b + (s0 + k) * l.ldb + j + x, columns, panel + k * tileColumns);
        }
      }
    }
    return;
  }
  const float* b = (const float*)p.b;
  if (l.transB) {
    for (idx x = 0; x < n; x += tileColumns)
      transpose(b + (j + x) * l.ldb + s0, l.ldb, min(tileColumns, n - x), steps, to + x / tileColumns * stride, tileColumns, true);
    return;
  }
  for (idx k = 0; k < steps; k++) {
    const float* from = b + (s0 + k) * l.ldb + j;
    float* panel = to + k * tileColumns;
    idx x = 0;
    for (; x + tileColumns <= n; x += tileColumns, panel += stride) {
      store(panel, load(from + x));
      store(panel + W, load(from + x + W));
    }
    if (x < n) vectors(x, n, [&](auto io, idx y) { store(panel + y - x, io.load(from + y)); });
  }
}

/** Rows up to which packed weights are read in one pass, several tiles side by side. */
constexpr int packedRows = W == 16 ? 8 : 4;

/** c[i][..] = a[i] b for V vectors of columns in neighbouring tiles: every chain of additions at once. */
template <class Op, int R, int V>
static void packedTile(idx steps, const float* a, idx rsa, const float* b, idx tileStride, float* c, idx ldc, idx n) {
  constexpr int perTile = packedColumns / W, tiles = V > perTile ? V / perTile : 1;
  const float* from[tiles];
  for (int t = 0; t < tiles; t++) from[t] = b + t * tileStride;
  vf sum[R][V];
  MINKE_UNROLL
  for (int i = 0; i < R; i++)
    MINKE_UNROLL
    for (int v = 0; v < V; v++) sum[i][v] = vf{};
  for (idx s = 0; s < steps; s++) {
    vf row[V];
    MINKE_UNROLL
    for (int v = 0; v < V; v++) row[v] = load(from[v / perTile] + s * packedColumns + v % perTile * W);
    MINKE_UNROLL
    for (int i = 0; i < R; i++) {
      const vf x = Op::splat(a + i * rsa + s);
      MINKE_UNROLL
      for (int v = 0; v < V; v++) sum[i][v] = Op::step(x, row[v], sum[i][v]);
    }
  }
  for (int i = 0; i < R; i++)
    for (int v = 0; v < V && v * W < n; v++)
      if (n >= (v + 1) * W) store(c + i * ldc + v * W, sum[i][v]);
      else storePart(c + i * ldc + v * W, sum[i][v], n - v * W);
}

/** `productBlock` of few rows and packed weights. */
template <class Op, int R>
static void packedThin(idx rows, idx steps, const float* a, idx rsa, const float* b, idx tileStride, float* c, idx ldc, idx j0, idx nc) {
  if constexpr (R > 1)
    if (rows < R) return packedThin<Op, R - 1>(rows, steps, a, rsa, b, tileStride, c, ldc, j0, nc);
  constexpr int many = R == 1 || (W == 16 && R == 2) ? 8 : R == 2 || (W == 16 && R <= 4) ? 4 : 2, few = 2;
  const idx end = j0 + nc;
  auto at = [&](idx j) { return b + j / packedColumns * tileStride + j % packedColumns; };
  idx j = j0;
  for (; j < end && roundUp(end - j, packedColumns) >= many * W; j += many * W)
    packedTile<Op, R, many>(steps, a, rsa, at(j), tileStride, c + j, ldc, end - j);
  for (; j < end; j += few * W) packedTile<Op, R, few>(steps, a, rsa, at(j), tileStride, c + j, ldc, end - j);
}

template <class Op>
static void packedBlock(const Call& call, const Product& p, const Layout& l, idx i0, idx mc, idx j0, idx nc, int thread) {
  const idx steps = stepsOf<Op>(p.K);
  const float* a = p.a + i0 * l.lda;
  idx rsa = l.lda;
  if constexpr (Op::depth == 2) {
#if defined(__AVX512BF16__)
    rsa = roundUp(steps, 2 * W);
    float* words = (float*)call.local(thread, mc * rsa * 4);
    if (!words) return;
    for (idx r = 0; r < mc; r++)
      for (idx k = 0; k < p.K; k += 32) {
        const float* from = a + r * l.lda + k;
        const idx left = p.K - k;
        const vf low = loadPart(from, min(W, left)), high = left > W ? loadPart(from + W, min(W, left - W)) : vf{};
        _mm512_storeu_si512(words + r * rsa + k / 2, (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low));
      }
    a = words;
#endif
  }
  (void)call, (void)thread;
  packedThin<Op, packedRows>(mc, steps, a, rsa, (const float*)p.b, steps * packedColumns, p.c + i0 * l.ldc, l.ldc, j0, nc);
}

/**
 * Steps s0 .. s0 + steps, and what has been packed of them for all blocks: strips of op(a), panels of op(b), or null.
 * `blockK` steps of all strips lie together, and of all panels: those of one task then fall into different cache sets.
 */
struct Depth {
  idx s0, steps;
  const float *strips, *panels;
  idx stripsHeight, panelWidth;
};

/** `productBlock` for few rows. The sums move close together: rows of c a power of two apart share cache sets. */
static void inPlaceBlock(const Call& call, const Product& p, const Layout& l, idx i0, idx mc, idx j0, idx nc, const Depth& d,
                         int thread) {
  const idx stride = nc + W, rsa = l.transA ? 1 : l.lda, csa = l.transA ? l.lda : 1;
  const bool load_ = l.accumulate || d.s0 > 0;
  const float *a = p.a + i0 * rsa + d.s0 * csa, *b = (const float*)p.b + (l.transB ? j0 * l.ldb + d.s0 : d.s0 * l.ldb + j0);
  float* c = p.c + i0 * l.ldc + j0;
  if constexpr (directLimit > 0)
    if (!l.transB && mc > streamedRows) return directProduct(mc, d.steps, a, rsa, csa, b, l.ldb, c, l.ldc, nc, load_);
  float* sums = (float*)call.local(thread, mc * stride * 4);
  if (!sums) return;
  for (idx r = 0; r < mc; r++)
    if (load_) copy(sums + r * stride, c + r * l.ldc, nc * 4);
    else zero(sums + r * stride, nc * 4);
  if (l.transB) thinTransposed<thinRows>(mc, d.steps, a, rsa, csa, b, l.ldb, sums, stride, nc);
  else thin<streamedRows>(mc, d.steps, a, rsa, csa, b, l.ldb, sums, stride, nc);
  for (idx r = 0; r < mc; r++) copy(c + r * l.ldc, sums + r * stride, nc * 4);
}

/** Rows i0 .. i0 + mc and columns j0 .. j0 + nc of one product. */
template <class Op>
static void productBlock(const Call& call, const Product& p, const Layout& l, idx i0, idx mc, idx j0, idx nc, const Depth& d, int thread) {
  if (mc <= packedRows && readsPacked(l)) return packedBlock<Op>(call, p, l, i0, mc, j0, nc, thread);
  if (!l.bf16 && !l.packed && !d.panels && mc <= inPlaceRows(l.transB))
    return inPlaceBlock(call, p, l, i0, mc, j0, nc, d, thread);
  const bool direct = readsPacked(l);
  const idx strips = (mc + tileRows - 1) / tileRows, height = d.strips ? tileRows : (mc + strips - 1) / strips;
  const idx depth = min(d.steps, blockK), group = direct || d.panels ? 0 : min(roundUp(nc, tileColumns), groupColumns);
  const idx rowsSize = d.strips ? 0 : roundUp(strips * tileRows * depth, W), columnsSize = roundUp(depth * group + W, W);
  const idx spareSize = Op::depth == 2 && !d.strips ? roundUp(2 * depth * tileRows + 2 * W, W) : 0;
  float* rows = (float*)call.local(thread, (rowsSize + columnsSize + spareSize + tileRows * tileColumns) * 4);
  if (!rows) return;
  float *columns = rows + rowsSize, *spare = columns + columnsSize, *edge = spare + spareSize;
  for (idx s = d.s0; s < d.s0 + d.steps; s += blockK) {
    const idx steps = min(blockK, d.s0 + d.steps - s);
    const bool load_ = l.accumulate || s > 0;
    if (!d.strips) packRowSteps<Op>(p, l, i0, mc, height, s, steps, spare, rows, tileRows * steps);
    auto panelAt = [&](idx j) -> const float* {
      if (direct)
        return (const float*)p.b + ((j0 + j) / packedColumns * stepsOf<Op>(p.K) + s) * packedColumns + (j0 + j) % packedColumns;
      if (d.panels) return d.panels + (s - d.s0) * d.panelWidth + (j0 + j) * steps;
      if (j % group == 0) packColumns<Op>(p, l, j0 + j, min(group, nc - j), s, steps, columns, steps * tileColumns);
      return columns + j % group * steps;
    };
    auto stripAt = [&](idx i) {
      return d.strips ? d.strips + (s - d.s0) * d.stripsHeight + (i0 + i) * steps : rows + i / height * tileRows * steps;
    };
    const idx ldb = direct ? packedColumns : tileColumns;
    auto tileAt = [&](idx i, idx j, const float* a, const float* panel, const float* ahead, idx lines) {
      const idx m = min(height, mc - i), n = min(tileColumns, nc - j);
      float* c = p.c + (i0 + i) * l.ldc + j0 + j;
      if (n == tileColumns) {
        tileUpTo<tileRows, 2, 1, tileRows, false, Op>(m, steps, a, 1, tileRows, panel, ldb, c, l.ldc, load_, nullptr, ahead, lines);
        return;
      }
      if (n == W) {
        tileUpTo<tileRows, 1, 1, tileRows, false, Op>(m, steps, a, 1, tileRows, panel, ldb, c, l.ldc, load_, nullptr);
        return;
      }
      if (load_)
        for (idx r = 0; r < m; r++) copy(edge + r * tileColumns, c + r * l.ldc, n * 4);
      if (n < W)
        tileUpTo<tileRows, 1, 1, tileRows, false, Op>(m, steps, a, 1, tileRows, panel, ldb, edge, tileColumns, load_, nullptr);
      else
        tileUpTo<tileRows, 2, 1, tileRows, false, Op>(m, steps, a, 1, tileRows, panel, ldb, edge, tileColumns, load_, nullptr);
      for (idx r = 0; r < m; r++) copy(c + r * l.ldc, edge + r * tileColumns, n * 4);
    };
    if (d.panels) {
      // The panels stay in the second-level cache, one strip in the first; c is written along its rows.
      const idx across = (nc + tileColumns - 1) / tileColumns, lines = (tileRows * steps / lineFloats + across) / across;
      for (idx i = 0; i < mc; i += height) {
        const float *a = stripAt(i), *next = a + tileRows * steps;
        for (idx j = 0; j < nc; j += tileColumns, next += lines * lineFloats) tileAt(i, j, a, panelAt(j), next, lines);
      }
    } else {
      for (idx j = 0; j < nc; j += tileColumns) {
        const float* panel = panelAt(j);
        for (idx i = 0; i < mc; i += height) tileAt(i, j, stripAt(i), panel, nullptr, 0);
      }
    }
  }
}

/** Floats packed for all blocks of a round: 16 MB, which the last-level cache holds. */
constexpr idx sharedLimit = 4 << 20;

/** Room for `count` products, or null when there is none. */
static Product* reserveProducts(const Call& call, idx count) { return (Product*)call.shared(count * (idx)sizeof(Product)); }

/** How a batch of products is cut: blocks of mc x nc, and what is packed once for all of them. */
struct Plan {
  idx mc, nc, tasks;
  bool shareRows, shareColumns;
  idx across(const Product& p) const { return (p.N + nc - 1) / nc; }
  idx tasksOf(const Product& p) const { return p.K == 0 ? 0 : (p.M + mc - 1) / mc * across(p); }
};

static Plan planBlocks(Product* products, idx count, const Layout& l, double work, idx tallest, idx widest) {
  Plan plan = {};
  const bool direct = readsPacked(l), single = tallest <= 8 * tileRows;
  const bool inPlace = !l.bf16 && !l.packed && tallest <= inPlaceRows(l.transB);
  const idx leastRows = 2 * tileRows, leastColumns = direct ? 4 * packedColumns : single ? 2 * tileColumns : 4 * tileColumns;
  const idx wanted = single ? 8 : 16;
  plan.mc = min(roundUp(tallest, tileRows), 20 * tileRows);
  plan.nc = min(roundUp(widest, tileColumns), single ? 512 : blockColumns);
  auto cut = [&] {
    plan.tasks = 0;
    for (idx i = 0; i < count; i++) {
      products[i].firstTask = plan.tasks;
      plan.tasks += plan.tasksOf(products[i]);
    }
    return plan.tasks;
  };
  while (cut() < wanted && work / (double)plan.tasks > 1e6) {
    const bool rows = !inPlace && plan.mc > leastRows && plan.mc >= 4 * tileRows, columns = plan.nc > leastColumns;
    if (rows && (plan.mc >= (single ? plan.nc : plan.nc / 4) || !columns)) plan.mc = roundUp(plan.mc / 2, tileRows);
    else if (columns) plan.nc = roundUp(plan.nc / 2, leastColumns);
    else break;
  }
  // Equal parts: a small last one leaves a thread idle.
  const idx down = (tallest + plan.mc - 1) / plan.mc, across = (widest + plan.nc - 1) / plan.nc;
  plan.mc = roundUp((tallest + down - 1) / down, tileRows);
  plan.nc = roundUp((widest + across - 1) / across, direct ? packedColumns : tileColumns);
  cut();
  plan.shareColumns = !direct && tallest > plan.mc && roundUp(widest, tileColumns) * blockK <= sharedLimit;
  const idx width = plan.shareColumns ? roundUp(widest, tileColumns) : 0;
  plan.shareRows = widest > plan.nc && tallest > thinRows && !inPlace && (roundUp(tallest, tileRows) + width) * blockK <= sharedLimit;
  return plan;
}

/** Runs a batch of products of equal N. */
template <class Op>
static void runSteps(const Call& call, Product* products, idx count, const Layout& l) {
  double work = 0;
  idx tallest = 0, widest = 0;
  for (idx i = 0; i < count; i++) {
    const Product& p = products[i];
    work += 2.0 * (double)p.M * (double)p.N * (double)p.K;
    tallest = max(tallest, p.M);
    widest = max(widest, p.N);
    if (p.K == 0 && !l.accumulate)
      for (idx r = 0; r < p.M; r++) zero(p.c + r * l.ldc, p.N * 4);
  }
  if (work == 0) return;
  const Plan plan = planBlocks(products, count, l, work, tallest, widest);
  auto run = [&](idx amount, auto body) {
    if (work < 3e5)
      for (idx t = 0; t < amount; t++) body(t, 0);
    else
      call.parallel(amount, body);
  };
  const idx panelWidth = plan.shareColumns ? roundUp(widest, tileColumns) : 0;
  auto stripsHeight = [&](const Product& p) { return plan.shareRows ? roundUp(p.M, tileRows) : 0; };
  auto packedWidth = [&](const Product& p) { return p.M == 0 ? 0 : stripsHeight(p) + panelWidth; };
  idx floats = 0;
  for (idx i = 0; i < count && floats < sharedLimit; i++) floats += stepsOf<Op>(products[i].K) * packedWidth(products[i]);
  float* packed = floats ? (float*)call.packing(min(floats, sharedLimit) * 4) : nullptr;
  if (floats && !packed) return;
  for (idx first = 0, s0 = 0; first < count;) {
    // A round: as many whole products as there is room for, or a part of the depth of one.
    idx end = first, used = 0, part = 0;
    for (; end < count; end++) {
      Product& p = products[end];
      const idx left = stepsOf<Op>(p.K) - s0, each = packedWidth(p);
      if (end > first && (s0 > 0 || used + left * each > sharedLimit)) break;
      part = each * left <= sharedLimit ? left : sharedLimit / each / blockK * blockK;
      p.strips = used;
      p.panels = used + stripsHeight(p) * part;
      used += part * each;
      if (part < left) {
        end++;
        break;
      }
    }
    auto stepsIn = [&](const Product& p) { return end == first + 1 ? part : stepsOf<Op>(p.K); };
    // Packing: pieces of eight strips or of `groupColumns` columns, `blockK` steps deep; smaller ones where they are few.
    const bool few = floats <= 1 << 18;
    const idx pieceRows = (few ? 4 : 8) * tileRows, pieceColumns = few ? groupColumns / 2 : groupColumns;
    const idx groups = panelWidth ? (widest + pieceColumns - 1) / pieceColumns : 0;
    auto rowPieces = [&](const Product& p) { return plan.shareRows ? (p.M + pieceRows - 1) / pieceRows : 0; };
    auto piecesOf = [&](const Product& p) {
      return p.M == 0 ? 0 : (stepsIn(p) + blockK - 1) / blockK * (rowPieces(p) + groups);
    };
    idx pieces = 0;
    for (idx i = first; i < end; i++) pieces += piecesOf(products[i]);
    run(pieces, [&](idx t, int thread) {
      idx i = first;
      for (; t >= piecesOf(products[i]); i++) t -= piecesOf(products[i]);
      const Product& p = products[i];
      const idx each = rowPieces(p) + groups, s = t / each * blockK, steps = stepsIn(p), some = min(blockK, steps - s);
      t %= each;
      if (t < rowPieces(p)) {
        const idx row = t * pieceRows;
        float* spare = Op::depth == 1 ? packed : (float*)call.local(thread, (2 * blockK * tileRows + 2 * W) * 4);
        if (spare)
          packRowSteps<Op>(p, l, row, min(pieceRows, p.M - row), tileRows, s0 + s, some, spare,
                           packed + p.strips + s * stripsHeight(p) + row * some, some * tileRows);
      } else {
        const idx j = (t - rowPieces(p)) * pieceColumns;
        packColumns<Op>(p, l, j, min(pieceColumns, p.N - j), s0 + s, some, packed + p.panels + s * panelWidth + j * some, some * tileColumns);
      }
    });
    const idx firstTask = products[first].firstTask, lastTask = end < count ? products[end].firstTask : plan.tasks;
    run(lastTask - firstTask, [&](idx t, int thread) {
      idx i = first;
      while (i + 1 < end && products[i + 1].firstTask <= firstTask + t) i++;
      const Product& p = products[i];
      t -= p.firstTask - firstTask;
      const idx i0 = t / plan.across(p) * plan.mc, j0 = t % plan.across(p) * plan.nc;
      const Depth d = {s0, stepsIn(p), plan.shareRows ? packed + p.strips : nullptr, panelWidth ? packed + p.panels : nullptr,
                       stripsHeight(p), panelWidth};
      productBlock<Op>(call, p, l, i0, min(plan.mc, p.M - i0), j0, min(plan.nc, p.N - j0), d, thread);
    });
    const bool whole = s0 + part == stepsOf<Op>(products[end - 1].K);
    first = whole ? end : first;
    s0 = whole ? 0 : s0 + part;
  }
}

static void runProducts(const Call& call, Product* products, idx count, const Layout& l) {
#if defined(__AVX512BF16__)
  if (l.bf16) return runSteps<Pairs>(call, products, count, l);
#endif
  runSteps<Single>(call, products, count, l);
}

static void matmul(const Call& call, bool accumulate) {
  const Tensor &a = call.t[0], &b = call.t[1], &c = call.t[2];
  const bool ta = call.attributeInt(0) != 0, tb = call.attributeInt(1) != 0, bf16 = b.dtype == BF16;
  const int o = a.rank - 2;
  const idx batch = o ? a.d[0] : 1, M = c.d[o], N = c.d[o + 1], K = ta ? a.d[o] : a.d[o + 1];
  const Layout l = {ta, tb, accumulate, a.d[o + 1], b.d[o + 1], N, bf16, false};
  if (batch * M * N == 0) return;
  Product* products = reserveProducts(call, batch);
  if (!products) return;
  for (idx i = 0; i < batch; i++)
    products[i] = {a.f() + i * M * K, b.p + i * K * N * (bf16 ? 2 : 4), c.f() + i * M * N, M, N, K, 0, 0, 0};
  runProducts(call, products, batch, l);
}

/** x [M, K] times packed weights [T, S, C], N columns. */
static void matmulPacked(const Call& call) {
  const Tensor &x = call.t[0], &w = call.t[1], &y = call.t[2];
  const idx M = x.d[0], K = x.d[1], N = y.d[1];
  if (M * N == 0) return;
  Product* products = reserveProducts(call, 1);
  if (!products) return;
  products[0] = {x.f(), w.p, y.f(), M, N, K, 0, 0, 0};
  runProducts(call, products, 1, {false, false, false, K, 0, N, w.dtype == BF16, true});
}

/** Rows of each expert from untrusted offsets: clamped, and never before the end of the expert before. */
static void expertRows(const Tensor& offsets, idx e, idx total, idx& end, idx& first, idx& count) {
  const idx begin = max(end, clamp(offsets.i()[e], 0, total)), stop = clamp(offsets.i()[e + 1], 0, total);
  first = begin;
  count = max(stop - begin, 0);
  end = max(end, stop);
}

/** The rows of each expert times its weight; rows of no expert are zeros. */
static void groupedProducts(const Call& call, idx E, idx weightBytes, const Layout& l) {
  const Tensor &x = call.t[0], &w = call.t[1], &offsets = call.t[2], &y = call.t[3];
  const idx R = x.d[0], K = x.d[1], N = y.d[1];
  Product* products = reserveProducts(call, E);
  if (!products) return;
  idx end = 0, covered = 0;
  for (idx e = 0; e < E; e++) {
    idx first, count;
    expertRows(offsets, e, R, end, first, count);
    if (count) {
      zero(y.f() + covered * N, (first - covered) * N * 4);
      covered = first + count;
    }
    products[e] = {x.f() + first * K, w.p + e * weightBytes, y.f() + first * N, count, N, K, 0, 0, 0};
  }
  zero(y.f() + covered * N, (R - covered) * N * 4);
  runProducts(call, products, E, l);
}

static void groupedMatmul(const Call& call) {
  const Tensor& w = call.t[1];
  const bool tw = call.attributeInt(0) != 0, bf16 = w.dtype == BF16;
  const idx K = call.t[0].d[1], N = call.t[3].d[1];
  groupedProducts(call, w.d[0], K * N * (bf16 ? 2 : 4), {false, tw, false, K, tw ? K : N, N, bf16, false});
}

static void groupedMatmulPacked(const Call& call) {
  const Tensor& w = call.t[1];
  const bool bf16 = w.dtype == BF16;
  const idx K = call.t[0].d[1], N = call.t[3].d[1];
  groupedProducts(call, w.d[0], w.d[1] * w.d[2] * w.d[3] * (bf16 ? 2 : 4), {false, false, false, K, 0, N, bf16, true});
}

static void groupedMatmulGradWeight(const Call& call) {
  const Tensor &dy = call.t[0], &x = call.t[1], &offsets = call.t[2], &dw = call.t[3];
  const idx E = dw.d[0], N = dw.d[1], K = dw.d[2], R = x.d[0];
  Product* products = reserveProducts(call, E);
  if (!products) return;
  idx end = 0;
  for (idx e = 0; e < E; e++) {
    idx first, count;
    expertRows(offsets, e, R, end, first, count);
    products[e] = {dy.f() + first * N, x.f() + first * K, dw.f() + e * N * K, N, K, count, 0, 0, 0};
  }
  runProducts(call, products, E, {true, false, true, N, K, K, false, false});
}

/**
 * w [N, K] (or [E, N, K]), f32 or bf16, as tiles of 32 columns: f32 [T, K, 32]; bf16 [T, ceil(K / 2), 64], the
 * two k of a pair beside each other. What has no element is zero.
 */
static void packWeight(const Call& call) {
  const Tensor &w = call.t[0], &packed = call.t[1];
  const int o = w.rank - 2;
  const bool bf16 = w.dtype == BF16;
  const idx E = o ? w.d[0] : 1, N = w.d[o], K = w.d[o + 1], T = packed.d[o], S = packed.d[o + 1];
  call.pieces(E * T, S * packedColumns, [&](idx begin, idx end, int) {
    for (idx t = begin; t < end; t++) {
      const idx e = t / T, j = t % T * packedColumns, n = min(packedColumns, N - j);
      if (!bf16) {
        float* to = packed.f() + t * S * packedColumns;
        if (n < packedColumns) zero(to, S * packedColumns * 4);
        transpose(w.f() + (e * N + j) * K, K, n, K, to, packedColumns, false);
        continue;
      }
      const uint16_t* from = (const uint16_t*)w.p + (e * N + j) * K;
      uint16_t* to = (uint16_t*)packed.p + t * S * packedColumns * 2;
      if (n < packedColumns || K % 2) zero(to, S * packedColumns * 4);
      for (idx k = 0; k < K; k++)
        for (idx c = 0; c < n; c++) to[(k / 2 * packedColumns + c) * 2 + k % 2] = from[c * K + k];
    }
  }, 1 << 16);
}

}  // namespace MINKE_NS
