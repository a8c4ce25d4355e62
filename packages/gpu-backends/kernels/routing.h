// Routing of a mixture of experts: scores, the choice of experts and their weights, with the gradient; the sort
// of (token, slot) pairs by expert; counts.
//
// DeepSeek-V2 (arXiv 2405.04434) section 2.2 and DeepSeek-V3 (arXiv 2412.19437) section 2.1.2, eq. 12-16.
#pragma once
#include "ops.gen.h"
#include "rows.h"

namespace MINKE_NS {

/** How experts are chosen: the attributes of routeSelect and route. */
struct Selection {
  idx k, groups, topGroups;
  bool two;  // a group scores the sum of its two best choices
};

/** Scratch of one row's selection, in bytes. */
static idx selectionBytes(idx E, const Selection& s) { return (E + s.groups) * 4 + E + s.groups; }

static void selectRow(const float* scores, const float* bias, idx E, const Selection& s, float* choice, int32_t* indices) {
  const idx each = E / s.groups;
  float* groupScore = choice + E;
  char *taken = (char*)(groupScore + s.groups), *kept = taken + E;
  for (idx i = 0; i < E; i++) choice[i] = rank1(scores[i] + bias[i]);
  for (idx g = 0; g < s.groups; g++) {
    float first = -infinity, second = -infinity;
    for (idx i = g * each; i < (g + 1) * each; i++) {
      if (choice[i] > first) {
        second = first;
        first = choice[i];
      } else if (choice[i] > second) {
        second = choice[i];
      }
    }
    groupScore[g] = s.two && each > 1 ? rank1(first + second) : first;
    kept[g] = 0;
  }
  for (idx t = 0; t < s.topGroups; t++) {
    idx best = -1;
    for (idx g = 0; g < s.groups; g++)
      if (!kept[g] && (best < 0 || groupScore[g] > groupScore[best])) best = g;
    kept[best] = 1;
  }
  // Among kept groups only: an expert of a dropped group is never chosen, whatever its score.
  zero(taken, E);
  for (idx t = 0; t < s.k; t++) {
    idx best = -1;
    for (idx g = 0; g < s.groups; g++) {
      if (!kept[g]) continue;
      for (idx i = g * each; i < (g + 1) * each; i++)
        if (!taken[i] && (best < 0 || choice[i] > choice[best])) best = i;
    }
    taken[best] = 1;
  }
  idx slot = 0;
  for (idx i = 0; i < E; i++)
    if (taken[i]) indices[slot++] = (int32_t)i;
}

static void routeSelect(const Call& call) {
  const Tensor& scores = call.t[0];
  const idx N = scores.d[0], E = scores.d[1];
  const Selection s = {(idx)call.attributes[0], (idx)call.attributes[1], (idx)call.attributes[2],
                       call.attributeInt(3) == ROUTE_SELECT_GROUP_SCORE_TOP2_SUM};
  call.pieces(N, E * 4, [&](idx b, idx e, int thread) {
    float* choice = (float*)call.local(thread, selectionBytes(E, s));
    if (!choice) return;
    for (idx n = b; n < e; n++) selectRow(scores.f() + n * E, call.t[1].f(), E, s, choice, call.t[2].i() + n * s.k);
  });
}

/** Scores, choice and weights of a row, with the arithmetic of the ops it stands for. */
static void route(const Call& call) {
  const Tensor& logits = call.t[0];
  const float* bias = call.t[1].f();
  const idx N = logits.d[0], E = logits.d[1];
  const bool soft = call.attributeInt(0) == ROUTE_SCORING_SOFTMAX, normalise = call.attributeInt(5) != 0;
  const Selection s = {(idx)call.attributes[1], (idx)call.attributes[2], (idx)call.attributes[3],
                       call.attributeInt(4) == ROUTE_GROUP_SCORE_TOP2_SUM};
  const float scale = call.attributeFloat(6);
  call.pieces(N, E * 6, [&](idx b, idx e, int thread) {
    float* choice = (float*)call.local(thread, selectionBytes(E, s));
    if (!choice) return;
    for (idx n = b; n < e; n++) {
      const float* from = logits.f() + n * E;
      float *scores = call.t[2].f() + n * E, *weights = call.t[4].f() + n * s.k;
      int32_t* indices = call.t[3].i() + n * s.k;
      if (soft) rowSoftmax(from, scores, E);
      else vectors(0, E, [&](auto io, idx i) { io.store(scores + i, vsigmoid(io.load(from + i))); });
      selectRow(scores, bias, E, s, choice, indices);
      for (idx k = 0; k < s.k; k++) weights[k] = scores[indices[k]];
      const float total = normalise ? rowSum(weights, s.k) + 1e-20f : 1;
      for (idx k = 0; k < s.k; k++) weights[k] = weights[k] / total * scale;
    }
  });
}

static void routeGrad(const Call& call) {
  const Tensor &scores = call.t[0], &indices = call.t[1];
  const float *dweights = call.t[2].f(), *dscores = call.t[3].f();
  float* dlogits = call.t[4].f();
  const idx N = scores.d[0], E = scores.d[1], K = indices.d[1];
  const bool soft = call.attributeInt(0) == ROUTE_GRAD_SCORING_SOFTMAX, normalise = call.attributeInt(1) != 0;
  const float scale = call.attributeFloat(2);
  call.pieces(N, E * 4, [&](idx b, idx e, int) {
    for (idx n = b; n < e; n++) {
      const float *s = scores.f() + n * E, *dw = dweights + n * K;
      const int32_t* at = indices.i() + n * K;
      float* to = dlogits + n * E;
      float total = 0, along = 0;
      for (idx k = 0; k < K; k++) {
        if (at[k] < 0 || at[k] >= E) continue;
        total += s[at[k]];
        along = fma1(dw[k], s[at[k]], along);
      }
      total += 1e-20f;
      const float factor = normalise ? scale / total : scale, back = normalise ? along / total : 0;
      copy(to, dscores + n * E, E * 4);
      for (idx k = 0; k < K; k++)
        if (at[k] >= 0 && at[k] < E) to[at[k]] = fma1(factor, dw[k] - back, to[at[k]]);
      if (soft) {
        const vf mean = splat(rowDot(s, to, E));
        vectors(0, E, [&](auto io, idx i) { io.store(to + i, io.load(s + i) * (io.load(to + i) - mean)); });
      } else {
        vectors(0, E, [&](auto io, idx i) {
          const vf v = io.load(s + i);
          io.store(to + i, io.load(to + i) * (v * (1.0f - v)));
        });
      }
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

}  // namespace MINKE_NS
