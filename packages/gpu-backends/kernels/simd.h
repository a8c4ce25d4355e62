// The vector type of one instruction set, and the few operations compilers do not express portably.
//
// Everything here lives in namespace MINKE_NS, one per instruction set, so that several builds of the same
// source can share a binary. W is the number of f32 lanes. `fma` is one rounding where the machine has it
// (AVX2, AVX-512, NEON) and two in WebAssembly, which has no fused multiply-add in its SIMD128 baseline; with relaxed
// SIMD the engine says, the same everywhere on one machine.
#pragma once
#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(__clang__)
#define MINKE_UNROLL _Pragma("unroll")
#define MINKE_ROLLED _Pragma("nounroll")
#else
#define MINKE_UNROLL _Pragma("GCC unroll 32")
#define MINKE_ROLLED _Pragma("GCC unroll 1")
#endif
#define MINKE_INLINE inline __attribute__((always_inline))

namespace MINKE_NS {

typedef ptrdiff_t idx;

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif

/** Whether there are 32 vector registers, not 16. */
#if defined(__AVX512F__) || defined(__ARM_NEON)
constexpr bool manyRegisters = true;
#else
constexpr bool manyRegisters = false;
#endif

typedef float vf __attribute__((vector_size(4 * W)));
typedef int32_t vi __attribute__((vector_size(4 * W)));
typedef uint32_t vu __attribute__((vector_size(4 * W)));
typedef double vd __attribute__((vector_size(8 * W)));
// Aligned to 2 bytes only: a view of packed bf16 weights begins at any even address.
typedef float vf_unaligned __attribute__((vector_size(4 * W), aligned(2), may_alias));

MINKE_INLINE vf load(const float* p) { return *(const vf_unaligned*)p; }
MINKE_INLINE void store(float* p, vf v) { *(vf_unaligned*)p = v; }
MINKE_INLINE vf splat(float x) { return x - vf{}; }
MINKE_INLINE vi splati(int32_t x) { return x - vi{}; }

#if defined(__AVX512F__)
MINKE_INLINE vf fma(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
MINKE_INLINE vf vsqrt(vf a) { return (vf)_mm512_sqrt_ps((__m512)a); }
MINKE_INLINE vf loadPart(const float* p, idx n) { return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
MINKE_INLINE void storePart(float* p, vf v, idx n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v); }
/** Lanes of `c` stay where `mask` (0 or -1 per lane) is zero. */
MINKE_INLINE vf fmaWhere(vi mask, vf a, vf b, vf c) {
  return (vf)_mm512_mask3_fmadd_ps((__m512)a, (__m512)b, (__m512)c, _mm512_movepi32_mask((__m512i)mask));
}
#else
#if defined(__AVX2__)
MINKE_INLINE vf fma(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
MINKE_INLINE vf vsqrt(vf a) { return (vf)_mm256_sqrt_ps((__m256)a); }
#elif defined(__ARM_NEON)
MINKE_INLINE vf fma(vf a, vf b, vf c) { return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
MINKE_INLINE vf vsqrt(vf a) { return (vf)vsqrtq_f32((float32x4_t)a); }
#else
#if defined(__wasm_relaxed_simd__)
MINKE_INLINE vf fma(vf a, vf b, vf c) { return (vf)__builtin_wasm_relaxed_madd_f32x4(a, b, c); }
#else
MINKE_INLINE vf fma(vf a, vf b, vf c) { return a * b + c; }
#endif
MINKE_INLINE vf vsqrt(vf a) {
  for (int i = 0; i < W; i++) a[i] = __builtin_sqrtf(a[i]);
  return a;
}
#endif
#if defined(__ARM_NEON)
MINKE_INLINE vf loadPart(const float* p, idx n) {
  if (n >= W) return load(p);
  const float32x2_t none = vdup_n_f32(0);
  if (n < 2) return (vf)vcombine_f32(n == 1 ? vld1_lane_f32(p, none, 0) : none, none);
  return (vf)vcombine_f32(vld1_f32(p), n == 3 ? vld1_lane_f32(p + 2, none, 0) : none);
}
MINKE_INLINE void storePart(float* p, vf v, idx n) {
  const float32x4_t q = (float32x4_t)v;
  if (n >= W) return store(p, v);
  if (n >= 2) vst1_f32(p, vget_low_f32(q));
  if (n == 3) vst1q_lane_f32(p + 2, q, 2);
  if (n == 1) vst1q_lane_f32(p, q, 0);
}
#else
MINKE_INLINE vf loadPart(const float* p, idx n) {
  vf v = {};
  for (idx i = 0; i < n; i++) v[i] = p[i];
  return v;
}
MINKE_INLINE void storePart(float* p, vf v, idx n) {
  for (idx i = 0; i < n; i++) p[i] = v[i];
}
#endif
MINKE_INLINE vf fmaWhere(vi mask, vf a, vf b, vf c) { return mask ? fma(a, b, c) : c; }
#endif

#if defined(__ARM_NEON)
/** A number known to the compiler, so that it can be that of a lane. */
template <int N>
struct Number {
  static constexpr int value = N;
};
/** Calls `body(Number<0>{})`, ... `body(Number<N - 1>{})`. */
template <int N, class F>
MINKE_INLINE void unrolled(const F& body) {
  if constexpr (N > 0) {
    unrolled<N - 1>(body);
    body(Number<N - 1>{});
  }
}

/** c + a times lane L of b. */
template <int L>
MINKE_INLINE vf fmaLane(vf a, vf b, vf c) {
  return (vf)vfmaq_laneq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b, L);
}
#endif

MINKE_INLINE float fma1(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_NEON)
  return __builtin_fmaf(a, b, c);
#elif defined(__wasm_relaxed_simd__)
  return fma(splat(a), splat(b), splat(c))[0];
#else
  return a * b + c;
#endif
}

MINKE_INLINE vf vmax(vf a, vf b) { return a > b ? a : b; }
MINKE_INLINE vf vmin(vf a, vf b) { return a < b ? a : b; }
MINKE_INLINE vf vabs(vf a) { return (vf)((vi)a & 0x7fffffff); }
MINKE_INLINE float sqrt1(float x) { return __builtin_sqrtf(x); }

/** Sum of the lanes by halves: (0 + W/2, 1 + W/2 + 1, ...), then again. */
MINKE_INLINE float sumLanes(vf v) {
#if defined(__ARM_NEON)
  const float32x2_t pairs = vadd_f32(vget_low_f32((float32x4_t)v), vget_high_f32((float32x4_t)v));
  return vget_lane_f32(vpadd_f32(pairs, pairs), 0);
#elif defined(__AVX2__)
#if defined(__AVX512F__)
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256((__m512)v), _mm512_extractf32x8_ps((__m512)v, 1));
#else
  const __m256 eight = (__m256)v;
#endif
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
#else
  float t[W];
  store(t, v);
  for (int half = W / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) t[i] += t[i + half];
  return t[0];
#endif
}
MINKE_INLINE double sumLanes(vd v) {
  double t[W];
  __builtin_memcpy(t, &v, sizeof t);
  for (int half = W / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) t[i] += t[i + half];
  return t[0];
}
MINKE_INLINE float maxLanes(vf v) {
  float m = v[0];
  for (int i = 1; i < W; i++) m = v[i] > m ? v[i] : m;
  return m;
}

/** The first lane in which a comparison holds; W when there is none. */
MINKE_INLINE int firstLane(vi mask) {
#if defined(__AVX512F__)
  const unsigned bits = _mm512_movepi32_mask((__m512i)mask);
  return bits ? __builtin_ctz(bits) : W;
#elif defined(__AVX2__)
  const unsigned bits = (unsigned)_mm256_movemask_ps((__m256)mask);
  return bits ? __builtin_ctz(bits) : W;
#elif defined(__ARM_NEON)
  const uint64_t bits = vget_lane_u64(vreinterpret_u64_u16(vmovn_u32((uint32x4_t)mask)), 0);  // 16 a lane
  return bits ? __builtin_ctzll(bits) / 16 : W;
#else
  int i = 0;
  while (i < W && !mask[i]) i++;
  return i;
#endif
}

#if defined(__ARM_NEON)
/** Bytes of the lanes that are set in a number of four bits, close together; those behind them repeat lane 0. */
alignas(16) constexpr uint8_t lanesOfBits[16][16] = {
#define MINKE_LANE(i) 4 * (i), 4 * (i) + 1, 4 * (i) + 2, 4 * (i) + 3
#define MINKE_LANES(a, b, c, d) {MINKE_LANE(a), MINKE_LANE(b), MINKE_LANE(c), MINKE_LANE(d)}
    MINKE_LANES(0, 0, 0, 0), MINKE_LANES(0, 0, 0, 0), MINKE_LANES(1, 0, 0, 0), MINKE_LANES(0, 1, 0, 0),
    MINKE_LANES(2, 0, 0, 0), MINKE_LANES(0, 2, 0, 0), MINKE_LANES(1, 2, 0, 0), MINKE_LANES(0, 1, 2, 0),
    MINKE_LANES(3, 0, 0, 0), MINKE_LANES(0, 3, 0, 0), MINKE_LANES(1, 3, 0, 0), MINKE_LANES(0, 1, 3, 0),
    MINKE_LANES(2, 3, 0, 0), MINKE_LANES(0, 2, 3, 0), MINKE_LANES(1, 2, 3, 0), MINKE_LANES(0, 1, 2, 3),
#undef MINKE_LANES
#undef MINKE_LANE
};
#endif

/**
 * Writes the lanes in which a comparison holds close together, and returns how many they are; up to W - 1 words after
 * them are overwritten.
 */
MINKE_INLINE idx compress(int32_t* to, vi v, vi mask) {
#if defined(__AVX512F__)
  const __mmask16 bits = _mm512_movepi32_mask((__m512i)mask);
  _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(bits, (__m512i)v));
  return __builtin_popcount(bits);
#elif defined(__AVX2__) && defined(__BMI2__)
  const unsigned bits = (unsigned)_mm256_movemask_ps((__m256)mask);
  const uint64_t lanes = _pext_u64(0x0706050403020100u, _pdep_u64(bits, 0x0101010101010101u) * 0xff);
  const __m256i order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)lanes));
  _mm256_storeu_si256((__m256i*)to, _mm256_permutevar8x32_epi32((__m256i)v, order));
  return __builtin_popcount(bits);
