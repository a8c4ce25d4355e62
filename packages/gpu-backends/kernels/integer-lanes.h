// Sums of products of 8 and 4 bit weights with 8 bit activations, for W columns at once.
//
// A vector holds four k of each of W columns, as VPDPBUSD has it: word c the four unsigned bytes of column c. A step
// multiplies them by the four signed bytes of one row, the same for all columns. Weights are stored with an offset
// (128 or 8) and the sum of a group begins at -offset times the sum of the row's bytes, so it ends at the product of
// the true integers. Sums are exact whatever the bytes are:
// - with VNNI four products are added to 32 bits at once;
// - 8 bits elsewhere: bytes 0 and 2, then 1 and 3, widened to 16 bits, and products of pairs added to 32 bits
//   (VPMADDWD; VPMADDUBSW would saturate at 255 x 127 x 2);
// - 4 bits with AVX2 and AVX-512: VPMADDUBSW, whose pairs stay below 15 x 128 x 2, added up in 16 bits. Those may wrap
//   on the way, but what a lane ends at, 16 products of at most 8 x 128, fits. So with WebAssembly's relaxed dot product:
//   it is exact where one side has 7 bits. Weights of 8 bits have not, and a second product for their top bit costs
//   what it saves.
#pragma once
#include "runtime.h"

namespace MINKE_NS {

/** Numbers of a group, and the words of four bytes it makes. */
constexpr idx groupSize = 32, groupWords = groupSize / 4;
/** Columns of a tile. */
constexpr idx tileWidth = 32;

typedef int32_t word_alias __attribute__((may_alias, aligned(1)));
typedef vi vi_anywhere __attribute__((aligned(1), may_alias));
typedef int16_t vs __attribute__((vector_size(4 * W)));
typedef uint16_t vus __attribute__((vector_size(4 * W)));

MINKE_INLINE vi loadBytes(const void* p) { return *(const vi_anywhere*)p; }
MINKE_INLINE int32_t word(const void* p) { return *(const word_alias*)p; }

/** c + a0 b0 + a1 b1 of the 16-bit halves of each word. */
MINKE_INLINE vi addPairs(vi a, vi b, vi c) {
#if defined(__AVX512F__)
  return (vi)_mm512_madd_epi16((__m512i)a, (__m512i)b) + c;
#elif defined(__AVX2__)
  return (vi)_mm256_madd_epi16((__m256i)a, (__m256i)b) + c;
#elif defined(__wasm__)
  return (vi)__builtin_wasm_dot_s_i32x4_i16x8((vs)a, (vs)b) + c;
#else
  return (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16) + c;
#endif
}

typedef int16_t group_halves __attribute__((vector_size(groupSize)));

/** The sums of the even and of the odd ones of 16 numbers, which stay within 16 bits. */
MINKE_INLINE void sumInTurns(group_halves x, int32_t& even, int32_t& odd) {
#if defined(__AVX2__)
  const __m256i all = (__m256i)x;
  __m128i sum = _mm_add_epi16(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
  sum = _mm_add_epi16(sum, _mm_srli_si128(sum, 8));
  sum = _mm_add_epi16(sum, _mm_srli_si128(sum, 4));
  const int32_t both = _mm_cvtsi128_si32(sum);
  even = (int16_t)both;
  odd = both >> 16;
#else
  int32_t sum[2] = {};
  for (int i = 0; i < groupSize / 2; i++) sum[i & 1] += x[i];
  even = sum[0], odd = sum[1];
#endif
}

/** W numbers of f16, as f32. */
MINKE_INLINE vf loadHalves16(const void* p) {
#if defined(__AVX512F__)
  return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
#elif defined(__AVX2__)
  return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
#elif defined(__ARM_NEON)
  uint16_t h[W];
  __builtin_memcpy(h, p, sizeof h);
  return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(h)));
#else
  uint16_t h[W];
  __builtin_memcpy(h, p, sizeof h);
  vi words;
  for (int i = 0; i < W; i++) words[i] = h[i];
  const vi magnitude = (words & 0x7fff) << 13;
  const vi finite = (vi)((vf)magnitude * 0x1p112f);
  return (vf)((magnitude >= splati(0x0f800000) ? magnitude | 0x7f800000 : finite) | (words & 0x8000) << 16);
#endif
}

#if defined(__ARM_NEON)
}  // namespace MINKE_NS
#include "quantized-neon.h"
#else

/** How a row's bytes are multiplied: as words of four bytes, or widened to two words of pairs. */
struct FourBytes {
  static constexpr bool wide = false;
};
struct TwoPairs {
  static constexpr bool wide = true;
  typedef vi Sum;
  MINKE_INLINE static Sum begin(int32_t start) { return splati(start); }
  MINKE_INLINE static vi end(Sum sum) { return sum; }
  /** Where the sum of a group begins, for bytes of sums `even` (of k, k + 1 of each word) and `odd`. */
  MINKE_INLINE static int32_t start(int32_t even, int32_t odd, int offset) { return -offset * (even + odd); }
};

