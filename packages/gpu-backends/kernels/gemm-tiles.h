// The register tile of matrix products, over panels whose strides are known, and the sizes that everything is cut into.
#pragma once
#include "bfloat.h"
#include "memory.h"

namespace MINKE_NS {

#if defined(__AVX512F__)
constexpr int tileRows = 12;
#elif defined(__AVX2__)
constexpr int tileRows = 6;
#elif defined(__ARM_NEON)
constexpr int tileRows = 12;
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
  /** Step k of the lanes whose limit is beyond it. */
  MINKE_INLINE static vf stepUpTo(vi limits, idx k, vf a, vf b, vf c) { return fmaWhere(limits > splati((int32_t)k), a, b, c); }
};

#if defined(__wasm__)
/**
 * K > 0 steps of a tile. V8 puts the loads of a turn before its arithmetic, so more than one step a turn, or more than
 * four rows, would not fit its registers. Two pointers and no counter, which the compiler must not see through: it would
 * make a pointer of each row, and addresses of one pointer and constants cost nothing.
 */
template <int R, int V, int RSA, int CSA, int LDB, class Op>
MINKE_INLINE void tileLoop(idx K, const float* a, const float* b, vf (&sum)[R][V]) {
  const float* end = a + K * CSA;
  do {
    asm("" : "+r"(a), "+r"(b));
    vf row[V];
    MINKE_UNROLL
    for (int j = 0; j < V; j++) row[j] = load(b + j * W);
    MINKE_UNROLL
    for (int i = 0; i < R; i++) {
      const vf x = Op::splat(a + i * RSA);
      MINKE_UNROLL
      for (int j = 0; j < V; j++) sum[i][j] = Op::step(x, row[j], sum[i][j]);
    }
    a += CSA;
    b += LDB;
  } while (a != end);
}
#endif

/**
 * c[i][j] (+)= sum over k of a[i * RSA + k * CSA] b[k * ldb + j], i < R, j < V * W.
 * RSA or CSA 0 means the run-time stride. With MASKED, lane j takes part only in products before limits[j].
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
#if defined(__wasm__)
  if constexpr (!MASKED && RSA && CSA) {
    if (K > 0 && ldb == tileColumns) tileLoop<R, V, RSA, CSA, tileColumns, Op>(K, a, b, sum);
    else if (K > 0) tileLoop<R, V, RSA, CSA, packedColumns, Op>(K, a, b, sum);
    K = 0;
  }
#endif
  for (idx k = 0; k < K; k++) {
    if (!MASKED && k < lines) __builtin_prefetch(ahead + k * lineFloats, 0, 2);
    vf row[V];
    MINKE_UNROLL
    for (int j = 0; j < V; j++) row[j] = load(b + j * W);
#if defined(__ARM_NEON)
    if constexpr (RSA == 1 && CSA > 0 && CSA % W == 0 && !MASKED) {  // a column of a strip: four rows a vector
      vf column[(R + W - 1) / W];
      MINKE_UNROLL
      for (int i = 0; i < R; i += W) column[i / W] = load(a + i);
      unrolled<R>([&](auto number) __attribute__((always_inline)) {
        constexpr int i = decltype(number)::value;
        MINKE_UNROLL
        for (int j = 0; j < V; j++) sum[i][j] = fmaLane<i % W>(row[j], column[i / W], sum[i][j]);
      });
      a += csa;
      b += ldb;
      continue;
    }
#endif
    MINKE_UNROLL
    for (int i = 0; i < R; i++) {
      const vf x = Op::splat(a + i * rsa);
      MINKE_UNROLL
      for (int j = 0; j < V; j++)
        sum[i][j] = MASKED ? Op::stepUpTo(limit[j], k, x, row[j], sum[i][j]) : Op::step(x, row[j], sum[i][j]);
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

}  // namespace MINKE_NS