#elif defined(__ARM_NEON)
  static const uint32_t weights[W] = {1, 2, 4, 8};
  const unsigned bits = vaddvq_u32(vandq_u32((uint32x4_t)mask, vld1q_u32(weights)));
  vst1q_u8((uint8_t*)to, vqtbl1q_u8((uint8x16_t)v, vld1q_u8(lanesOfBits[bits])));
  return (idx)(0x4332322132212110ull >> 4 * bits & 15);
#else
  idx n = 0;
  for (int i = 0; i < W; i++) {
    to[n] = v[i];
    n += mask[i] & 1;
  }
  return n;
#endif
}

/** Whole vectors, and the last `n` lanes of a row: the two ways a loop body touches memory. */
struct Whole {
  MINKE_INLINE vf load(const float* p) const { return MINKE_NS::load(p); }
  MINKE_INLINE void store(float* p, vf v) const { MINKE_NS::store(p, v); }
  MINKE_INLINE vf keep(vf v, float) const { return v; }
};
struct Part {
  idx n;
  MINKE_INLINE vf load(const float* p) const { return loadPart(p, n); }
  MINKE_INLINE void store(float* p, vf v) const { storePart(p, v, n); }
  /** Lanes beyond the row replaced by `other`, before a reduction. */
  MINKE_INLINE vf keep(vf v, float other) const {
#if defined(__ARM_NEON)
    return vi{0, 1, 2, 3} < splati((int32_t)n) ? v : splat(other);
#else
    for (idx i = n; i < W; i++) v[i] = other;
    return v;
#endif
  }
};

