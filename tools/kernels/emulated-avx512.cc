// The AVX-512 build of the kernels for processors that have only AVX2: the few intrinsics it names, lane by lane or by
// halves, with the same roundings. For checking code that could not run otherwise (check-avx512.mjs); slow.
//
// Vectors of 64 bytes are the compiler's own and need no such processor. BF16 dot products are left out.
#include <immintrin.h>
#define __AVX512F__ 1
#if defined(MINKE_EMULATED_VNNI)
#define __AVX512VNNI__ 1
#endif

#define EMULATED static inline __attribute__((always_inline))

namespace emulated {

EMULATED __m512 fma(__m512 a, __m512 b, __m512 c) {
  __m512 result;
  for (int half = 0; half < 2; half++) {
    __m256 x, y, z;
    __builtin_memcpy(&x, (const char*)&a + 32 * half, 32);
    __builtin_memcpy(&y, (const char*)&b + 32 * half, 32);
    __builtin_memcpy(&z, (const char*)&c + 32 * half, 32);
    x = _mm256_fmadd_ps(x, y, z);
    __builtin_memcpy((char*)&result + 32 * half, &x, 32);
  }
  return result;
}
EMULATED __m512 root(__m512 a) {
  for (int i = 0; i < 16; i++) a[i] = __builtin_sqrtf(a[i]);
  return a;
}
EMULATED __m512 loadWhere(unsigned mask, const void* p) {
  __m512 result = {};
  for (int i = 0; i < 16; i++)
    if (mask >> i & 1) result[i] = ((const float*)p)[i];
  return result;
}
EMULATED void storeWhere(void* p, unsigned mask, __m512 v) {
  for (int i = 0; i < 16; i++)
    if (mask >> i & 1) ((float*)p)[i] = v[i];
}
EMULATED __m512 fmaWhere(__m512 a, __m512 b, __m512 c, unsigned mask) {
  __m512 result = fma(a, b, c);
  for (int i = 0; i < 16; i++)
    if (!(mask >> i & 1)) result[i] = c[i];
  return result;
}
EMULATED unsigned short signs(__m512i v) {
  int words[16];
  __builtin_memcpy(words, &v, 64);
  unsigned mask = 0;
  for (int i = 0; i < 16; i++) mask |= (unsigned)(words[i] < 0) << i;
  return (unsigned short)mask;
}
EMULATED __m512i compress(unsigned mask, __m512i v) {
  int words[16], kept[16] = {}, n = 0;
  __builtin_memcpy(words, &v, 64);
  for (int i = 0; i < 16; i++)
    if (mask >> i & 1) kept[n++] = words[i];
  __m512i result;
  __builtin_memcpy(&result, kept, 64);
  return result;
}
EMULATED void store(void* p, __m512i v) { __builtin_memcpy(p, &v, 64); }
/** Sums of products of neighbours among 16-bit numbers, and of unsigned with signed bytes (saturated). */
EMULATED __m512i maddWords(__m512i a, __m512i b) {
  short x[32], y[32];
  int sums[16];
  __builtin_memcpy(x, &a, 64);
  __builtin_memcpy(y, &b, 64);
  for (int i = 0; i < 16; i++) sums[i] = (int)((unsigned)(x[2 * i] * y[2 * i]) + (unsigned)(x[2 * i + 1] * y[2 * i + 1]));
  __m512i result;
  __builtin_memcpy(&result, sums, 64);
  return result;
}
EMULATED __m512i maddBytes(__m512i a, __m512i b) {
  unsigned char x[64];
  signed char y[64];
  short sums[32];
  __builtin_memcpy(x, &a, 64);
  __builtin_memcpy(y, &b, 64);
  for (int i = 0; i < 32; i++) {
    const int sum = x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
    sums[i] = (short)(sum > 32767 ? 32767 : sum < -32768 ? -32768 : sum);
  }
  __m512i result;
  __builtin_memcpy(&result, sums, 64);
  return result;
}
/** sum += products of four unsigned bytes of a with four signed ones of b. */
EMULATED __m512i dotBytes(__m512i sum, __m512i a, __m512i b) {
  unsigned char x[64];
  signed char y[64];
  int sums[16];
  __builtin_memcpy(x, &a, 64);
  __builtin_memcpy(y, &b, 64);
  __builtin_memcpy(sums, &sum, 64);
  for (int i = 0; i < 64; i++) sums[i / 4] += x[i] * y[i];
  __m512i result;
  __builtin_memcpy(&result, sums, 64);
  return result;
}
EMULATED __m512 fromHalves(__m256i h) {
  __m512 result;
  for (int half = 0; half < 2; half++) {
    __m128i eight;
    __builtin_memcpy(&eight, (const char*)&h + 16 * half, 16);
    const __m256 wide = _mm256_cvtph_ps(eight);
    __builtin_memcpy((char*)&result + 32 * half, &wide, 32);
  }
  return result;
}
EMULATED __m512i fromBytes(__m128i bytes) {
  signed char x[16];
  int words[16];
  __builtin_memcpy(x, &bytes, 16);
  for (int i = 0; i < 16; i++) words[i] = x[i];
  __m512i result;
  __builtin_memcpy(&result, words, 64);
  return result;
}
/** p 2^floor(n); exponents beyond 400 overflow or vanish all the same. */
EMULATED __m512 scale(__m512 p, __m512 n) {
  for (int i = 0; i < 16; i++) {
    const float exponent = n[i] < -400 ? -400 : n[i] > 400 ? 400 : n[i];
    p[i] = __builtin_ldexpf(p[i], (int)__builtin_floorf(exponent));
  }
  return p;
}

}  // namespace emulated

#define _mm512_fmadd_ps emulated::fma
#define _mm512_sqrt_ps emulated::root
#define _mm512_maskz_loadu_ps emulated::loadWhere
#define _mm512_mask_storeu_ps emulated::storeWhere
#define _mm512_mask3_fmadd_ps emulated::fmaWhere
#define _mm512_movepi32_mask emulated::signs
#define _mm512_maskz_compress_epi32 emulated::compress
#define _mm512_storeu_si512 emulated::store
#define _mm512_scalef_ps emulated::scale
#define _mm512_madd_epi16 emulated::maddWords
#define _mm512_maddubs_epi16 emulated::maddBytes
#define _mm512_dpbusd_epi32 emulated::dotBytes
#define _mm512_cvtph_ps emulated::fromHalves
#define _mm512_cvtepi8_epi32 emulated::fromBytes

#include "kernels.cc"