#if defined(__AVX512VNNI__)
struct Dot : FourBytes {
  typedef vi Sum;
  MINKE_INLINE static Sum begin(int32_t start) { return splati(start); }
  MINKE_INLINE static vi end(Sum sum) { return sum; }
  MINKE_INLINE static int32_t start(int32_t even, int32_t odd, int offset) { return -offset * (even + odd); }
  MINKE_INLINE static Sum add(Sum sum, vi weights, int32_t row) {
    return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)weights, (__m512i)splati(row));
  }
};
#endif

/** 8-bit weights: a step is 4W bytes. */
struct Weights8 {
  static constexpr int offset = 128, steps = 8;
  static constexpr idx blockBytes = tileWidth * (groupSize + 2);
#if defined(__AVX512VNNI__)
  typedef Dot Way;
  struct Part {
    vi w;
  };
  MINKE_INLINE static Part read(const char* p) { return {loadBytes(p)}; }
  template <int R>
  MINKE_INLINE static Way::Sum add(Way::Sum sum, const Part& part, const int32_t* row, idx step) {
    return Way::add(sum, part.w, row[R * step]);
  }
#else
  typedef TwoPairs Way;
  struct Part {
    vi even, odd;
  };
  MINKE_INLINE static Part read(const char* p) {
    const vi w = loadBytes(p);
    return {w & 0x00ff00ff, (vi)((vus)w >> 8)};
  }
  template <int R>
  MINKE_INLINE static Way::Sum add(Way::Sum sum, const Part& part, const int32_t* row, idx step) {
    return addPairs(part.odd, splati(row[R * (2 * step + 1)]), addPairs(part.even, splati(row[R * (2 * step)]), sum));
  }
#endif
};

/** 4-bit weights: a step is 4W bytes with the words of k = 4 step in the lower and of 16 + 4 step in the upper halves. */
struct Weights4 {
  static constexpr int offset = 8, steps = 4;
  static constexpr idx blockBytes = tileWidth * (groupSize / 2 + 2);
#if defined(__AVX512VNNI__) || defined(__AVX2__) || defined(__wasm_relaxed_simd__)
#if defined(__AVX512VNNI__)
  typedef Dot Way;
#else
  struct Way : FourBytes {
    typedef vs Sum;
    MINKE_INLINE static Sum begin(int32_t start) { return (vs)splati(start); }
    MINKE_INLINE static vi end(Sum sum) { return addPairs((vi)sum, splati(0x00010001), vi{}); }
    MINKE_INLINE static int32_t start(int32_t even, int32_t odd, int offset) {
      return (int32_t)((uint32_t)(-offset * even & 0xffff) | (uint32_t)(-offset * odd) << 16);
    }
    MINKE_INLINE static Sum add(Sum sum, vi weights, int32_t row) {
      const vi bytes = splati(row);
#if defined(__AVX512F__)
      const vus pairs = (vus)_mm512_maddubs_epi16((__m512i)weights, (__m512i)bytes);
#elif defined(__wasm_relaxed_simd__)
      typedef signed char bytes16 __attribute__((vector_size(16)));
      const vus pairs = (vus)__builtin_wasm_relaxed_dot_i8x16_i7x16_s_i16x8((bytes16)bytes, (bytes16)weights);
#else
      const vus pairs = (vus)_mm256_maddubs_epi16((__m256i)weights, (__m256i)bytes);
#endif
      return (vs)((vus)sum + pairs);
    }
  };
#endif
  struct Part {
    vi low, high;
  };
  MINKE_INLINE static Part read(const char* p) {
    const vi w = loadBytes(p);
    return {w & 0x0f0f0f0f, (vi)((vu)w >> 4) & 0x0f0f0f0f};
  }
  template <int R>
  MINKE_INLINE static Way::Sum add(Way::Sum sum, const Part& part, const int32_t* row, idx step) {
    return Way::add(Way::add(sum, part.low, row[R * step]), part.high, row[R * (4 + step)]);
  }
#else
  typedef TwoPairs Way;
  struct Part {
    vi even, odd, highEven, highOdd;
  };
  MINKE_INLINE static Part read(const char* p) {
    const vi w = loadBytes(p);
    return {w & 0x000f000f, w >> 8 & 0x000f000f, w >> 4 & 0x000f000f, w >> 12 & 0x000f000f};
  }
  template <int R>
  MINKE_INLINE static Way::Sum add(Way::Sum sum, const Part& part, const int32_t* row, idx step) {
    sum = addPairs(part.odd, splati(row[R * (2 * step + 1)]), addPairs(part.even, splati(row[R * (2 * step)]), sum));
    row += 8 * R;
    return addPairs(part.highOdd, splati(row[R * (2 * step + 1)]), addPairs(part.highEven, splati(row[R * (2 * step)]), sum));
  }
#endif
};

}  // namespace MINKE_NS
#endif
