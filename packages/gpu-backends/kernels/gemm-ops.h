// The ops of matrix products, of one matrix and of the rows of each expert, and the packing of weights for them.
#pragma once
#include "gemm.h"

namespace MINKE_NS {

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
