// Ops that move data: fill, copyInto, cast, permute, slice, place, concat, repeat, and the row and last-axis
// gathers and scatters. Indices out of range read zeros and write nothing; scatters split columns, so rows
// with equal ids are added in order.
#pragma once
#include "runtime.h"

namespace MINKE_NS {

enum DType { F32, I32, BF16, F16, I8, U8, E4M3, E8M0, Q8_0, Q4_0 };

static inline float bits(uint32_t u) {
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}
static inline uint32_t bits(float f) {
  uint32_t u;
  __builtin_memcpy(&u, &f, 4);
  return u;
}

static inline float fromHalf(uint16_t h) {
#if defined(__ARM_NEON)
  __fp16 half;
  __builtin_memcpy(&half, &h, 2);
  return (float)half;
#else
  const uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 0x3ff;
  if (exponent == 31) return bits(sign | 0x7f800000 | (mantissa << 13));
  if (exponent) return bits(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float value = (float)mantissa * 5.9604644775390625e-8f;  // 2^-24
  return sign ? -value : value;
#endif
}
static inline uint16_t toHalf(float f) {
  const uint32_t u = bits(f), sign = (u >> 16) & 0x8000, magnitude = u & 0x7fffffff;
  if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
  if (magnitude < 0x38800000) {  // subnormal: the addition rounds to a multiple of 2^-24
    return (uint16_t)(sign | (bits(bits(magnitude) + 0.5f) - 0x3f000000));
  }
  return (uint16_t)(sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13));
}
static inline uint16_t toBfloat(float f) {
  const uint32_t u = bits(f);
  if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)((u >> 16) | 0x40);
  return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
static inline int32_t toInt(float f) {  // nearest even, saturating, NaN to 0
  if (f != f) return 0;
  if (f >= 2147483648.0f) return 2147483647;
  if (f <= -2147483648.0f) return -2147483647 - 1;
  return (int32_t)__builtin_rintf(f);
}
static inline float fromE4m3(uint8_t b) {
  const uint32_t exponent = (b >> 3) & 15, mantissa = b & 7;
  float value;
  if (exponent == 15 && mantissa == 7) value = __builtin_nanf("");
  else if (exponent) value = bits(((exponent + 120) << 23) | (mantissa << 20));
  else value = (float)mantissa * 0.001953125f;  // 2^-9
  return b & 128 ? -value : value;
}
static inline float fromE8m0(uint8_t b) {
  if (b == 255) return __builtin_nanf("");
  return b ? bits((uint32_t)b << 23) : bits((uint32_t)0x00400000);
}

/** Element `i` of storage `p` as f32. */
static inline float readElement(const char* p, int dtype, idx i) {
  switch (dtype) {
    case F32: return ((const float*)p)[i];
    case I32: return (float)((const int32_t*)p)[i];
    case BF16: return bits((uint32_t)((const uint16_t*)p)[i] << 16);
    case F16: return fromHalf(((const uint16_t*)p)[i]);
    case I8: return (float)((const int8_t*)p)[i];
    case U8: return (float)((const uint8_t*)p)[i];
    case E4M3: return fromE4m3(((const uint8_t*)p)[i]);
    case E8M0: return fromE8m0(((const uint8_t*)p)[i]);
    case Q8_0: {
      const char* block = p + i / 32 * 34;
      uint16_t scale;
      __builtin_memcpy(&scale, block, 2);
      return fromHalf(scale) * (float)((const int8_t*)block)[2 + i % 32];
    }
    case Q4_0: {
      const char* block = p + i / 32 * 18;
      uint16_t scale;
      __builtin_memcpy(&scale, block, 2);
      const int byte = ((const uint8_t*)block)[2 + i % 16];
      return fromHalf(scale) * (float)((i % 32 < 16 ? byte & 15 : byte >> 4) - 8);
    }
  }
  return 0;
}
static inline void writeElement(char* p, int dtype, idx i, float value) {
  switch (dtype) {
    case F32: ((float*)p)[i] = value; break;
    case I32: ((int32_t*)p)[i] = toInt(value); break;
    case BF16: ((uint16_t*)p)[i] = toBfloat(value); break;
    case F16: ((uint16_t*)p)[i] = toHalf(value); break;
    case I8: ((int8_t*)p)[i] = (int8_t)clamp(toInt(value), -128, 127); break;
    case U8: ((uint8_t*)p)[i] = (uint8_t)clamp(toInt(value), 0, 255); break;
  }
}

/** Bytes of `count` elements. */
static idx bytesOf(int dtype, idx count) {
  switch (dtype) {
    case F32: case I32: return count * 4;
    case BF16: case F16: return count * 2;
    case Q8_0: return count / 32 * 34;
    case Q4_0: return count / 32 * 18;
    default: return count;
  }
}

static void copyLarge(const Call& call, char* to, const char* from, idx bytes) {
  call.pieces(bytes, 1, [&](idx b, idx e, int) { __builtin_memmove(to + b, from + b, (size_t)(e - b)); }, 1 << 19);
}

static void fill(const Call& call) {
  const Tensor& x = call.t[0];
  const float value = call.attributeFloat(0);
  if (x.dtype > U8) {  // the encoder lets only zero through
    zero(x.p, bytesOf(x.dtype, x.count));
    return;
  }
  call.pieces(x.count, 1, [&](idx b, idx e, int) {
    if (x.dtype == F32)
      vectors(b, e, [&](auto io, idx i) { io.store(x.f() + i, splat(value)); });
    else
      for (idx i = b; i < e; i++) writeElement(x.p, x.dtype, i, value);
  }, 1 << 16);
}

static void copyInto(const Call& call) {
  copyLarge(call, call.t[1].p, call.t[0].p, bytesOf(call.t[0].dtype, call.t[0].count));
}

static void cast(const Call& call) {
  const Tensor &x = call.t[0], &y = call.t[1];
  if (x.dtype == y.dtype) {
    copyLarge(call, y.p, x.p, bytesOf(x.dtype, x.count));
    return;
  }
  call.pieces(x.count, 1, [&](idx b, idx e, int) {
    if (x.dtype == F32 && y.dtype == BF16)
      for (idx i = b; i < e; i++) ((uint16_t*)y.p)[i] = toBfloat(x.f()[i]);
    else if (x.dtype == BF16 && y.dtype == F32)
      for (idx i = b; i < e; i++) ((uint32_t*)y.p)[i] = (uint32_t)((const uint16_t*)x.p)[i] << 16;
    else
      for (idx i = b; i < e; i++) writeElement(y.p, y.dtype, i, readElement(x.p, x.dtype, i));
  });
}

static void permute(const Call& call) {
  const Tensor &x = call.t[0], &y = call.t[1];
  if (!x.count) return;
  // Output axes, right-aligned to four: size and input stride of each.
  idx strideOf[4], size[4] = {1, 1, 1, 1}, from[4] = {0, 0, 0, 0};
  idx step = 1;
  for (int i = x.rank - 1; i >= 0; i--) {
    strideOf[i] = step;
    step *= x.d[i];
  }
  const int pad = 4 - x.rank;
  for (int j = 0; j < x.rank; j++) {
    size[pad + j] = y.d[j];
    from[pad + j] = strideOf[call.attributeInt(j)];
  }
  // The output axis that is contiguous in the input; axes of size 1 do not matter.
  int inner = 3;
  for (int j = 0; j < 4; j++)
    if (from[j] == 1 && size[j] > 1) inner = j;
  if (size[3] == 1) from[3] = 1;
  const idx stride[3] = {size[1] * size[2] * size[3], size[2] * size[3], size[3]};
  if (inner == 3 && from[3] == 1) {
    const idx rows = size[0] * size[1] * size[2];
    call.pieces(rows, size[3], [&](idx b, idx e, int) {
      for (idx r = b; r < e; r++) {
        const idx k = r % size[2], j = r / size[2] % size[1], i = r / size[2] / size[1];
        copy(y.f() + r * size[3], x.f() + i * from[0] + j * from[1] + k * from[2], size[3] * 4);
      }
    });
    return;
  }
  // A transpose of (inner, last) for each pair of the two other axes.
  int others[2], n = 0;
  for (int j = 0; j < 3; j++)
    if (j != inner) others[n++] = j;
  const idx slabs = (size[inner] + 63) / 64;
  call.pieces(size[others[0]] * size[others[1]] * slabs, min(size[inner], 64) * size[3], [&](idx b, idx e, int) {
    for (idx r = b; r < e; r++) {
      const idx slab = r % slabs, o1 = r / slabs % size[others[1]], o0 = r / slabs / size[others[1]];
      const idx i0 = slab * 64, ni = min(64, size[inner] - i0);
      const float* src = x.f() + o0 * from[others[0]] + o1 * from[others[1]] + i0;
      float* dst = y.f() + o0 * stride[others[0]] + o1 * stride[others[1]] + i0 * stride[inner];
      transpose(src, from[3], size[3], ni, dst, stride[inner], false);
    }
  });
}

/** Sizes before and after an axis. */
static void around(const Tensor& t, int axis, idx& outer, idx& inner) {
  outer = inner = 1;
  for (int i = 0; i < axis; i++) outer *= t.d[i];
  for (int i = axis + 1; i < t.rank; i++) inner *= t.d[i];
}

static void slice(const Call& call) {
  const Tensor &x = call.t[0], &y = call.t[1];
  const int axis = call.attributeInt(0);
  idx outer, inner;
  around(x, axis, outer, inner);
  const idx from = x.d[axis] * inner, to = y.d[axis] * inner, start = (idx)call.attributes[1] * inner;
  call.pieces(outer, to, [&](idx b, idx e, int) {
    for (idx o = b; o < e; o++) copy(y.f() + o * to, x.f() + o * from + start, to * 4);
  });
}

static void place(const Call& call) {
  const Tensor &x = call.t[0], &y = call.t[1];
  const int axis = call.attributeInt(0);
  idx outer, inner;
  around(x, axis, outer, inner);
  const idx from = x.d[axis] * inner, to = y.d[axis] * inner, start = (idx)call.attributes[1] * inner;
  call.pieces(outer, to, [&](idx b, idx e, int) {
    for (idx o = b; o < e; o++) {
      float* row = y.f() + o * to;
      zero(row, start * 4);
      copy(row + start, x.f() + o * from, from * 4);
      zero(row + start + from, (to - start - from) * 4);
    }
  });
}

static void concat(const Call& call) {
  const Tensor &a = call.t[0], &b = call.t[1], &y = call.t[2];
  const int axis = call.attributeInt(0);
  idx outer, inner;
  around(a, axis, outer, inner);
  const idx na = a.d[axis] * inner, nb = b.d[axis] * inner;
  call.pieces(outer, na + nb, [&](idx begin, idx end, int) {
    for (idx o = begin; o < end; o++) {
      copy(y.f() + o * (na + nb), a.f() + o * na, na * 4);
      copy(y.f() + o * (na + nb) + na, b.f() + o * nb, nb * 4);
    }
  });
}

static void repeat(const Call& call) {
  const Tensor &x = call.t[0], &y = call.t[1];
  const int axis = call.attributeInt(0);
  const idx times = (idx)call.attributes[1];
  idx outer, inner;
  around(x, axis, outer, inner);
  call.pieces(outer * times, inner, [&](idx b, idx e, int) {
    if (inner == 1)
      for (idx r = b; r < e; r++) y.f()[r] = x.f()[r / times];
    else
      for (idx r = b; r < e; r++) copy(y.f() + r * inner, x.f() + r / times * inner, inner * 4);
  });
}

static void gatherRows(const Call& call) {
  const Tensor &table = call.t[0], &ids = call.t[1], &y = call.t[2];
  const idx D = table.d[1], V = table.d[0];
  call.pieces(ids.count, D, [&](idx b, idx e, int) {
    for (idx n = b; n < e; n++) {
      const idx id = ids.i()[n];
      float* to = y.f() + n * D;
      if (id < 0 || id >= V) zero(to, D * 4);
      else if (table.dtype == F32) copy(to, table.f() + id * D, D * 4);
      else {
        const uint16_t* from = (const uint16_t*)table.p + id * D;
        if (table.dtype == BF16)
          for (idx i = 0; i < D; i++) to[i] = bits((uint32_t)from[i] << 16);
        else
          for (idx i = 0; i < D; i++) to[i] = fromHalf(from[i]);
      }
    }
  });
}

/** Rows by ids into a table, columns split among threads. */
template <bool ADD>
static void scatterRowsInto(const Call& call) {
  const Tensor &x = call.t[0], &ids = call.t[1], &table = call.t[2];
  const idx N = x.d[0], D = x.d[1], V = table.d[0];
  const idx strip = N * D < 32768 ? D : 64;
  if (!D) return;
  call.parallel((D + strip - 1) / strip, [&](idx s, int) {
    const idx c0 = s * strip, c1 = min(D, c0 + strip);
    for (idx n = 0; n < N; n++) {
      const idx id = ids.i()[n];
      if (id < 0 || id >= V) continue;
      float* to = table.f() + id * D;
      const float* from = x.f() + n * D;
      if (ADD)
        vectors(c0, c1, [&](auto io, idx c) { io.store(to + c, io.load(to + c) + io.load(from + c)); });
      else
        copy(to + c0, from + c0, (c1 - c0) * 4);
    }
  });
}

static void gatherLast(const Call& call) {
  const Tensor &x = call.t[0], &indices = call.t[1], &y = call.t[2];
  const idx C = x.d[1], K = indices.d[1];
  call.pieces(x.d[0], K, [&](idx b, idx e, int) {
    for (idx i = b * K; i < e * K; i++) {
      const idx index = indices.i()[i];
      y.f()[i] = index >= 0 && index < C ? x.f()[i / K * C + index] : 0;
    }
  });
}

static void scatterLast(const Call& call) {
  const Tensor &x = call.t[0], &indices = call.t[1], &y = call.t[2];
  const idx C = y.d[1], K = x.d[1];
  call.pieces(x.d[0], C + K, [&](idx b, idx e, int) {
    zero(y.f() + b * C, (e - b) * C * 4);
    for (idx i = b * K; i < e * K; i++) {
      const idx index = indices.i()[i];
      if (index >= 0 && index < C) y.f()[i / K * C + index] += x.f()[i];
    }
  });
}

}  // namespace MINKE_NS
