// Sums of products of 8 and 4 bit weights with 8 bit activations, and their register tile, for NEON.
//
// The words of a row are lanes of vectors and are multiplied by their number, where the other builds spread each of them
// first (integer-lanes.h, quantized.h): a group of R rows is 2 R vectors. Weights become signed when they are read, those of
// 8 bits by their upper bit, so that their sums begin at zero. Exact whatever the bytes are:
// - SDOT adds four products of each column to 32 bits;
// - without it 8 bits take two instructions for eight products, SMULL and SADALP, since two products may need 17 bits;
// - and 4 bits one, SMLAL: the eight products of a group that a lane adds up stay below 15 x 128 x 8.
// Both of these hold a column's k in two lanes, in two vectors for four columns, until the group ends.
#pragma once
#include "runtime.h"

namespace MINKE_NS {

/** Lane L of four words, four times. */
template <int L>
MINKE_INLINE int8x16_t spread(int8x16_t words) {
  return vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(words), L));
}

/** Sums of four columns of a group: `add` takes four bytes of each and lane L of a vector of a row's words. */
#if defined(__ARM_FEATURE_DOTPROD)
struct Dots {
  static constexpr int vectors = 1;
  int32x4_t sum;
  MINKE_INLINE void begin(int32_t start) { sum = vdupq_n_s32(start); }
  template <int L>
  MINKE_INLINE void add(int8x16_t weights, int8x16_t words) {
    sum = vdotq_laneq_s32(sum, weights, words, L);
  }
  MINKE_INLINE int32x4_t end(int32_t) const { return sum; }
};
typedef Dots Sums8;
typedef Dots Sums4;
#else
struct Sums8 {
  static constexpr int vectors = 2;
  int32x4_t low, high;
  MINKE_INLINE void begin(int32_t) { low = high = vdupq_n_s32(0); }
  template <int L>
  MINKE_INLINE void add(int8x16_t weights, int8x16_t words) {
    const int8x16_t row = spread<L>(words);
    low = vpadalq_s16(low, vmull_s8(vget_low_s8(weights), vget_low_s8(row)));
    high = vpadalq_s16(high, vmull_high_s8(weights, row));
  }
  MINKE_INLINE int32x4_t end(int32_t) const { return vpaddq_s32(low, high); }
};
struct Sums4 {
  static constexpr int vectors = 2;
  int16x8_t low, high;
  MINKE_INLINE void begin(int32_t) { low = high = vdupq_n_s16(0); }
  template <int L>
  MINKE_INLINE void add(int8x16_t weights, int8x16_t words) {
    const int8x16_t row = spread<L>(words);
    low = vmlal_s8(low, vget_low_s8(weights), vget_low_s8(row));
    high = vmlal_high_s8(high, weights, row);
  }
  MINKE_INLINE int32x4_t end(int32_t start) const {
    return vaddq_s32(vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)), vdupq_n_s32(start));
  }
};
#endif

/** A row's bytes stay words of four. */
struct FourBytes {
  static constexpr bool wide = false;
  /** Where the sum of a group begins, for bytes of sums `even` and `odd`. */
  MINKE_INLINE static int32_t start(int32_t even, int32_t odd, int offset) { return -offset * (even + odd); }
};

/** 8-bit weights: a step is the words of k = 4 step. */
struct Weights8 {
  typedef FourBytes Way;
  typedef Sums8 Sum;
  static constexpr int offset = 0, steps = 8, parts = 1;
  static constexpr idx blockBytes = tileWidth * (groupSize + 2);
  template <int P>
  MINKE_INLINE static int8x16_t part(uint8x16_t bytes) {
    return vreinterpretq_s8_u8(veorq_u8(bytes, vdupq_n_u8(0x80)));
  }
};

