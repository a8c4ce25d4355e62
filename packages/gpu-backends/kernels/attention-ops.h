// The ops of attention over key ranges, as tasks for `runAttention`.
#pragma once
#include "attention.h"

namespace MINKE_NS {

static void attention(const Call& call) {
  const Tensor &q = call.t[0], &k = call.t[1], &v = call.t[2];
  const idx H = q.d[1], Hk = k.d[1];
  const Heads heads = {q.d[0], H, Hk, Hk ? H / Hk : 0, k.d[0], call.t[3].i()};
  runAttention(call, {heads, q.f(), k.f(), v.f(), call.t[4].f(), call.t[5].f(), q.d[2], v.d[2], Hk * q.d[2], Hk * v.d[2],
                      call.attributeFloat(0)});
}

static void latentAttention(const Call& call) {
  const Tensor &q = call.t[0], &cache = call.t[1];
  const idx H = q.d[1], C = q.d[2];
  const Heads heads = {q.d[0], H, 1, H, cache.d[0], call.t[2].i()};
  AttentionTask t = {heads, q.f(), cache.f(), cache.f(), call.t[3].f(), nullptr, C, (idx)call.attributes[1], C, C,
                     call.attributeFloat(0)};
  runAttention(call, t);
}

static void latentAttentionRounded(const Call& call) {
  const Tensor &q = call.t[0], &cache = call.t[1];
  const idx H = q.d[1], stride = cache.d[1];
  const Heads heads = {q.d[0], H, 1, H, cache.d[0], call.t[2].i()};
  AttentionTask t = {heads, q.f(), nullptr, nullptr, call.t[3].f(), nullptr, q.d[2], (idx)call.attributes[1], stride, stride,
                     call.attributeFloat(0)};
  t.rounded = RoundedRows(cache);
  t.bfloat = call.attributeInt(2);
  runAttention(call, t);
}

static void attentionRounded(const Call& call) {
  const Tensor &q = call.t[0], &k = call.t[1], &v = call.t[2];
  const idx H = q.d[1], C = q.d[2], Hk = (idx)call.attributes[1], dv = (idx)call.attributes[2];
  const Heads heads = {q.d[0], H, Hk, Hk ? H / Hk : 0, k.d[0], call.t[3].i()};
  AttentionTask t = {heads, q.f(), nullptr, nullptr, call.t[4].f(), nullptr, C, dv, Hk * C, Hk * dv, call.attributeFloat(0)};
  t.rounded = RoundedRows(k);
  t.roundedValues = RoundedRows(v);
  runAttention(call, t);
}

static void splitAttention(const Call& call) {
  const Tensor &q = call.t[0], &k = call.t[1], &v = call.t[2], &bias = call.t[4], &sink = call.t[5];
  const idx H = q.d[1], Hk = k.d[1];
  const Heads heads = {q.d[0], H, Hk, Hk ? H / Hk : 0, k.d[0], call.t[3].i(), 4};
  runAttention(call, {heads, q.f(), k.f(), v.f(), call.t[6].f(), call.t[7].f(), q.d[2], (idx)call.attributes[1], Hk * q.d[2],
                      Hk * v.d[2], call.attributeFloat(0), bias.f(), sink.f()});
}

static void gatheredAttention(const Call& call) {
  const Tensor &q = call.t[0], &cache = call.t[1], &rows = call.t[2], &sink = call.t[3];
  const idx H = q.d[1], C = q.d[2];
  const Heads heads = {q.d[0], H, 1, H, rows.d[1], nullptr};
  runAttention(call, {heads, q.f(), cache.f(), cache.f(), call.t[4].f(), nullptr, C, (idx)call.attributes[1], C, C,
                      call.attributeFloat(0), nullptr, sink.f(), rows.i(), cache.d[0]});
}

static void rangeMask(const Call& call) {
  const int32_t* ranges = call.t[0].i();
  float* y = call.t[1].f();
  const idx N = call.t[0].d[0], M = (idx)call.attributes[0];
  call.pieces(N, M, [&](idx b, idx e, int) {
    for (idx n = b; n < e; n++)
      for (idx m = 0; m < M; m++) y[n * M + m] = m >= ranges[2 * n] && m < ranges[2 * n + 1] ? 0 : -infinity;
  });
}

}  // namespace MINKE_NS
