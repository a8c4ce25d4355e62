// Smoothing of rows along chains (H-Net, arXiv 2507.07955, equation 5) and its gradient.
//
// Rows follow one another, columns are independent: a task owns a strip of columns. Two products and a sum, each
// rounded, so a row computed alone from the row before has the same bits.
#pragma once
#include "ops.gen.h"
#include "runtime.h"

namespace MINKE_NS {

constexpr idx smoothStrip = 64;

/** `body(c0, c1)` for strips of columns; a strip costs all its rows. */
template <class F>
static void columnStrips(const Call& call, idx rows, idx width, F body) {
  call.pieces((width + smoothStrip - 1) / smoothStrip, rows * smoothStrip, [&](idx b, idx e, int) {
    body(b * smoothStrip, min(width, e * smoothStrip));
  });
}

static void smoothRows(const Call& call) {
  const Tensor& x = call.t[0];
  const float* g = call.t[1].f();
  const int32_t* starts = call.t[2].i();
  float* y = call.t[3].f();
  const idx N = x.d[0], D = x.d[1];
  columnStrips(call, N, D, [&](idx c0, idx c1) {
    for (idx n = 0; n < N; n++) {
      const float* from = x.f() + n * D;
      float* to = y + n * D;
      if (n == 0 || starts[n]) {
        copy(to + c0, from + c0, (c1 - c0) * 4);
        continue;
      }
      const vf own = splat(g[n]), rest = splat(1 - g[n]);
      vectors(c0, c1, [&](auto io, idx i) { io.store(to + i, own * io.load(from + i) + rest * io.load(to - D + i)); });
    }
  });
}

static void smoothRowsGrad(const Call& call) {
  const Tensor& x = call.t[0];
  const float* g = call.t[1].f();
  const int32_t* starts = call.t[2].i();
  const float *y = call.t[3].f(), *dy = call.t[4].f();
  float *dx = call.t[5].f(), *dg = call.t[6].f();
  const idx N = x.d[0], D = x.d[1];
  // What reaches each row, from the last to the first, in the place of dx.
  columnStrips(call, N, D, [&](idx c0, idx c1) {
    for (idx n = N - 1; n >= 0; n--) {
      float* to = dx + n * D;
      const float* from = dy + n * D;
      if (n + 1 == N || starts[n + 1]) {
        copy(to + c0, from + c0, (c1 - c0) * 4);
        continue;
      }
      const vf rest = splat(1 - g[n + 1]);
      vectors(c0, c1, [&](auto io, idx i) { io.store(to + i, io.load(from + i) + rest * io.load(to + D + i)); });
    }
  });
  call.pieces(N, D * 3, [&](idx b, idx e, int) {
    for (idx n = b; n < e; n++) {
      if (n == 0 || starts[n]) {
        dg[n] = 0;
        continue;
      }
      float* row = dx + n * D;
      const float *own = x.f() + n * D, *before = y + (n - 1) * D;
      const vf scale = splat(g[n]);
      vf sum = {};
      vectors(0, D, [&](auto io, idx i) {
        const vf c = io.load(row + i);
        sum = fma(c, io.load(own + i) - io.load(before + i), sum);
        io.store(row + i, scale * c);
      });
      dg[n] = sumLanes(sum);
    }
  });
}

}  // namespace MINKE_NS
