// exp, log and what follows from them, on vectors. Our own, so that a build gives the same bits everywhere.
//
// Polynomials: Cephes single precision (expf, logf, tanhf; Moshier), range reduction with a two-part ln 2.
// Errors stay below 2 ulp; NaN goes through, infinities and subnormal results follow IEEE 754.
#pragma once
#include "simd.h"

namespace MINKE_NS {

#if defined(__wasm__)
#define MINKE_LONG static __attribute__((noinline))  // a small module loads faster
#else
#define MINKE_LONG MINKE_INLINE
#endif

constexpr float infinity = __builtin_inff();

MINKE_LONG vf vexp(vf x) {
  const vf low = splat(-104.0f), high = splat(89.0f);
  const vf raised = low > x ? low : x, clamped = high < raised ? high : raised;  // NaN goes through both
  const vf magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const vf shifted = fma(clamped, splat(1.44269504088896341f), magic);
  const vf n = shifted - magic;
  vf r = fma(n, splat(-0.693359375f), clamped);
  r = fma(n, splat(2.12194440e-4f), r);
  vf p = splat(1.9875691500e-4f);
  p = fma(p, r, splat(1.3981999507e-3f));
  p = fma(p, r, splat(8.3334519073e-3f));
  p = fma(p, r, splat(4.1665795894e-2f));
  p = fma(p, r, splat(1.6666665459e-1f));
  p = fma(p, r, splat(5.0000001201e-1f));
  p = fma(p, r * r, r) + 1.0f;
#if defined(__AVX512F__)
  return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  const vi e = (vi)shifted - (vi)magic;
  const vi half = e >> 1;  // 2^n in two factors, so that subnormal results are rounded once
  return p * (vf)((half + 127) << 23) * (vf)((e - half + 127) << 23);
#endif
}

MINKE_LONG vf vlog(vf x) {
  const vi small = x < 1.17549435e-38f;
  const vf scaled = small ? x * 8388608.0f : x;
  const vi bits = (vi)scaled;
  vi e = ((bits >> 23) & 0xff) - 126;
  e = small ? e - 23 : e;
  vf m = (vf)((bits & 0x007fffff) | 0x3f000000);  // in [0.5, 1)
  const vi low = m < 0.707106781186547524f;
  e = low ? e - 1 : e;
  m = (low ? m + m : m) - 1.0f;
  const vf z = m * m;
  vf p = splat(7.0376836292e-2f);
  p = fma(p, m, splat(-1.1514610310e-1f));
  p = fma(p, m, splat(1.1676998740e-1f));
  p = fma(p, m, splat(-1.2420140846e-1f));
  p = fma(p, m, splat(1.4249322787e-1f));
  p = fma(p, m, splat(-1.6668057665e-1f));
  p = fma(p, m, splat(2.0000714765e-1f));
  p = fma(p, m, splat(-2.4999993993e-1f));
  p = fma(p, m, splat(3.3333331174e-1f));
  const vf fe = __builtin_convertvector(e, vf);
  vf y = p * m * z;
  y = fma(fe, splat(-2.12194440e-4f), y);
  y = fma(z, splat(-0.5f), y);
  y = m + y;
  y = fma(fe, splat(0.693359375f), y);
  y = x == infinity ? x : y;
  y = x == 0.0f ? splat(-infinity) : y;
  return x < 0.0f || x != x ? splat(__builtin_nanf("")) : y;
}

/** log(1 + e) for 0 <= e <= 1, exact for small e. */
MINKE_LONG vf vlog1p(vf e) {
  const vf u = e + 1.0f;
  return vlog(u) + (e - (u - 1.0f)) / u;
}

MINKE_LONG vf vsigmoid(vf x) {
  const vf e = vexp(-vabs(x));
  return (x >= 0.0f ? splat(1.0f) : e) / (e + 1.0f) + (x != x ? x : vf{});
}

MINKE_LONG vf vsoftplus(vf x) { return (x > 0.0f || x != x ? x : vf{}) + vlog1p(vexp(-vabs(x))); }

MINKE_LONG vf vtanh(vf x) {
  const vf a = vabs(x);
  const vf large = 1.0f - 2.0f / (vexp(a + a) + 1.0f);
  const vf z = x * x;
  vf p = splat(-5.70498872745e-3f);
  p = fma(p, z, splat(2.06390887954e-2f));
  p = fma(p, z, splat(-5.37397155531e-2f));
  p = fma(p, z, splat(1.33314422036e-1f));
  p = fma(p, z, splat(-3.33332819422e-1f));
  const vf little = fma(p * z, x, x);
  return a < 0.625f ? little : (x < 0.0f ? -large : large);
}

MINKE_INLINE float log1(float x) { return vlog(splat(x))[0]; }

}  // namespace MINKE_NS