/** Calls `body(io, i)` for each vector of [begin, end), the last one partial. */
template <class F>
MINKE_INLINE void vectors(idx begin, idx end, F body) {
  idx i = begin;
  for (; i + W <= end; i += W) body(Whole{}, i);
  if (i < end) body(Part{end - i}, i);
}

/** Transposes a W x W block held in registers. */
MINKE_INLINE void transposeRegisters(vf r[W]) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  // Inside the 128-bit halves first: half as many instructions as by interleaving whole vectors.
  vf pairs[W], quads[W];
  MINKE_UNROLL
  for (int i = 0; i < W; i += 2) {
    pairs[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    pairs[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
  MINKE_UNROLL
  for (int i = 0; i < W; i++) {
    const vf a = pairs[i / 4 * 4 + i % 4 / 2], b = pairs[i / 4 * 4 + i % 4 / 2 + 2];
    quads[i] = i % 2 ? __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15) : __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
  }
  MINKE_UNROLL
  for (int i = 0; i < W / 2; i++) {
    r[i] = __builtin_shufflevector(quads[i], quads[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    r[i + 4] = __builtin_shufflevector(quads[i], quads[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
#else
  constexpr int stages = W == 16 ? 4 : 2;
  MINKE_UNROLL
  for (int s = 0; s < stages; s++) {
    vf t[W];
    MINKE_UNROLL
    for (int i = 0; i < W / 2; i++) {
      vf a = r[i], b = r[i + W / 2];
#if defined(__AVX512F__)
      t[2 * i] = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      t[2 * i + 1] = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#else
      t[2 * i] = __builtin_shufflevector(a, b, 0, 4, 1, 5);
      t[2 * i + 1] = __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
    }
    MINKE_UNROLL
    for (int i = 0; i < W; i++) r[i] = t[i];
  }
#endif
}

/**
 * to[c * toStride + r] = from[r * fromStride + c] for r < rows, c < columns.
 * With `wide`, each row of `to` is written in whole vectors: up to W - 1 floats after `rows` become zeros.
 */
[[maybe_unused]] static void transpose(const float* from, idx fromStride, idx rows, idx columns, float* to, idx toStride, bool wide) {
  for (idx r0 = 0; r0 < rows; r0 += W) {
    const idx nr = rows - r0 < W ? rows - r0 : W;
    for (idx c0 = 0; c0 < columns; c0 += W) {
      const idx nc = columns - c0 < W ? columns - c0 : W;
      const float* src = from + r0 * fromStride + c0;
      float* dst = to + c0 * toStride + r0;
      vf r[W];
      if (nc == W && nr == W) {
        MINKE_UNROLL
        for (int i = 0; i < W; i++) r[i] = load(src + i * fromStride);
      } else if (nc == W) {
        for (int i = 0; i < W; i++) r[i] = i < nr ? load(src + i * fromStride) : vf{};
      } else {
        for (int i = 0; i < W; i++) r[i] = i < nr ? loadPart(src + i * fromStride, nc) : vf{};
      }
      transposeRegisters(r);
      if (nc == W && (wide || nr == W)) {
        MINKE_UNROLL
        for (int i = 0; i < W; i++) store(dst + i * toStride, r[i]);
      } else if (wide || nr == W) {
        for (idx i = 0; i < nc; i++) store(dst + i * toStride, r[i]);
      } else {
        for (idx i = 0; i < nc; i++) storePart(dst + i * toStride, r[i], nr);
      }
    }
  }
}

}  // namespace MINKE_NS
