// The experts of a mixture: weighted combination of their rows, and the whole feed-forward over a plan, SwiGLU of
// every routed expert and of the shared one, with its gradients.
//
// DeepSeekMoE, arXiv 2401.06066; SwiGLU: Shazeer 2020, https://arxiv.org/abs/2002.05202, eq. 6. A row's sums run as
// in the ops that the fused ones stand for: one chain over ascending k for each product, experts combined in
// ascending order, the shared expert last. Weights enter the backward pass on the hidden row (hidden . dy down is
// the gradient of a weight), so that outputs of experts need not be kept.
#pragma once
#include "elementwise.h"
#include "gemm.h"
#include "ops.gen.h"
#include "rows.h"

namespace MINKE_NS {

/** Sorted rows of the experts that have any. Rows that belong to none become zeros in each of `cleared`. */
struct ExpertRows {
  idx expert, first, count;
};
struct Cleared {
  float* to;
  idx width;
};

template <int C>
static idx expertRuns(const Tensor& offsets, idx E, idx R, ExpertRows* runs, const Cleared (&cleared)[C]) {
  idx found = 0, end = 0, covered = 0;
  auto clear = [&](idx from, idx to) {
    for (const Cleared& c : cleared) zero(c.to + from * c.width, (to - from) * c.width * 4);
  };
  for (idx e = 0; e < E; e++) {
    idx first, count;
    expertRows(offsets, e, R, end, first, count);
    if (!count) continue;
    clear(covered, first);
    covered = first + count;
    runs[found++] = {e, first, count};
  }
  clear(covered, R);
  return found;
}

/** to[r] = from[rows[r]], zeros where a row names no token. */
static void gatherTokens(const Call& call, const float* from, idx N, const Tensor& rows, idx D, float* to) {
  call.pieces(rows.count, D, [&](idx b, idx e, int) {
    for (idx r = b; r < e; r++) {
      const idx n = rows.i()[r];
      if (n >= 0 && n < N) copy(to + r * D, from + n * D, D * 4);
      else zero(to + r * D, D * 4);
    }
  });
}

/** out[n] = sum over ascending k of w[n, k] y[slots[n, k]] (w null: 1), then + last[n] (null: nothing). */
static void combineRows(const Call& call, const float* y, idx R, const float* w, const Tensor& slots, const float* last,
                        idx D, float* out) {
  const idx N = slots.d[0], K = slots.d[1];
  call.pieces(N, (K + 1) * D, [&](idx b, idx e, int) {
    for (idx n = b; n < e; n++)
      vectors(0, D, [&](auto io, idx i) {
        vf sum = {};
        for (idx k = 0; k < K; k++) {
          const idx slot = slots.i()[n * K + k];
          if (slot >= 0 && slot < R) sum = fma(splat(w ? w[n * K + k] : 1.0f), io.load(y + slot * D + i), sum);
        }
        io.store(out + n * D + i, last ? sum + io.load(last + n * D + i) : sum);
      });
  });
}

static void moeCombine(const Call& call) {
  const Tensor& y = call.t[0];
  combineRows(call, y.f(), y.d[0], call.t[1].f(), call.t[2], nullptr, y.d[1], call.t[3].f());
}

static void moeCombineGrad(const Call& call) {
  const Tensor &y = call.t[0], &weights = call.t[1], &slots = call.t[2];
  const float* dout = call.t[3].f();
  float *dy = call.t[4].f(), *dweights = call.t[5].f();
  const idx N = slots.d[0], K = slots.d[1], D = y.d[1], R = y.d[0];
  int32_t* pairOf = (int32_t*)call.shared(R * 4);  // which (token, slot) a sorted row belongs to
  if (!pairOf) return;
  for (idx r = 0; r < R; r++) pairOf[r] = -1;
  for (idx i = 0; i < N * K; i++) {
    const idx slot = slots.i()[i];
    if (slot >= 0 && slot < R) pairOf[slot] = (int32_t)i;
  }
  call.pieces(R, D, [&](idx b, idx e, int) {
    for (idx r = b; r < e; r++) {
      const idx pair = pairOf[r];
      if (pair < 0) {
        zero(dy + r * D, D * 4);
        continue;
      }
      const vf w = splat(weights.f()[pair]);
      const float* from = dout + pair / K * D;
      vectors(0, D, [&](auto io, idx i) { io.store(dy + r * D + i, w * io.load(from + i)); });
    }
  });
  call.pieces(N * K, D, [&](idx b, idx e, int) {
    for (idx i = b; i < e; i++) {
      const idx slot = slots.i()[i];
      dweights[i] = slot >= 0 && slot < R ? rowDot(y.f() + slot * D, dout + i / K * D, D) : 0;
    }
  });
}

static void gatedRows(const Call& call, const float* gate, const float* up, float* hidden, idx count) {
  map2(call, gate, up, hidden, count, 2, [](vf g, vf u) { return g * vsigmoid(g) * u; });
}

/** The shared expert's products join the routed ones where strides agree, and else run by themselves. */
static void runWithShared(const Call& call, Product* products, idx routed, idx shared, const Layout& l, const Layout& sharedLayout) {
  const bool alike = l.lda == sharedLayout.lda && l.ldb == sharedLayout.ldb && l.ldc == sharedLayout.ldc;
  runProducts(call, products, alike ? routed + shared : routed, l);
  if (!alike && shared) runProducts(call, products + routed, shared, sharedLayout);
}

/** The matrices of a mixture, and where its intermediate rows go: null for memory of the call. */
struct Mixture {
  const Tensor &gate, &up, &down, &sharedGate, &sharedUp, &sharedDown;
  bool packed;
  idx E, F, S;
  float *gates, *ups, *sharedGates, *sharedUps;
};

static void mixtureForward(const Call& call, Mixture m) {
  const Tensor &x = call.t[0], &weights = call.t[1], &offsets = call.t[8], &rows = call.t[9], &slots = call.t[10];
  const idx N = x.d[0], D = x.d[1], R = rows.count, E = m.E, F = m.F, S = m.S, head = roundUp((E + 1) * (idx)sizeof(ExpertRows), 64);
  const idx kept = m.gates ? 0 : 2 * (R * F + N * S);
  ExpertRows* runs = (ExpertRows*)call.workspace(head + (R * (2 * D + F) + N * (S + D) + kept) * 4);
  if (!runs) return;
  float *xs = (float*)((char*)runs + head), *y = xs + R * D, *sharedY = y + R * D;
  float *hidden = sharedY + N * D, *sharedHidden = hidden + R * F;
  if (!m.gates) {
    m.gates = sharedHidden + N * S;
    m.ups = m.gates + R * F;
    m.sharedGates = m.ups + R * F;
    m.sharedUps = m.sharedGates + N * S;
  }
  const idx found = expertRuns(offsets, E, R, runs, {Cleared{m.gates, F}, Cleared{m.ups, F}, Cleared{y, D}});
  gatherTokens(call, x.f(), N, rows, D, xs);
  Product* products = reserveProducts(call, 2 * E + 3);
  if (!products) return;
  const bool packed = m.packed;
  const idx wide = E ? m.gate.count / E : 0, back = E ? m.down.count / E : 0;  // floats of one expert
  auto layout = [&](idx inner, idx columns) { return Layout{false, !packed, false, inner, packed ? 0 : inner, columns, false, packed}; };
  idx count = 0;
  for (idx i = 0; i < found; i++) {
    const auto [e, first, n] = runs[i];
    products[count++] = {xs + first * D, m.gate.f() + e * wide, m.gates + first * F, n, F, D};
    products[count++] = {xs + first * D, m.up.f() + e * wide, m.ups + first * F, n, F, D};
  }
  if (S) {
    products[count] = {x.f(), m.sharedGate.f(), m.sharedGates, N, S, D};
    products[count + 1] = {x.f(), m.sharedUp.f(), m.sharedUps, N, S, D};
  }
  runWithShared(call, products, count, S ? 2 : 0, layout(D, F), layout(D, S));
  gatedRows(call, m.gates, m.ups, hidden, R * F);
  gatedRows(call, m.sharedGates, m.sharedUps, sharedHidden, N * S);
  products = reserveProducts(call, 2 * E + 3);
  if (!products) return;
  for (idx i = 0; i < found; i++) {
    const auto [e, first, n] = runs[i];
    products[i] = {hidden + first * F, m.down.f() + e * back, y + first * D, n, D, F};
  }
  if (S) products[found] = {sharedHidden, m.sharedDown.f(), sharedY, N, D, S};
  runWithShared(call, products, found, S ? 1 : 0, layout(F, D), layout(S, D));
  combineRows(call, y, R, weights.f(), slots, S ? sharedY : nullptr, D, call.t[11].f());
}

static void moeFeedForward(const Call& call) {
  const Tensor* t = call.t;
  mixtureForward(call, {t[2], t[3], t[4], t[5], t[6], t[7], false, t[2].d[0], t[2].d[1], t[5].d[0], t[12].f(), t[13].f(), t[14].f(), t[15].f()});
}

static void moeFeedForwardPacked(const Call& call) {
  const Tensor* t = call.t;
  mixtureForward(call, {t[2], t[3], t[4], t[5], t[6], t[7], true, t[2].d[0], t[4].d[2], t[7].d[1], nullptr, nullptr, nullptr, nullptr});
}

/** One row of SwiGLU back from dh = dy down: dgate, dup and the hidden row, all times w. Returns hidden . dh. */
static float gatedRowGrad(const float* gate, const float* up, const float* dh, float w, idx F, float* dgate, float* dup, float* hidden) {
  const vf scale = splat(w);
  vf sum = {};
  vectors(0, F, [&](auto io, idx i) {
    const vf g = io.load(gate + i), u = io.load(up + i), d = io.load(dh + i), s = vsigmoid(g), silu = g * s;
    const vf h = silu * u, dw = scale * d;
    sum = fma(io.keep(h, 0), io.keep(d, 0), sum);
    io.store(dgate + i, dw * u * (s * fma(g, 1.0f - s, splat(1.0f))));
    io.store(dup + i, dw * silu);
    io.store(hidden + i, scale * h);
  });
  return sumLanes(sum);
}

static void moeFeedForwardGrad(const Call& call) {
  const Tensor &weights = call.t[0], &gate = call.t[1], &up = call.t[2], &down = call.t[3], &sharedGate = call.t[4],
               &sharedUp = call.t[5], &sharedDown = call.t[6], &offsets = call.t[7], &rows = call.t[8], &slots = call.t[9],
               &gates = call.t[10], &ups = call.t[11], &sharedGates = call.t[12], &sharedUps = call.t[13], &dout = call.t[14],
               &dx = call.t[15], &dweights = call.t[16], &dgates = call.t[17], &dups = call.t[18], &hidden = call.t[19],
               &dsharedGates = call.t[20], &dsharedUps = call.t[21], &sharedHidden = call.t[22];
  const idx N = dout.d[0], D = dout.d[1], R = rows.count, K = slots.d[1], E = gate.d[0], F = gate.d[1], S = sharedGate.d[0];
  const idx head = roundUp((E + 1) * (idx)sizeof(ExpertRows), 64);
  ExpertRows* runs = (ExpertRows*)call.workspace(head + (R * (D + F) + N * (S + D)) * 4);
  if (!runs) return;
  // The gathered gradients of the outputs make room for those of the inputs.
  float *dys = (float*)((char*)runs + head), *sharedDx = dys + R * D, *dh = sharedDx + N * D, *sharedDh = dh + R * F;
  const idx found = expertRuns(offsets, E, R, runs,
                               {Cleared{dh, F}, Cleared{dgates.f(), F}, Cleared{dups.f(), F}, Cleared{hidden.f(), F}});
  gatherTokens(call, dout.f(), N, rows, D, dys);
  auto list = [&] { return reserveProducts(call, E + 2); };
  Product* products = list();
  if (!products) return;
  for (idx i = 0; i < found; i++) {
    const auto [e, first, n] = runs[i];
    products[i] = {dys + first * D, down.f() + e * D * F, dh + first * F, n, F, D};
  }
  if (S) products[found] = {dout.f(), sharedDown.f(), sharedDh, N, S, D};
  runWithShared(call, products, found, S ? 1 : 0, {false, false, false, D, F, F}, {false, false, false, D, S, S});
  call.pieces(N * K, 4 * F, [&](idx b, idx e, int) {
    for (idx i = b; i < e; i++) {
      const idx r = slots.i()[i];
      dweights.f()[i] = r >= 0 && r < R ? gatedRowGrad(gates.f() + r * F, ups.f() + r * F, dh + r * F, weights.f()[i], F,
                                                       dgates.f() + r * F, dups.f() + r * F, hidden.f() + r * F)
                                        : 0;
    }
  });
  if (S)
    call.pieces(N, 4 * S, [&](idx b, idx e, int) {
      for (idx i = b * S; i < e * S; i += S)
        gatedRowGrad(sharedGates.f() + i, sharedUps.f() + i, sharedDh + i, 1, S, dsharedGates.f() + i, dsharedUps.f() + i,
                     sharedHidden.f() + i);
    });
  float* dxs = dys;
  for (int pass = 0; pass < 2; pass++) {
    const bool second = pass == 1;
    products = list();
    if (!products) return;
    const Tensor &d = second ? dups : dgates, &w = second ? up : gate;
    for (idx i = 0; i < found; i++) {
      const auto [e, first, n] = runs[i];
      products[i] = {d.f() + first * F, w.f() + e * F * D, dxs + first * D, n, D, F};
    }
    if (S) products[found] = {(second ? dsharedUps : dsharedGates).f(), (second ? sharedUp : sharedGate).f(), sharedDx, N, D, S};
    runWithShared(call, products, found, S ? 1 : 0, {false, false, second, F, D, D}, {false, false, second, S, D, D});
  }
  combineRows(call, dxs, R, nullptr, slots, S ? sharedDx : nullptr, D, dx.f());
}

static void moeFeedForwardGradWeight(const Call& call) {
  const Tensor &x = call.t[0], &dout = call.t[1], &offsets = call.t[2], &rows = call.t[3], &dgates = call.t[4],
               &dups = call.t[5], &hidden = call.t[6], &dgate = call.t[7], &dup = call.t[8], &ddown = call.t[9];
  const idx N = x.d[0], D = x.d[1], R = rows.count, E = dgate.d[0], F = dgate.d[1];
  const bool accumulate = call.attributeInt(0) != 0;
  float* xs = (float*)call.workspace(2 * R * D * 4);
  if (!xs) return;
  float* dys = xs + R * D;
  gatherTokens(call, x.f(), N, rows, D, xs);
  gatherTokens(call, dout.f(), N, rows, D, dys);
  Product* products = reserveProducts(call, 2 * E);
  if (!products) return;
  idx end = 0;
  for (idx e = 0; e < E; e++) {
    idx first, count;
    expertRows(offsets, e, R, end, first, count);
    products[2 * e] = {dgates.f() + first * F, xs + first * D, dgate.f() + e * F * D, F, D, count};
    products[2 * e + 1] = {dups.f() + first * F, xs + first * D, dup.f() + e * F * D, F, D, count};
  }
  runProducts(call, products, 2 * E, {true, false, accumulate, F, D, D});
  products = reserveProducts(call, 2 * E);
  if (!products) return;
  end = 0;
  for (idx e = 0; e < E; e++) {
    idx first, count;
    expertRows(offsets, e, R, end, first, count);
    products[e] = {dys + first * D, hidden.f() + first * F, ddown.f() + e * D * F, D, F, count};
  }
  runProducts(call, products, E, {true, false, accumulate, D, F, F});
}

}  // namespace MINKE_NS
