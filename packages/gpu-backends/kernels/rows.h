// Ops that reduce or normalise rows: reduce, sumSquares, softmax, topK, RMS norm, cross-entropy; and rope.
//
// A row's result depends on that row alone. Sums across rows run over blocks of `blockRows` rows, whose
// partial sums are added in order. One function computes log-sum-exp for softmax and the losses.
#pragma once
#include "math.h"
#include "ops.gen.h"
#include "runtime.h"
#include "selection.h"

namespace MINKE_NS {

constexpr idx blockRows = 128;

MINKE_INLINE float max1(float a, float b) { return a > b ? a : b; }

static float rowMax(const float* x, idx C) {
  vf m = splat(-infinity);
  vectors(0, C, [&](auto io, idx i) { m = vmax(io.keep(io.load(x + i), -infinity), m); });
  return maxLanes(m);
}
static float rowSum(const float* x, idx C) {
  vf s[4] = {};
  idx i = 0;
  for (; i + 4 * W <= C; i += 4 * W)
    for (int j = 0; j < 4; j++) s[j] += load(x + i + j * W);
  vectors(i, C, [&](auto io, idx k) { s[0] += io.load(x + k); });
  return sumLanes((s[0] + s[1]) + (s[2] + s[3]));
}

/** max and sum of exp(x - max); y, when given, receives the exponentials. A row of only -inf sums to 0. */
static void rowExp(const float* x, float* y, idx C, float& maximum, float& sum) {
  maximum = rowMax(x, C);
  const vf shift = splat(maximum == -infinity ? 0 : maximum);
  vf s = {};
  vectors(0, C, [&](auto io, idx i) {
    const vf e = vexp(io.load(x + i) - shift);
    if (y) io.store(y + i, e);
    s += io.keep(e, 0);
  });
  sum = sumLanes(s);
}
static float rowLogSumExp(const float* x, idx C) {
  float maximum, sum;
  rowExp(x, nullptr, C, maximum, sum);
  return maximum == -infinity && sum == 0 ? -infinity : (maximum == -infinity ? 0 : maximum) + log1(sum);
}
static void rowSoftmax(const float* x, float* y, idx C) {
  float maximum, sum;
  rowExp(x, y, C, maximum, sum);
  const vf scale = splat(sum == 0 ? 0 : 1 / sum);
  vectors(0, C, [&](auto io, idx i) { io.store(y + i, io.load(y + i) * scale); });
}

/** The larger number; NaN where either is. */
MINKE_INLINE vf vmaxOrNan(vf a, vf b) { return ((a > b) | (a != a)) ? a : b; }

/** `rowMax` that does not pass over NaN. */
static float rowMaxOrNan(const float* x, idx C) {
  vf m = splat(-infinity);
  vectors(0, C, [&](auto io, idx i) { m = vmaxOrNan(io.keep(io.load(x + i), -infinity), m); });
  return firstLane(m != m) < W ? __builtin_nanf("") : maxLanes(m);
}

static void reduce(const Call& call) {
  const Tensor &x = call.t[0], &y = call.t[1];
  const int kind = call.attributeInt(0), axis = call.attributeInt(1);
  idx outer = 1, inner = 1;
  const idx n = x.d[axis];
  for (int i = 0; i < axis; i++) outer *= x.d[i];
  for (int i = axis + 1; i < x.rank; i++) inner *= x.d[i];
  const float nothing = kind == REDUCE_KIND_MAX ? -infinity : 0, count = (float)(n ? n : 1);
  if (inner == 1) {
    call.pieces(outer, n, [&](idx b, idx e, int) {
      for (idx o = b; o < e; o++) {
        const float value = kind == REDUCE_KIND_MAX ? rowMaxOrNan(x.f() + o * n, n) : rowSum(x.f() + o * n, n);
        y.f()[o] = kind == REDUCE_KIND_MEAN ? value / count : value;
      }
    });
    return;
  }
  // Columns: blocks of rows into partial results, then the blocks in order.
  const idx blocks = n ? (n + blockRows - 1) / blockRows : 1;
  float* partial = blocks > 1 ? (float*)call.shared(outer * blocks * inner * 4) : y.f();
  if (!partial) return;
  auto combine = [&](float* to, const float* from, idx width) {
    if (kind == REDUCE_KIND_MAX)
      vectors(0, width, [&](auto io, idx i) { io.store(to + i, vmaxOrNan(io.load(from + i), io.load(to + i))); });
    else
      vectors(0, width, [&](auto io, idx i) { io.store(to + i, io.load(to + i) + io.load(from + i)); });
  };
  auto start = [&](float* to, idx width) { vectors(0, width, [&](auto io, idx i) { io.store(to + i, splat(nothing)); }); };
  const idx strip = 512, strips = (inner + strip - 1) / strip;
  call.pieces(outer * blocks * strips, min(n, blockRows) * min(inner, strip), [&](idx b, idx e, int) {
    for (idx t = b; t < e; t++) {
      const idx c0 = t % strips * strip, width = min(strip, inner - c0), block = t / strips;
      const idx o = block / blocks, r0 = block % blocks * blockRows, r1 = min(n, r0 + blockRows);
      float* to = partial + block * inner + c0;
      start(to, width);
      for (idx r = r0; r < r1; r++) combine(to, x.f() + (o * n + r) * inner + c0, width);
    }
  });
  call.pieces(outer, inner * blocks, [&](idx b, idx e, int) {
    for (idx o = b; o < e; o++) {
      float* to = y.f() + o * inner;
      if (blocks > 1) {
        start(to, inner);
        for (idx k = 0; k < blocks; k++) combine(to, partial + (o * blocks + k) * inner, inner);
      }
      if (kind == REDUCE_KIND_MEAN) vectors(0, inner, [&](auto io, idx i) { io.store(to + i, io.load(to + i) / count); });
    }
  });
}

/** x . x in f64: blocks of fixed size, a partial sum each. */
constexpr idx squaresBlock = 8192;
static double blockSquares(const float* x, idx n, idx block) {
  vd s = {};
  vectors(block * squaresBlock, min(n, (block + 1) * squaresBlock), [&](auto io, idx i) {
    const vd v = __builtin_convertvector(io.load(x + i), vd);
    s += v * v;
  });
  return sumLanes(s);
}

static void sumSquares(const Call& call) {
  const float* x = call.t[0].f();
  const idx n = call.t[0].count, blocks = (n + squaresBlock - 1) / squaresBlock;
  double* partial = (double*)call.shared((blocks + 1) * 8);
  if (!partial) return;
  call.pieces(blocks, squaresBlock, [&](idx b, idx e, int) {
    for (idx k = b; k < e; k++) partial[k] = blockSquares(x, n, k);
  });
  double total = call.t[1].f()[0];
  for (idx k = 0; k < blocks; k++) total += partial[k];
  call.t[1].f()[0] = (float)total;
}

static void softmax(const Call& call) {
  const Tensor& x = call.t[0];
  float* y = call.t[1].f();
  const idx C = x.last(), rows = C ? x.count / C : 0;
  const bool logarithm = call.attributeInt(0) == SOFTMAX_KIND_LOG;
  call.pieces(rows, C * 3, [&](idx b, idx e, int) {
    for (idx r = b; r < e; r++) {
      const float* from = x.f() + r * C;
      float* to = y + r * C;
      if (logarithm) {
        const float lse = rowLogSumExp(from, C);
        const vf shift = splat(lse == -infinity ? 0 : lse);
        vectors(0, C, [&](auto io, idx i) { io.store(to + i, io.load(from + i) - shift); });
      } else {
        rowSoftmax(from, to, C);
      }
    }
  });
}

static float rowDot(const float* x, const float* z, idx C) {
  vf s[2] = {};
  idx i = 0;
  for (; i + 2 * W <= C; i += 2 * W)
    for (int j = 0; j < 2; j++) s[j] = fma(load(x + i + j * W), load(z + i + j * W), s[j]);
  vectors(i, C, [&](auto io, idx k) { s[0] = fma(io.load(x + k), io.load(z + k), s[0]); });
  return sumLanes(s[0] + s[1]);
}

static void softmaxGrad(const Call& call) {
  const Tensor& y = call.t[0];
  const float* dy = call.t[1].f();
  float* dx = call.t[2].f();
  const idx C = y.last(), rows = C ? y.count / C : 0;
  const bool logarithm = call.attributeInt(0) == SOFTMAX_GRAD_KIND_LOG;
  call.pieces(rows, C * 3, [&](idx b, idx e, int) {
    for (idx r = b; r < e; r++) {
      const float *py = y.f() + r * C, *pd = dy + r * C;
      float* to = dx + r * C;
      const vf s = splat(logarithm ? rowSum(pd, C) : rowDot(py, pd, C));
      if (logarithm)
        vectors(0, C, [&](auto io, idx i) { io.store(to + i, io.load(pd + i) - vexp(io.load(py + i)) * s); });
      else
        vectors(0, C, [&](auto io, idx i) { io.store(to + i, io.load(py + i) * (io.load(pd + i) - s)); });
    }
  });
}

/** The C indices in `a` by descending value, equal values by ascending index: a bottom-up merge sort. */
static int32_t* sortedIndices(const float* x, idx C, int32_t* a, int32_t* b) {
  for (idx width = 1; width < C; width *= 2) {
    for (idx lo = 0; lo < C; lo += 2 * width) {
      idx i = lo, j = min(lo + width, C), k = lo;
      const idx middle = j, hi = min(lo + 2 * width, C);
      while (i < middle || j < hi)
        b[k++] = j >= hi || (i < middle && rank1(x[a[i]]) >= rank1(x[a[j]])) ? a[i++] : a[j++];
    }
    int32_t* t = a;
    a = b;
    b = t;
  }
  return a;
}

static void topK(const Call& call) {
  const Tensor& x = call.t[0];
  float* values = call.t[1].f();
  int32_t* indices = call.t[2].i();
  const idx C = x.d[1], k = (idx)call.attributes[0];
  call.pieces(x.d[0], C * 2, [&](idx b, idx e, int thread) {
    int32_t* sorting = nullptr;
    if (k > 64 && !(sorting = (int32_t*)call.local(thread, (2 * C + W) * 4))) return;
    for (idx r = b; r < e; r++) {
      const float* row = x.f() + r * C;
      float* v = values + r * k;
      int32_t* at = indices + r * k;
      if (sorting) {
        largestIndices(row, C, k, sorting + C + W, sorting);
        const int32_t* order = sortedIndices(row, k, sorting, sorting + C + W);
        for (idx i = 0; i < k; i++) {
          at[i] = order[i];
          v[i] = rank1(row[order[i]]);
        }
        continue;
      }
      idx held = 0;
      for (idx i = 0; i < C; i++) {
        // Most vectors hold nothing larger than the smallest number kept.
        if (held == k) {
          const vf smallest = splat(v[k - 1]);
          int lane = W;
          while (i + W <= C && (lane = firstLane(load(row + i) > smallest)) == W) i += W;
          if (lane < W) i += lane;
          if (i >= C) break;
        }
        const float value = rank1(row[i]);
        if (held == k && !(value > v[k - 1])) continue;
        idx j = held < k ? held++ : k - 1;
        for (; j > 0 && value > v[j - 1]; j--) {
          v[j] = v[j - 1];
          at[j] = at[j - 1];
        }
        v[j] = value;
        at[j] = (int32_t)i;
      }
    }
  });
}

static void rmsNorm(const Call& call) {
  const Tensor& x = call.t[0];
  const float *w = call.t[1].f(), eps = call.attributeFloat(0);
  float *y = call.t[2].f(), *rstd = call.t[3].f();
  const idx N = x.d[0], C = x.d[1];
  call.pieces(N, C + 8, [&](idx b, idx e, int) {
    for (idx n = b; n < e; n++) {
      const float* row = x.f() + n * C;
      const float r = 1 / sqrt1((C ? rowDot(row, row, C) / (float)C : 0) + eps);
      rstd[n] = r;
      const vf scale = splat(r);
      vectors(0, C, [&](auto io, idx i) { io.store(y + n * C + i, io.load(row + i) * scale * io.load(w + i)); });
    }
  });
}

static void rmsNormGrad(const Call& call) {
  const Tensor& x = call.t[0];
  const float *w = call.t[1].f(), *rstd = call.t[2].f(), *dy = call.t[3].f();
  float *dx = call.t[4].f(), *dw = call.t[5].f();
  const idx N = x.d[0], C = x.d[1], blocks = (N + blockRows - 1) / blockRows;
  float* partial = (float*)call.shared(blocks * C * 4);
  if (!partial) return;
  call.pieces(blocks, blockRows * C, [&](idx b, idx e, int) {
    for (idx k = b; k < e; k++) {
      float* sum = partial + k * C;
      zero(sum, C * 4);
      for (idx n = k * blockRows; n < min(N, (k + 1) * blockRows); n++) {
        const float *px = x.f() + n * C, *pd = dy + n * C, r = rstd[n];
        vf s = {};
        vectors(0, C, [&](auto io, idx i) { s = fma(io.load(w + i) * io.load(pd + i), io.load(px + i), s); });
        const vf scale = splat(r), back = splat(C ? sumLanes(s) / (float)C * r * r : 0);
        vectors(0, C, [&](auto io, idx i) {
          const vf vx = io.load(px + i), vd_ = io.load(pd + i);
          io.store(dx + n * C + i, scale * (io.load(w + i) * vd_ - vx * back));
          io.store(sum + i, fma(vd_, vx * scale, io.load(sum + i)));
        });
      }
    }
  });
  zero(dw, C * 4);
  for (idx k = 0; k < blocks; k++)
    vectors(0, C, [&](auto io, idx i) { io.store(dw + i, io.load(dw + i) + io.load(partial + k * C + i)); });
}

static void rope(const Call& call) {
  const Tensor &x = call.t[0], &cosines = call.t[1], &positions = call.t[3];
  float* y = call.t[4].f();
  const idx N = x.d[0], H = x.d[1], D = x.d[2], half = cosines.d[1], S = cosines.d[0], P = 2 * half;
  const idx start = (idx)call.attributes[0];
  const bool interleaved = call.attributeInt(1) == ROPE_LAYOUT_INTERLEAVED, inverse = call.attributeInt(2) != 0;
  call.pieces(N, H * D, [&](idx b, idx e, int thread) {
    float* table = (float*)call.local(thread, 2 * P * 4 + 8);
    if (!table) return;
    float *cs = table, *sn = table + P;  // one cosine and signed sine for each column
    for (idx n = b; n < e; n++) {
      const idx position = positions.i()[n];
      const bool inside = position >= 0 && position < S;
      for (idx i = 0; i < half; i++) {
        const float c = inside ? cosines.f()[position * half + i] : 0;
        const float s = inside ? (inverse ? -call.t[2].f()[position * half + i] : call.t[2].f()[position * half + i]) : 0;
        const idx first = interleaved ? 2 * i : i, second = interleaved ? 2 * i + 1 : i + half;
        cs[first] = cs[second] = c;
        sn[first] = -s;
        sn[second] = s;
      }
      for (idx h = 0; h < H; h++) {
        const float* from = x.f() + (n * H + h) * D;
        float* to = y + (n * H + h) * D;
        copy(to, from, start * 4);
        copy(to + start + P, from + start + P, (D - start - P) * 4);
        from += start;
        to += start;
        if (!inside) {
          zero(to, P * 4);
        } else if (interleaved) {
          vectors(0, P, [&](auto io, idx i) {
            const vf v = io.load(from + i);
#if defined(__AVX512F__)
            const vf swapped = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
#elif defined(__AVX2__)
            const vf swapped = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
#else
            const vf swapped = __builtin_shufflevector(v, v, 1, 0, 3, 2);
#endif
            io.store(to + i, fma(swapped, io.load(sn + i), v * io.load(cs + i)));
          });
        } else {
          for (idx part = 0; part < 2; part++) {
            const idx o = part * half, other = half - o;
            vectors(0, half, [&](auto io, idx i) {
              io.store(to + o + i, fma(io.load(from + other + i), io.load(sn + o + i), io.load(from + o + i) * io.load(cs + o + i)));
            });
          }
        }
      }
    }
  });
}

static void crossEntropy(const Call& call) {
  const Tensor &logits = call.t[0], &targets = call.t[1];
  float *loss = call.t[2].f(), *lse = call.t[3].f();
  const idx C = logits.d[1];
  call.pieces(logits.d[0], C * 2, [&](idx b, idx e, int) {
    for (idx n = b; n < e; n++) {
      const float* row = logits.f() + n * C;
      const idx target = targets.i()[n];
      lse[n] = rowLogSumExp(row, C);
      loss[n] = target >= 0 && target < C ? lse[n] - row[target] : 0;
    }
  });
}

static void crossEntropyGrad(const Call& call) {
  const Tensor &logits = call.t[0], &targets = call.t[1];
  const float *lse = call.t[2].f(), *dloss = call.t[3].f();
  float* dlogits = call.t[4].f();
  const idx C = logits.d[1];
  call.pieces(logits.d[0], C * 2, [&](idx b, idx e, int) {
    for (idx n = b; n < e; n++) {
      const float* row = logits.f() + n * C;
      float* to = dlogits + n * C;
      const idx target = targets.i()[n];
      if (target < 0 || target >= C) {
        zero(to, C * 4);
        continue;
      }
      const vf shift = splat(lse[n]), scale = splat(dloss[n]);
      vectors(0, C, [&](auto io, idx i) { io.store(to + i, scale * vexp(io.load(row + i) - shift)); });
      const vf p = vexp(splat(row[target] - lse[n]));
      to[target] = dloss[n] * (p[0] - 1);
    }
  });
}

}  // namespace MINKE_NS
