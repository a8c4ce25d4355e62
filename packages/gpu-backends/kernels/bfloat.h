// bf16 operands of products: rounding, widening, and pairs for AVX512_BF16.
//
// A product with a bf16 weight rounds its f32 side to bf16 (nearest even). On both sides subnormal numbers
// count as zero (f32 numbers below 2^-126 before rounding), as VDPBF16PS has it whatever MXCSR says. Sums are
// f32. With AVX512_BF16 a step takes the numbers of k and k + 1 (k even): the product at k + 1 is added first,
// then that at k, each with one rounding (measured on Zen 5, where the instruction is two fused multiply-adds;
// Intel's manual leaves the middle rounding open), and subnormal sums are flushed to zero: what is below 2^-126
// may be lost. Everywhere else the numbers are widened and take the f32 kernels: one chain of multiply-adds
// over ascending k. Within a build the order is one, whatever the shape.
#pragma once
#include "runtime.h"

namespace MINKE_NS {

/** Columns of a tile of packed weights (packed.h). */
constexpr idx packedColumns = 32;

typedef int32_t vi_unaligned __attribute__((vector_size(4 * W), aligned(2), may_alias));
typedef uint16_t half_alias __attribute__((may_alias, aligned(1)));
MINKE_INLINE vi loadWords(const void* p) { return *(const vi_unaligned*)p; }

/** f32 numbers rounded to bf16, as f32. */
MINKE_INLINE vf roundToBfloat(vf x) {
  const vi bits = (vi)x, magnitude = bits & 0x7fffffff;
  const vi rounded = (bits + 0x7fff + ((bits >> 16) & 1)) & (int32_t)0xffff0000;
  const vi finite = magnitude < splati(0x00800000) ? bits & (int32_t)0x80000000 : rounded;
  return (vf)(magnitude > splati(0x7f800000) ? (bits | 0x00400000) & (int32_t)0xffff0000 : finite);
}

/** bf16 bits in the upper halves, zeros below, as f32; subnormal numbers as zero. */
MINKE_INLINE vf widenBits(vi upper) {
  return (vf)((upper & 0x7f800000) == splati(0) ? upper & (int32_t)0x80000000 : upper);
}
MINKE_INLINE float widen(uint16_t h) {
  const uint32_t bits = (uint32_t)h << 16, kept = (bits & 0x7f800000) == 0 ? bits & 0x80000000 : bits;
  float f;
  __builtin_memcpy(&f, &kept, 4);
  return f;
}

/** n bf16 numbers as f32. */
[[maybe_unused]] static void widenRow(const uint16_t* from, idx n, float* to) {
  idx i = 0;
  for (; i + W <= n; i += W) {
    uint16_t h[W];
    __builtin_memcpy(h, from + i, sizeof h);
#if defined(__ARM_NEON)
    const vi words = (vi)vshll_n_u16(vld1_u16(h), 16);
#else
    vi words;
    for (int q = 0; q < W; q++) words[q] = (int32_t)((uint32_t)h[q] << 16);
#endif
    store(to + i, widenBits(words));
  }
  for (; i < n; i++) to[i] = widen(((const half_alias*)from)[i]);
}

#if defined(__AVX512BF16__)
/** Two bf16 products a step: a word holds the numbers of k and k + 1, the first in the lower half. */
struct Pairs {
  static constexpr idx depth = 2;
  MINKE_INLINE static vf splat(const float* p) {
    int32_t word;
    __builtin_memcpy(&word, p, 4);
    return (vf)splati(word);
  }
  MINKE_INLINE static vf step(vf a, vf b, vf c) {
    return (vf)_mm512_dpbf16_ps((__m512)c, (__m512bh)(__m512i)a, (__m512bh)(__m512i)b);
  }
  /** Products 2k and 2k + 1 of the lanes whose limit is beyond them; of `a` zero takes the place of what is not. */
  MINKE_INLINE static vf stepUpTo(vi limits, idx k, vf a, vf b, vf c) {
    const vi last = splati((int32_t)(2 * k + 1));
    const vf one = step((vf)((vi)a & 0xffff), b, c);
    return limits > last ? step(a, b, c) : limits == last ? one : c;
  }
};

/** bf16 pairs of two vectors of f32 numbers. */
MINKE_INLINE vf pairUp(vf first, vf second) {
  const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)first));
  const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)second));
  return (vf)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}
MINKE_INLINE __m512i loadHalves(const uint16_t* p, idx n) {
  if (n <= 0) return _mm512_setzero_si512();
  return n >= 32 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi16((__mmask32)((1ull << n) - 1), p);
}
#endif

}  // namespace MINKE_NS
