// Mixture-of-experts routing: expert choice, the sort of rows by expert, weighted combination and its gradient.
#pragma once
#include "ops.gen.h"
#include "rows.h"

namespace MINKE_NS {

static void routeSelect(const Call& call) {
  const Tensor& scores = call.t[0];
  const float* bias = call.t[1].f();
  int32_t* indices = call.t[2].i();
  const idx N = scores.d[0], E = scores.d[1], k = (idx)call.attributes[0], groups = (idx)call.attributes[1],
            topGroups = (idx)call.attributes[2], each = E / groups;
  const bool two = call.attributeInt(3) == ROUTE_SELECT_GROUP_SCORE_TOP2_SUM;
  call.pieces(N, E * 4, [&](idx b, idx e, int thread) {
    float* choice = (float*)call.local(thread, (E + groups) * 4 + E + groups);
    if (!choice) return;
    float* groupScore = choice + E;
    char *taken = (char*)(groupScore + groups), *kept = taken + E;
    for (idx n = b; n < e; n++) {
      for (idx i = 0; i < E; i++) choice[i] = rank1(scores.f()[n * E + i] + bias[i]);
      for (idx g = 0; g < groups; g++) {
        float first = -infinity, second = -infinity;
        for (idx i = g * each; i < (g + 1) * each; i++) {
          if (choice[i] > first) {
            second = first;
            first = choice[i];
          } else if (choice[i] > second) {
            second = choice[i];
          }
        }
        groupScore[g] = two && each > 1 ? rank1(first + second) : first;
        kept[g] = 0;
      }
      for (idx t = 0; t < topGroups; t++) {
        idx best = -1;
        for (idx g = 0; g < groups; g++)
          if (!kept[g] && (best < 0 || groupScore[g] > groupScore[best])) best = g;
        kept[best] = 1;
      }
      // Among kept groups only: an expert of a dropped group is never chosen, whatever its score.
      for (idx i = 0; i < E; i++) taken[i] = 0;
      for (idx t = 0; t < k; t++) {
        idx best = -1;
        for (idx i = 0; i < E; i++)
          if (!taken[i] && kept[i / each] && (best < 0 || choice[i] > choice[best])) best = i;
        taken[best] = 1;
      }
      idx slot = 0;
      for (idx i = 0; i < E; i++)
        if (taken[i]) indices[n * k + slot++] = (int32_t)i;
    }
  });
}

static void expertPlan(const Call& call) {
  const Tensor& indices = call.t[0];
  int32_t *offsets = call.t[1].i(), *rows = call.t[2].i(), *slots = call.t[3].i();
  const idx total = indices.count, K = indices.last(), E = (idx)call.attributes[0];
  int32_t* next = (int32_t*)call.shared((E + 1) * 4);
  if (!next) return;
  zero(next, (E + 1) * 4);
  for (idx i = 0; i < total; i++) {
    const idx e = indices.i()[i];
    if (e >= 0 && e < E) next[e + 1]++;
  }
  offsets[0] = 0;
  for (idx e = 0; e < E; e++) offsets[e + 1] = next[e + 1] += next[e];
  for (idx i = 0; i < total; i++) {
    const idx e = indices.i()[i];
    if (e < 0 || e >= E) {
      slots[i] = -1;
      continue;
    }
    const int32_t slot = next[e]++;
    slots[i] = slot;
    rows[slot] = (int32_t)(i / K);
  }
  for (idx r = offsets[E]; r < total; r++) rows[r] = -1;
}

static void histogram(const Call& call) {
  const Tensor &ids = call.t[0], &counts = call.t[1];
  const idx size = counts.count;
  int32_t* count = (int32_t*)call.shared(size * 4);
  if (!count) return;
  zero(count, size * 4);
  for (idx i = 0; i < ids.count; i++) {
    const idx id = ids.i()[i];
    if (id >= 0 && id < size) count[id]++;
  }
  for (idx i = 0; i < size; i++) counts.f()[i] = (float)count[i];
}

static void moeCombine(const Call& call) {
  const Tensor &y = call.t[0], &weights = call.t[1], &slots = call.t[2], &out = call.t[3];
  const idx N = slots.d[0], K = slots.d[1], D = y.d[1], R = y.d[0];
  call.pieces(N, K * D, [&](idx b, idx e, int) {
    for (idx n = b; n < e; n++)
      vectors(0, D, [&](auto io, idx i) {
        vf sum = {};
        for (idx k = 0; k < K; k++) {
          const idx slot = slots.i()[n * K + k];
          if (slot >= 0 && slot < R) sum = fma(splat(weights.f()[n * K + k]), io.load(y.f() + slot * D + i), sum);
        }
        io.store(out.f() + n * D + i, sum);
      });
  });
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

}  // namespace MINKE_NS