/** 4-bit weights: a step is the words of k = 4 step in the lower halves and of 16 + 4 step in the upper ones. */
struct Weights4 {
  typedef FourBytes Way;
  typedef Sums4 Sum;
  static constexpr int offset = 8, steps = 4, parts = 2;
  static constexpr idx blockBytes = tileWidth * (groupSize / 2 + 2);
  template <int P>
  MINKE_INLINE static int8x16_t part(uint8x16_t bytes) {
    return vreinterpretq_s8_u8(P == 0 ? vandq_u8(bytes, vdupq_n_u8(15)) : vshrq_n_u8(bytes, 4));
  }
};

/** Vectors of columns that R rows are summed for at a time: as many as fit 16 registers, a power of two. */
template <class Weights, int R>
constexpr int columnVectors = R * Weights::Sum::vectors > 8   ? 1
                              : R * Weights::Sum::vectors > 4 ? 2
                              : R * Weights::Sum::vectors > 2 ? 4
                                                              : 8;

/** sums[r] += row r of a strip times a tile, for 32 columns. */
template <class Weights, int R>
static void quantizedTile(const int32_t* strip, const char* tile, idx G, float* sums) {
  constexpr int V = columnVectors<Weights, R>;
  constexpr idx lineBytes = 4 * tileWidth, stripWords = R * (groupWords + 2);
  // One row's outputs stay in registers; those of more rows would not fit.
  constexpr bool held = R == 1 && V == 8;
  vf totals[held ? V : 1];
  if constexpr (held)
    for (int v = 0; v < V; v++) totals[v] = load(sums + v * W);
  for (idx g = 0; g < G; g++, tile += Weights::blockBytes, strip += stripWords) {
    const int32_t* starts = strip + R * groupWords;
    const float* scales = (const float*)(starts + R);
    MINKE_ROLLED
    for (idx j = 0; j < tileWidth; j += V * W) {
      typename Weights::Sum sum[R][V];
      MINKE_UNROLL
      for (int r = 0; r < R; r++)
        MINKE_UNROLL
        for (int v = 0; v < V; v++) sum[r][v].begin(Weights::offset ? starts[r] : 0);
      unrolled<Weights::steps>([&](auto step) __attribute__((always_inline)) {
        constexpr int s = decltype(step)::value;
        if (R * Weights::Sum::vectors > 1) asm volatile("" ::: "memory");  // loads moved forward would fill the registers
        if (R == 1 && j == 0) {
          __builtin_prefetch(tile + s * lineBytes + 2048);
          __builtin_prefetch(tile + s * lineBytes + 2048 + 64);
        }
        MINKE_UNROLL
        for (int v = 0; v < V; v++) {
          const uint8x16_t bytes = vld1q_u8((const uint8_t*)tile + s * lineBytes + 4 * (j + v * W));
          unrolled<Weights::parts>([&](auto part) __attribute__((always_inline)) {
            constexpr int p = decltype(part)::value, first = (p * Weights::steps + s) * R;
            const int8x16_t weights = Weights::template part<p>(bytes);
            unrolled<R>([&](auto row) __attribute__((always_inline)) {
              constexpr int r = decltype(row)::value, word = first + r;
              const int8x16_t words = vld1q_s8((const int8_t*)(strip + word / 4 * 4));
              sum[r][v].template add<word % 4>(weights, words);
            });
          });
        }
      });
      MINKE_UNROLL
      for (int v = 0; v < V; v++) {
        const vf scale = loadHalves16(tile + Weights::steps * lineBytes + 2 * (j + v * W));
        MINKE_UNROLL
        for (int r = 0; r < R; r++) {
          const vf number = (vf)vcvtq_f32_s32(sum[r][v].end(starts[r])), factor = splat(scales[r]) * scale;
          float* to = sums + r * tileWidth + j + v * W;
          if constexpr (held) totals[v] = fma(number, factor, totals[v]);
          else store(to, fma(number, factor, load(to)));
        }
      }
    }
  }
  if constexpr (held)
    for (int v = 0; v < V; v++) store(sums + v * W, totals[v]);
}

}  // namespace MINKE_NS
