// What multi-head latent attention does around attention (DeepSeek-V2, arXiv 2405.04434, section 2.1): keys and
// values of every head from their joint projection in one pass over memory, with its gradient, and the two
// products of the absorbed form, which read their half of each head's weights in place.
#pragma once
#include "gemm.h"

namespace MINKE_NS {

MINKE_INLINE void copyFloats(float* to, const float* from, idx count) {
  vectors(0, count, [&](auto io, idx c) { io.store(to + c, io.load(from + c)); });
}

static void expandKeys(const Call& call) {
  const Tensor &up = call.t[0], &shared = call.t[1], &k = call.t[2], &v = call.t[3];
  const idx H = up.d[1], C = up.d[2], P = shared.d[1], D = k.d[2], E = v.d[2], nope = D - P;
  call.pieces(up.d[0], H * (D + E), [&](idx b, idx e, int) {
    for (idx row = b * H; row < e * H; row++) {
      const float* from = up.f() + row * C;
      copyFloats(k.f() + row * D, from, nope);
      copyFloats(k.f() + row * D + nope, shared.f() + row / H * P, P);
      copyFloats(v.f() + row * E, from + nope, E);
    }
  });
}

static void expandKeysGrad(const Call& call) {
  const Tensor &dk = call.t[0], &dv = call.t[1], &dup = call.t[2], &dshared = call.t[3];
  const idx H = dk.d[1], D = dk.d[2], E = dv.d[2], C = dup.d[2], P = dshared.d[1], nope = D - P;
  call.pieces(dk.d[0], H * (D + E), [&](idx b, idx e, int) {
    for (idx m = b; m < e; m++) {
      for (idx row = m * H; row < (m + 1) * H; row++) {
        copyFloats(dup.f() + row * C, dk.f() + row * D, nope);
        copyFloats(dup.f() + row * C + nope, dv.f() + row * E, E);
      }
      vectors(0, P, [&](auto io, idx c) {
        vf sum = {};
        for (idx h = 0; h < H; h++) sum += io.load(dk.f() + (m * H + h) * D + nope + c);
        io.store(dshared.f() + m * P + c, sum);
      });
    }
  });
}

static void absorbQuery(const Call& call) {
  const Tensor &q = call.t[0], &w = call.t[1], &y = call.t[2];
  const idx N = q.d[0], H = q.d[1], C = q.d[2], A = w.d[1], R = w.d[2], nope = call.attributeInt(0), Y = y.d[2];
  if (N * H == 0) return;
  Product* products = reserveProducts(call, H);
  if (!products) return;
  for (idx h = 0; h < H; h++) products[h] = {q.f() + h * C, w.f() + h * A * R, y.f() + h * Y, N, R, nope};
  runProducts(call, products, H, {false, false, false, H * C, R, H * Y});
  call.pieces(N * H, C - nope, [&](idx b, idx e, int) {
    for (idx row = b; row < e; row++) copyFloats(y.f() + row * Y + R, q.f() + row * C + nope, C - nope);
  });
}

static void absorbOutput(const Call& call) {
  const Tensor &z = call.t[0], &w = call.t[1], &y = call.t[2];
  const idx N = z.d[0], H = z.d[1], R = z.d[2], A = w.d[1], start = call.attributeInt(0), Y = y.d[2];
  if (N * H == 0) return;
  Product* products = reserveProducts(call, H);
  if (!products) return;
  for (idx h = 0; h < H; h++) products[h] = {z.f() + h * R, w.f() + (h * A + start) * R, y.f() + h * Y, N, Y, R};
  runProducts(call, products, H, {false, true, false, H * R, R, H * Y});
}

}  // namespace MINKE_NS
