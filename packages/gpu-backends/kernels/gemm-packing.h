// What a product is, and its operands packed: A in strips of up to `tileRows` rows, B in strips of two vectors, both k-major
// (Goto & van de Geijn, "Anatomy of high-performance matrix multiplication", 2008). Transposed operands differ only here.
#pragma once
#include "gemm-tiles.h"

namespace MINKE_NS {

/**
 * One product: c [M, N] (+)= op(a) op(b), b f32 or bf16, or packed weights of either. Strides are shared by a
 * batch. The others are of the plan: where its packed strips and panels and its tasks begin.
 */
struct Product {
  const float* a;
  const void* b;
  float* c;
  idx M, N, K;
  idx strips = 0, panels = 0, firstTask = 0;
};

struct Layout {
  bool transA, transB, accumulate;
  idx lda, ldb, ldc;
  bool bf16 = false, packed = false;
};

#if defined(__AVX512BF16__)
constexpr bool hasPairs = true;
#else
constexpr bool hasPairs = false;
#endif

/** Whether tiles read packed weights as they lie in memory; else they are widened into panels first. */
MINKE_INLINE bool readsPacked(const Layout& l) { return l.packed && (!l.bf16 || hasPairs); }

template <class Op>
MINKE_INLINE idx stepsOf(idx K) {
  return (K + Op::depth - 1) / Op::depth;
}

/** Strips of `height` rows of op(a), k-major, each row `tileRows` floats wide, strips `stride` apart. */
static void packRows(const Product& p, const Layout& l, idx i0, idx rows, idx height, idx k0, idx kc, float* to, idx stride) {
  if (kc <= 0) return;
  const idx strips = (rows + height - 1) / height;
  // Whole vectors reach into the next row: the last one stops where the strip does.
  if (!l.transA) {
    for (idx s = 0; s < strips; s++) {
      const idx n = min(height, rows - s * height);
      const float* from = p.a + (i0 + s * height) * l.lda + k0;
      float* strip = to + s * stride;
      transpose(from, l.lda, n, kc - 1, strip, tileRows, true);
      for (idx r = 0; r < n; r++) strip[(kc - 1) * tileRows + r] = from[r * l.lda + kc - 1];
    }
    return;
  }
  // Several strips at once: each row of a is read in one piece.
  constexpr idx atOnce = 8, wide = (tileRows + W - 1) / W * W;
  for (idx s0 = 0; s0 < strips; s0 += atOnce) {
    const idx end = min(s0 + atOnce, strips);
    for (idx k = 0; k < kc; k++) {
      const float* from = p.a + (k0 + k) * l.lda + i0;
      for (idx s = s0; s < end; s++) {
        const idx i = s * height;
        float* strip = to + s * stride + k * tileRows;
        if (k + 1 < kc && i0 + i + wide <= p.M) {
          MINKE_UNROLL
          for (idx j = 0; j < wide; j += W) store(strip + j, load(from + i + j));
        } else {
          copy(strip, from + i, min(height, rows - i) * 4);
        }
      }
    }
  }
}

/** `packRows` in steps of Op: numbers rounded to bf16 where the other side is. `spare` holds one strip. */
template <class Op>
static void packRowSteps(const Product& p, const Layout& l, idx i0, idx rows, idx height, idx s0, idx steps, float* spare, float* to, idx stride) {
  if constexpr (Op::depth == 1) {
    packRows(p, l, i0, rows, height, s0, steps, to, stride);
    if (!l.bf16) return;
    for (idx i = 0, strip = 0; i < rows; i += height, strip++)
      vectors(0, steps * tileRows, [&](auto io, idx x) {
        float* at = to + strip * stride + x;
        io.store(at, roundToBfloat(io.load(at)));
      });
  } else {
#if defined(__AVX512BF16__)
    const idx k0 = s0 * 2, kc = min(steps * 2, p.K - k0);
    for (idx i = 0, strip = 0; i < rows; i += height, strip++) {
      packRows(p, l, i0 + i, min(height, rows - i), height, k0, kc, spare, 0);
      if (kc < steps * 2) zero(spare + kc * tileRows, tileRows * 4);
      float* words = to + strip * stride;
      for (idx s = 0; s < steps; s++) {
        const float* from = spare + 2 * s * tileRows;
        const vf pair = pairUp(load(from), load(from + tileRows));
        if (s + 1 < steps) store(words + s * tileRows, pair);
        else storePart(words + s * tileRows, pair, tileRows);
      }
    }
#else
    (void)spare;
#endif
  }
}

/**
 * Panels of `tileColumns` columns of op(b), `stride` floats apart: columns j .. j + n, `steps` steps from s0.
 * The last panel is filled up with zeros.
 */
template <class Op>
static void packColumns(const Product& p, const Layout& l, idx j, idx n, idx s0, idx steps, float* to, idx stride) {
  if constexpr (Op::depth == 2) {
#if defined(__AVX512BF16__)
    const uint16_t* b = (const uint16_t*)p.b;
    const idx k0 = s0 * 2, kc = min(steps * 2, p.K - k0);
    for (idx x = 0; x < n; x += tileColumns) {
      float* panel = to + x / tileColumns * stride;
      const idx columns = min(tileColumns, n - x);
      if (l.transB) {
        for (idx s = 0; s < steps; s += W)
          for (idx half = 0; half < tileColumns; half += W) {
            vf turned[W];
            const idx left = kc - 2 * s;
            const uint16_t* from = b + (j + x + half) * l.ldb + k0 + 2 * s;
            MINKE_UNROLL
            for (idx r = 0; r < W; r++)
              turned[r] = half + r < columns ? (vf)loadHalves(from + r * l.ldb, left) : vf{};
            transposeRegisters(turned);
            for (idx r = 0; r < min(W, steps - s); r++) store(panel + (s + r) * tileColumns + half, turned[r]);
          }
      } else {
        typedef uint16_t halves __attribute__((vector_size(64)));
        for (idx s = 0; s < steps; s++) {
          const uint16_t* from = b + (k0 + 2 * s) * l.ldb + j + x;
          const halves first = (halves)loadHalves(from, columns);
          const halves second = (halves)(2 * s + 1 < kc ? loadHalves(from + l.ldb, columns) : loadHalves(from, 0));
          store(panel + s * tileColumns,
                (vf)__builtin_shufflevector(first, second, 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 8, 40, 9, 41,
                                            10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47));
          store(panel + s * tileColumns + W,
                (vf)__builtin_shufflevector(first, second, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55, 24,
                                            56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63));
        }
      }
    }
#endif
    return;
  }
  if (l.bf16 && l.packed) {
    const idx words = (p.K + 1) / 2;
    for (idx x = 0; x < n; x += tileColumns) {
      const idx column = j + x;
      const float* tile = (const float*)p.b + column / packedColumns * words * packedColumns + column % packedColumns;
      float* panel = to + x / tileColumns * stride;
      for (idx k = 0; k < steps; k++)
        for (idx v = 0; v < tileColumns; v += W) {
          const vi word = loadWords(tile + (s0 + k) / 2 * packedColumns + v);
          store(panel + k * tileColumns + v, widenBits((s0 + k) % 2 ? word & (int32_t)0xffff0000 : word << 16));
        }
    }
    return;
  }
  if (l.bf16) {
    const uint16_t* b = (const uint16_t*)p.b;
    for (idx x = 0; x < n; x += tileColumns) {
      float* panel = to + x / tileColumns * stride;
      const idx columns = min(tileColumns, n - x);
      if (l.transB) {
        float wide[tileColumns * 64];
        for (idx k = 0; k < steps; k += 64) {
          const idx some = min(64, steps - k);
          for (idx r = 0; r < columns; r++) widenRow(b + (j + x + r) * l.ldb + s0 + k, some, wide + r * 64);
          transpose(wide, 64, columns, some, panel + k * tileColumns, tileColumns, true);
          if (columns <= tileColumns - W)
            for (idx q = 0; q < some; q++) store(panel + (k + q) * tileColumns + W, vf{});
        }
      } else {
        for (idx k = 0; k < steps; k++) {
          if (columns < tileColumns) zero(panel + k * tileColumns, tileColumns * 4);
          widenRow(b + (s0 + k) * l.ldb + j + x, columns, panel + k * tileColumns);
        }
      }
    }
    return;
  }
  const float* b = (const float*)p.b;
  if (l.transB) {
    for (idx x = 0; x < n; x += tileColumns)
      transpose(b + (j + x) * l.ldb + s0, l.ldb, min(tileColumns, n - x), steps, to + x / tileColumns * stride, tileColumns, true);
    return;
  }
  for (idx k = 0; k < steps; k++) {
    const float* from = b + (s0 + k) * l.ldb + j;
    float* panel = to + k * tileColumns;
    idx x = 0;
    for (; x + tileColumns <= n; x += tileColumns, panel += stride) {
      store(panel, load(from + x));
      store(panel + W, load(from + x + W));
    }
    if (x < n) vectors(x, n, [&](auto io, idx y) { store(panel + y - x, io.load(from + y)); });
  }
}

}  // namespace MINKE_NS
