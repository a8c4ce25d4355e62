// Rounding to 8 and 4 bits: weights to GGUF's blocks, blocks to the tiles that products read, activations by rows.
//
// Every number here is the same in all builds: f64 and f32 arithmetic without fused multiply-adds, in an order that
// does not depend on the width of vectors.
#pragma once
#include "memory.h"
#include "quantized.h"

namespace MINKE_NS {

/** What sets the two storage types apart: the first divisor tried, its step, the range of integers. */
struct BlockFormat {
  double divisor, step, low, high;
};
constexpr BlockFormat blockFormats[2] = {{127, -1, -127, 127}, {-8.5, 0.25, -8, 7}};
constexpr int divisorsTried = 9;

typedef double d4 __attribute__((vector_size(32)));
MINKE_INLINE double sumFour(d4 v) { return (v[0] + v[2]) + (v[1] + v[3]); }

/** Numbers kept between two others. Compilers take comparisons of vectors wider than the machine's apart. */
MINKE_INLINE d4 clampFour(d4 v, double low, double high) {
#if defined(__ARM_NEON)
  typedef double d2 __attribute__((vector_size(16)));
  d2 half[2];
  __builtin_memcpy(half, &v, sizeof v);
  for (d2& x : half) x = x < low ? d2{} + low : x > high ? d2{} + high : x;
  __builtin_memcpy(&v, half, sizeof v);
  return v;
#else
  return v < low ? d4{} + low : v > high ? d4{} + high : v;
#endif
}

/** An f64 number as f16: rounded to f32, kept within the finite numbers, rounded to f16. */
MINKE_INLINE uint16_t halfOf(double x) {
  const float f = (float)x;
  return toHalf(f > 65504.0f ? 65504.0f : f < -65504.0f ? -65504.0f : f);
}

/** x / d to the nearest even integer in the range; zeros where d is zero. */
MINKE_INLINE void integersOf(const d4 x[8], double d, const BlockFormat& f, d4 q[8]) {
  const double inverse = d != 0 ? 1 / d : 0, magic = 6755399441055744.0;  // 1.5 * 2^52
  for (int i = 0; i < 8; i++) {
    q[i] = (clampFour(x[i] * inverse, f.low, f.high) + magic) - magic;
  }
}

/**
 * The scale of 32 numbers, and their integers. For each divisor of the largest number: the integers for that scale, the
 * f16 scale nearest to the best one for these integers, its squared error; the least error wins, the first one of equals.
 */
static uint16_t quantizeBlock(const float* from, const BlockFormat& f, bool signedLargest, d4 q[8]) {
  d4 x[8];
  float largest = 0;
  bool finite = true;
  for (int i = 0; i < groupSize; i++) {
    const float a = __builtin_fabsf(from[i]);
    finite = finite && a < infinity;
    if (a > __builtin_fabsf(largest)) largest = signedLargest ? from[i] : a;
    x[i / 4][i % 4] = from[i];
  }
  if (!finite) {
    for (int i = 0; i < 8; i++) q[i] = d4{};
    return 0x7e00;
  }
  d4 squares = {};
  for (int i = 0; i < 8; i++) squares = squares + x[i] * x[i];
  const double total = sumFour(squares);
  uint16_t best = 0;
  double least = (double)infinity;
  for (int c = 0; c < divisorsTried; c++) {
    integersOf(x, fromHalf(halfOf((double)largest / (f.divisor + c * f.step))), f, q);
    d4 xq = {}, qq = {};
    for (int i = 0; i < 8; i++) {
      xq = xq + x[i] * q[i];
      qq = qq + q[i] * q[i];
    }
    const double cross = sumFour(xq), own = sumFour(qq);
    if (own == 0) continue;
    const uint16_t scale = halfOf(cross / own);
    const double d = fromHalf(scale), error = (total - 2 * d * cross) + d * d * own;
    if (error < least) {
      least = error;
      best = scale;
    }
  }
  integersOf(x, fromHalf(best), f, q);
  return best;
}

static void quantize(const Call& call) {
  const Tensor &w = call.t[0], &to = call.t[1];
  const bool four = to.dtype == Q4_0;
  const BlockFormat& f = blockFormats[four];
  call.pieces(w.count / groupSize, 1024, [&](idx b, idx e, int) {
    for (idx g = b; g < e; g++) {
      d4 q[8];
      const uint16_t scale = quantizeBlock(w.f() + g * groupSize, f, four, q);
      uint8_t* block = (uint8_t*)to.p + g * (four ? 18 : 34);
      block[0] = (uint8_t)scale;
      block[1] = (uint8_t)(scale >> 8);
      for (int i = 0; i < (four ? 16 : 32); i++)
        block[2 + i] = four ? (uint8_t)(((int)q[i / 4][i % 4] + 8) | ((int)q[4 + i / 4][i % 4] + 8) << 4)
                            : (uint8_t)(int8_t)q[i / 4][i % 4];
    }
  });
}

static void packQuantized(const Call& call) {
  const Tensor &w = call.t[0], &packed = call.t[1];
  const int o = w.rank - 2;
  const bool four = w.dtype == Q4_0;
  const idx E = o ? w.d[0] : 1, N = w.d[o], G = w.d[o + 1] / groupSize, T = packed.d[o];
  const idx block = four ? 18 : 34, words = four ? 4 : 8, bytes = blockBytesOf(w);
  call.pieces(E * T * G, bytes, [&](idx b, idx e, int) {
    for (idx i = b; i < e; i++) {
      const idx g = i % G, t = i / G % T, n = min(tileWidth, N - t * tileWidth);
      const char* from = w.p + ((i / G / T * N + t * tileWidth) * G + g) * block;
      char* to = packed.p + i * bytes;
      if (n < tileWidth) zero(to, bytes);
      for (idx c = 0; c < n; c++, from += G * block) {
        copy(to + words * 4 * tileWidth + 2 * c, from, 2);
        for (idx s = 0; s < words; s++) {
          const uint32_t four4 = (uint32_t)word(from + 2 + 4 * s) ^ (four ? 0 : 0x80808080u);
          copy(to + 4 * (s * tileWidth + c), &four4, 4);
        }
      }
    }
  });
}

/** Row `n` of a packed weight as numbers, exact in f32: 11 bits of a scale by 8 of an integer. */
static void unpackRow(const Tensor& packed, idx n, idx G, float* to) {
  const bool four = packed.dtype == Q4_0;
  const idx words = four ? 4 : 8, bytes = blockBytesOf(packed), c = n % tileWidth;
  const char* block = packed.p + n / tileWidth * G * bytes;
  for (idx g = 0; g < G; g++, block += bytes, to += groupSize) {
    uint16_t half;
    copy(&half, block + words * 4 * tileWidth + 2 * c, 2);
    const float scale = fromHalf(half);
    for (idx s = 0; s < words; s++) {
      const uint32_t bytes4 = (uint32_t)word(block + 4 * (s * tileWidth + c));
      for (idx i = 0; i < 4; i++) {
        const int byte = (int)(bytes4 >> 8 * i & 255);
        if (four) to[16 + 4 * s + i] = scale * (float)((byte >> 4) - 8);
        to[4 * s + i] = scale * (float)(four ? (byte & 15) - 8 : byte - 128);
      }
    }
  }
}

static void gatherRowsQuantized(const Call& call) {
  const Tensor &table = call.t[0], &ids = call.t[1], &y = call.t[2];
  const idx V = call.attributeInt(0), G = table.d[1], D = y.d[1];
  call.pieces(ids.count, 4 * D, [&](idx b, idx e, int) {
    for (idx n = b; n < e; n++) {
      const idx id = ids.i()[n];
      if (id >= 0 && id < V) unpackRow(table, id, G, y.f() + n * D);
      else zero(y.f() + n * D, D * 4);
    }
  });
}

/** 32 activations as bytes; returns their scale. */
static float quantizeGroup(const float* x, int8_t* bytes) {
  vi most = {};
  for (idx i = 0; i < groupSize; i += W) {
    const vi magnitude = (vi)load(x + i) & 0x7fffffff;
    most = magnitude > most ? magnitude : most;
  }
  int32_t largest = 0;
  for (int i = 0; i < W; i++) largest = most[i] > largest ? most[i] : largest;
  const float scale = largest >= 0x7f800000 ? __builtin_nanf("") : bits((uint32_t)largest) / 127.0f;
  if (!(scale > 0)) {
    zero(bytes, groupSize);
    return scale;
  }
  const vf magic = splat(12582912.0f);  // 1.5 * 2^23
  int32_t words[groupSize];
  for (idx i = 0; i < groupSize; i += W) {
    const vf v = vmax(vmin(load(x + i) / splat(scale), splat(127)), splat(-127));
    *(vi_anywhere*)(words + i) = (vi)(v + magic) - (vi)magic;
  }
  for (int i = 0; i < groupSize; i++) bytes[i] = (int8_t)words[i];
  return scale;
}

static void quantizeInto(const Call& call, const float* x, idx groups, int8_t* bytes, float* scales) {
  call.pieces(groups, 2 * groupSize, [&](idx b, idx e, int) {
    for (idx g = b; g < e; g++) scales[g] = quantizeGroup(x + g * groupSize, bytes + g * groupSize);
  });
}

static void quantizeRows(const Call& call) {
  const Tensor& x = call.t[0];
  quantizeInto(call, x.f(), x.count / groupSize, (int8_t*)call.t[1].p, call.t[2].f());
}

}  // namespace MINKE_NS
