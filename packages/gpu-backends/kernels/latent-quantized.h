// The two products of the absorbed form (latent.h) with each head's weights as GGUF's blocks of 8 bits, read row by row.
//
// A number is its block's scale times its integer, exact in f32; queries and latents are not rounded, as one row of them
// costs less than reading the weights. An output of absorbQuery is one chain over ascending i; one of absorbOutput a
// chain a lane of a group, the vectors of a group added in order and then their lanes. Rows do not depend on others.
#pragma once
#include "latent.h"
#include "quantized.h"

namespace MINKE_NS {

/** Vectors of a group, and rows that share a read of the weights: their sums fit the registers. */
constexpr int groupVectors = (int)groupSize / W;
#if defined(__ARM_NEON)
constexpr int absorbedRows = 2;
#else
constexpr int absorbedRows = W == 16 ? 8 : W == 8 ? 3 : 1;
#endif
constexpr idx block8Bytes = groupSize + 2;

/** From so many rows on, numbers are widened once for all of them: 8 KB of them at a time. */
constexpr idx widenedRows = absorbedRows + 1, widenedBlocks = 64;
/** Rows of weights between two groups of columns when they are not: memory is read nearly in order. */
constexpr idx nearRows = 4;

MINKE_INLINE vf loadIntegers8(const void* p) {
#if defined(__AVX512F__)
  return __builtin_convertvector((vi)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)), vf);
#elif defined(__AVX2__)
  return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
#elif defined(__wasm__)
  typedef int8_t four __attribute__((vector_size(W)));
  four bytes;
  __builtin_memcpy(&bytes, p, sizeof bytes);
  return __builtin_convertvector(__builtin_convertvector(bytes, vi), vf);
#else
  int8_t bytes[W];
  __builtin_memcpy(bytes, p, sizeof bytes);
  vi words;
  for (int i = 0; i < W; i++) words[i] = bytes[i];
  return __builtin_convertvector(words, vf);
#endif
}

/** The numbers of a block. */
MINKE_INLINE void readBlock8(const char* block, vf numbers[groupVectors]) {
  uint16_t half;
  __builtin_memcpy(&half, block, 2);
#if defined(__F16C__)
  const vf scale = splat(_cvtsh_ss(half));
#else
  const vf scale = splat(fromHalf(half));
#endif
#if defined(__ARM_NEON)
  MINKE_UNROLL
  for (int v = 0; v < groupVectors; v += 4) {
    const int8x16_t bytes = vld1q_s8((const int8_t*)block + 2 + v * W);
    const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
    numbers[v] = scale * (vf)vcvtq_f32_s32(vmovl_s16(vget_low_s16(low)));
    numbers[v + 1] = scale * (vf)vcvtq_f32_s32(vmovl_high_s16(low));
    numbers[v + 2] = scale * (vf)vcvtq_f32_s32(vmovl_s16(vget_low_s16(high)));
    numbers[v + 3] = scale * (vf)vcvtq_f32_s32(vmovl_high_s16(high));
  }
#else
  MINKE_UNROLL
  for (int v = 0; v < groupVectors; v++) numbers[v] = scale * loadIntegers8(block + 2 + v * W);
#endif
}

/** Numbers where they lie in blocks, `apart` bytes from one block to the next, and numbers that were widened. */
struct InBlocks {
  const char* from;
  idx apart;
  MINKE_INLINE void read(idx i, vf numbers[groupVectors]) const { readBlock8(from + i * apart, numbers); }
  void widen(idx count, float* to) const {
    for (idx i = 0; i < count; i++) {
      vf numbers[groupVectors];
      read(i, numbers);
      MINKE_UNROLL
      for (int v = 0; v < groupVectors; v++) store(to + i * groupSize + v * W, numbers[v]);
    }
  }
};
struct Widened {
  const float* from;
  MINKE_INLINE void read(idx i, vf numbers[groupVectors]) const {
    MINKE_UNROLL
    for (int v = 0; v < groupVectors; v++) numbers[v] = load(from + i * groupSize + v * W);
  }
};

/** y[r][32 columns] (+)= sum over i < count of q[r][i] w[i][columns] for R rows. */
template <int R, class Source>
static void absorbGroup(const float* q, idx qStride, const Source& w, idx count, bool more, float* y, idx yStride) {
  vf sum[R][groupVectors];
  MINKE_UNROLL
  for (int r = 0; r < R; r++)
    MINKE_UNROLL
    for (int v = 0; v < groupVectors; v++) sum[r][v] = more ? load(y + r * yStride + v * W) : vf{};
  MINKE_ROLLED
  for (idx i = 0; i < count; i++) {
    vf numbers[groupVectors];
    w.read(i, numbers);
    MINKE_UNROLL
    for (int r = 0; r < R; r++) {
      const vf x = splat(q[r * qStride + i]);
      MINKE_UNROLL
      for (int v = 0; v < groupVectors; v++) sum[r][v] = fma(x, numbers[v], sum[r][v]);
    }
  }
  MINKE_UNROLL
  for (int r = 0; r < R; r++)
    MINKE_UNROLL
    for (int v = 0; v < groupVectors; v++) store(y + r * yStride + v * W, sum[r][v]);
}

