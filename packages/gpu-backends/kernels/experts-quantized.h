// The feed-forward of a mixture with quantised weights.
//
// Each token is rounded to bytes once, for all its experts and the shared one. Gate and up of all experts are one
// parallel loop, down is another.
#pragma once
#include "quantize.h"

namespace MINKE_NS {

static void moeFeedForwardQuantized(const Call& call) {
  const Tensor &x = call.t[0], &weights = call.t[1], &gate = call.t[2], &up = call.t[3], &down = call.t[4], &sharedGate = call.t[5],
               &sharedUp = call.t[6], &sharedDown = call.t[7], &offsets = call.t[8], &rows = call.t[9], &slots = call.t[10];
  const idx N = x.d[0], D = x.d[1], R = rows.count, E = gate.d[0], F = down.d[2] * groupSize, S = sharedDown.d[1] * groupSize;
  const idx inner = R * F + N * S;  // numbers of all hidden rows, the routed ones before the shared ones
  auto formats = [](const Tensor& a, const Tensor& b, bool (&used)[2]) { used[formatOf(a)] = used[formatOf(b)] = true; };
  bool wide[2] = {}, sharedWide[2] = {}, back[2] = {}, sharedBack[2] = {};
  formats(gate, up, wide);
  formats(sharedGate, sharedUp, sharedWide);
  formats(down, down, back);
  formats(sharedDown, sharedDown, sharedBack);
  idx used = 0;
  auto room = [&](idx bytes) {
    const idx at = used;
    used += roundUp(bytes, 64);
    return at;
  };
  const idx listAt = room((2 * E + 2) * (idx)sizeof(QuantizedProduct)), stripsAt = room((E + 1) * (idx)sizeof(Strips));
  const idx runsAt = room(E * (idx)sizeof(ExpertRows));
  const idx most = max(N * D, inner), bytesAt = room(most), scalesAt = room(most / groupSize * 4);
  const idx gatesAt = room(inner * 4), upsAt = room(inner * 4), yAt = room(R * D * 4), sharedYAt = room(N * D * 4);
  // Strips of the experts' rows: each begins at a multiple of 64 bytes.
  const idx packedAt = room(max(stripBytes(R, D, wide) + stripBytes(N, D, sharedWide), stripBytes(R, F, back) + stripBytes(N, S, sharedBack)) +
                            128 * (E + 1));
  char* memory = call.workspace(used);
  if (!memory) return;
  QuantizedProduct* products = (QuantizedProduct*)(memory + listAt);
  Strips* strips = (Strips*)(memory + stripsAt);
  ExpertRows* runs = (ExpertRows*)(memory + runsAt);
  int8_t* bytes = (int8_t*)(memory + bytesAt);
  float *scales = (float*)(memory + scalesAt), *gates = (float*)(memory + gatesAt), *ups = (float*)(memory + upsAt);
  float *y = (float*)(memory + yAt), *sharedY = (float*)(memory + sharedYAt);
  char* packed = memory + packedAt;
  const idx found = expertRuns(offsets, E, R, runs, {Cleared{gates, F}, Cleared{ups, F}, Cleared{y, D}});
  auto stripsOfRows = [&](const ByteRows& from, idx count, idx K, const bool (&formats)[2]) {
    char* at = packed;
    packed += stripBytes(count, K, formats);
    return stripsIn(at, from, count, K, formats);
  };
  auto product = [](const Strips* x, idx columns, const Tensor& w, idx e, float* y) {
    return QuantizedProduct{x, columns, w.p + e * (w.count / 1024 / max(1, w.rank == 4 ? w.d[0] : 1)) * blockBytesOf(w), formatOf(w), y, 0, 0, 0};
  };
  quantizeInto(call, x.f(), N * D / groupSize, bytes, scales);
  idx count = 0;
  for (idx i = 0; i < found; i++) {
    const auto [e, first, n] = runs[i];
    strips[i] = stripsOfRows({bytes, scales, N, rows.i() + first}, n, D, wide);
    products[count++] = product(strips + i, F, gate, e, gates + first * F);
    products[count++] = product(strips + i, F, up, e, ups + first * F);
  }
  if (S) {
    strips[found] = stripsOfRows({bytes, scales, N, nullptr}, N, D, sharedWide);
    products[count++] = product(strips + found, S, sharedGate, 0, gates + R * F);
    products[count++] = product(strips + found, S, sharedUp, 0, ups + R * F);
  }
  const idx groups = found + (S ? 1 : 0);
  packStrips(call, strips, groups);
  runQuantized(call, products, count);
  gatedRows(call, gates, ups, gates, inner);
  quantizeInto(call, gates, inner / groupSize, bytes, scales);
  packed = memory + packedAt;
  for (idx i = 0; i < found; i++) {
    const auto [e, first, n] = runs[i];
    strips[i] = stripsOfRows({bytes + first * F, scales + first * (F / groupSize), n, nullptr}, n, F, back);
    products[i] = product(strips + i, D, down, e, y + first * D);
  }
  if (S) {
    strips[found] = stripsOfRows({bytes + R * F, scales + R * F / groupSize, N, nullptr}, N, S, sharedBack);
    products[found] = product(strips + found, D, sharedDown, 0, sharedY);
  }
  packStrips(call, strips, groups);
  runQuantized(call, products, groups);
  combineRows(call, y, R, weights.f(), slots, S ? sharedY : nullptr, D, call.t[11].f());
}

}  // namespace MINKE_NS
