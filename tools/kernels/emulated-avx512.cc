// The AVX-512 build of the kernels for processors that have only AVX2: the few intrinsics it names, lane by lane or by
// halves, with the same roundings. For checking code that could not run otherwise (check-avx512.mjs); slow.
//
// Vectors of 64 bytes are the compiler's own and need no such processor. BF16 dot products are left out.
#include <immintrin.h>
#define __AVX512F__ 1

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

#include "kernels.cc"

// What native.cc names besides; it is not chosen, as the processor has no such instructions.
extern "C" int minkeRunAvx512Bf16(const double* program, size_t words, MinkeHost* host) {
  return minkeRunAvx512(program, words, host);
}