/** y[r] = z[r] . w for R rows and one row of w, of G blocks. */
template <int R, class Source>
static void absorbRow(const float* z, idx zStride, const Source& w, idx G, float* y, idx yStride) {
  vf sum[R][groupVectors];
  MINKE_UNROLL
  for (int r = 0; r < R; r++)
    MINKE_UNROLL
    for (int v = 0; v < groupVectors; v++) sum[r][v] = vf{};
  MINKE_ROLLED
  for (idx g = 0; g < G; g++) {
    vf numbers[groupVectors];
    w.read(g, numbers);
    MINKE_UNROLL
    for (int r = 0; r < R; r++)
      MINKE_UNROLL
      for (int v = 0; v < groupVectors; v++)
        sum[r][v] = fma(load(z + r * zStride + g * groupSize + v * W), numbers[v], sum[r][v]);
  }
  MINKE_UNROLL
  for (int r = 0; r < R; r++) {
    vf total = sum[r][0];
    MINKE_UNROLL
    for (int v = 1; v < groupVectors; v++) total = total + sum[r][v];
    y[r * yStride] = sumLanes(total);
  }
}

template <int R, class Source>
static void absorbGroupUpTo(idx rows, const float* q, idx qStride, const Source& w, idx count, bool more, float* y, idx yStride) {
  if (rows >= R) return absorbGroup<R>(q, qStride, w, count, more, y, yStride);
  if constexpr (R > 1) absorbGroupUpTo<R - 1>(rows, q, qStride, w, count, more, y, yStride);
}
template <int R, class Source>
static void absorbRowUpTo(idx rows, const float* z, idx zStride, const Source& w, idx G, float* y, idx yStride) {
  if (rows >= R) return absorbRow<R>(z, zStride, w, G, y, yStride);
  if constexpr (R > 1) absorbRowUpTo<R - 1>(rows, z, zStride, w, G, y, yStride);
}

static void absorbQueryQuantized(const Call& call) {
  const Tensor &q = call.t[0], &w = call.t[1], &y = call.t[2];
  const idx N = q.d[0], H = q.d[1], C = q.d[2], A = w.d[1], R = w.d[2], nope = call.attributeInt(0), Y = y.d[2], G = R / groupSize;
  const bool widen = N >= widenedRows;
  const idx deep = widen ? widenedBlocks : nearRows;
  call.pieces(H, N * (R * nope + C), [&](idx b, idx e, int) {
    alignas(64) float wide[widenedBlocks * groupSize];
    for (idx h = b; h < e; h++) {
      const char* own = w.p + h * A * G * block8Bytes;
      for (idx i = 0; i < nope || i == 0; i += deep) {
        const idx later = i + 2 * deep < nope ? h * A + i + 2 * deep : (h + 1) * A + i + 2 * deep - nope;
        if (!widen && later < H * A)
          for (idx c = 0; c < deep * G * block8Bytes; c += 64) __builtin_prefetch(w.p + later * G * block8Bytes + c);
        for (idx g = 0; g < G; g++) {
          const InBlocks blocks = {own + (i * G + g) * block8Bytes, G * block8Bytes};
          const idx count = min(deep, nope - i);
          const float* x = q.f() + h * C + i;
          float* to = y.f() + h * Y + g * groupSize;
          if (widen) blocks.widen(count, wide);
          for (idx n = 0; n < N; n += absorbedRows)
            if (widen) absorbGroupUpTo<absorbedRows>(N - n, x + n * H * C, H * C, Widened{wide}, count, i > 0, to + n * H * Y, H * Y);
            else absorbGroupUpTo<absorbedRows>(N - n, x + n * H * C, H * C, blocks, count, i > 0, to + n * H * Y, H * Y);
        }
      }
      for (idx n = 0; n < N; n++)
        copyFloats(y.f() + (n * H + h) * Y + R, q.f() + (n * H + h) * C + nope, C - nope);
    }
  });
}

static void absorbOutputQuantized(const Call& call) {
  const Tensor &z = call.t[0], &w = call.t[1], &y = call.t[2];
  const idx N = z.d[0], H = z.d[1], R = z.d[2], A = w.d[1], start = call.attributeInt(0), Y = y.d[2], G = R / groupSize;
  // Rows of weights that lie widened before each few rows of z, which are 4 KB or more apart, take their turn.
  const idx wide = N >= widenedRows ? widenedBlocks / max(1, G) : 0, many = max(1, wide);
  call.pieces(H, N * R * Y, [&](idx b, idx e, int thread) {
    alignas(64) float numbers[widenedBlocks * groupSize];
    // A head's rows of z are a power of two apart, where a cache has few places for them: they are copied close together.
    float* near = wide ? (float*)call.local(thread, N * R * 4) : nullptr;
    if (wide && !near) return;
    for (idx h = b; h < e; h++) {
      for (idx n = 0; near && n < N; n++) copyFloats(near + n * R, z.f() + (n * H + h) * R, R);
      for (idx j = 0; j < Y; j += many) {
        const idx count = min(many, Y - j);
        const InBlocks blocks = {w.p + (h * A + start + j) * G * block8Bytes, block8Bytes};
        if (wide) blocks.widen(count * G, numbers);
        for (idx n = 0; n < N; n += absorbedRows)
          for (idx k = 0; k < count; k++) {
            float* to = y.f() + (n * H + h) * Y + j + k;
            if (wide) absorbRowUpTo<absorbedRows>(N - n, near + n * R, R, Widened{numbers + k * R}, G, to, H * Y);
            else absorbRowUpTo<absorbedRows>(N - n, z.f() + (n * H + h) * R, H * R, blocks, G, to, H * Y);
          }
      }
    }
  });
}

}  // namespace MINKE_NS
