// Elementwise ops: unary functions and their gradients, binary ops with the three broadcast forms,
// accumulate, blend and SwiGLU.
#pragma once
#include "math.h"
#include "ops.gen.h"
#include "runtime.h"

namespace MINKE_NS {

template <class F>
static void map1(const Call& call, const float* x, float* y, idx count, idx cost, F f) {
  call.pieces(count, cost, [&](idx b, idx e, int) {
    vectors(b, e, [&](auto io, idx i) { io.store(y + i, f(io.load(x + i))); });
  });
}
template <class F>
static void map2(const Call& call, const float* x, const float* z, float* y, idx count, idx cost, F f) {
  call.pieces(count, cost, [&](idx b, idx e, int) {
    vectors(b, e, [&](auto io, idx i) { io.store(y + i, f(io.load(x + i), io.load(z + i))); });
  });
}

static void unary(const Call& call) {
  const float* x = call.t[0].f();
  float* y = call.t[1].f();
  const idx n = call.t[0].count;
  const vf a = splat(call.attributeFloat(1)), b = splat(call.attributeFloat(2));
  switch (call.attributeInt(0)) {
    case UNARY_KIND_NEG: return map1(call, x, y, n, 1, [](vf v) { return -v; });
    case UNARY_KIND_EXP: return map1(call, x, y, n, 2, [](vf v) { return vexp(v); });
    case UNARY_KIND_LOG: return map1(call, x, y, n, 2, [](vf v) { return vlog(v); });
    case UNARY_KIND_SQRT: return map1(call, x, y, n, 1, [](vf v) { return vsqrt(v); });
    case UNARY_KIND_RSQRT: return map1(call, x, y, n, 1, [](vf v) { return 1.0f / vsqrt(v); });
    case UNARY_KIND_SQUARE: return map1(call, x, y, n, 1, [](vf v) { return v * v; });
    case UNARY_KIND_ABS: return map1(call, x, y, n, 1, [](vf v) { return vabs(v); });
    case UNARY_KIND_RECIPROCAL: return map1(call, x, y, n, 1, [](vf v) { return 1.0f / v; });
    case UNARY_KIND_SIGMOID: return map1(call, x, y, n, 2, [](vf v) { return vsigmoid(v); });
    case UNARY_KIND_SILU: return map1(call, x, y, n, 2, [](vf v) { return v * vsigmoid(v); });
    case UNARY_KIND_RELU: return map1(call, x, y, n, 1, [](vf v) { return v <= 0.0f ? vf{} : v; });
    case UNARY_KIND_TANH: return map1(call, x, y, n, 2, [](vf v) { return vtanh(v); });
    case UNARY_KIND_SOFTPLUS: return map1(call, x, y, n, 4, [](vf v) { return vsoftplus(v); });
    case UNARY_KIND_AFFINE: return map1(call, x, y, n, 1, [=](vf v) { return fma(a, v, b); });
    case UNARY_KIND_CLAMP:
      return map1(call, x, y, n, 1, [=](vf v) {
        const vf low = v < a ? a : v;
        return low > b ? b : low;
      });
  }
}

static void unaryGrad(const Call& call) {
  const float *x = call.t[0].f(), *dy = call.t[1].f();
  float* dx = call.t[2].f();
  const idx n = call.t[0].count;
  const vf a = splat(call.attributeFloat(1)), b = splat(call.attributeFloat(2));
  switch (call.attributeInt(0)) {
    case UNARY_KIND_NEG: return map2(call, x, dy, dx, n, 1, [](vf, vf d) { return -d; });
    case UNARY_KIND_EXP: return map2(call, x, dy, dx, n, 2, [](vf v, vf d) { return d * vexp(v); });
    case UNARY_KIND_LOG: return map2(call, x, dy, dx, n, 1, [](vf v, vf d) { return d / v; });
    case UNARY_KIND_SQRT: return map2(call, x, dy, dx, n, 1, [](vf v, vf d) { return d * (0.5f / vsqrt(v)); });
    case UNARY_KIND_RSQRT:
      return map2(call, x, dy, dx, n, 1, [](vf v, vf d) { return d * (-0.5f / (v * vsqrt(v))); });
    case UNARY_KIND_SQUARE: return map2(call, x, dy, dx, n, 1, [](vf v, vf d) { return d * (v + v); });
    case UNARY_KIND_ABS:
      return map2(call, x, dy, dx, n, 1, [](vf v, vf d) { return v > 0.0f ? d : (v < 0.0f ? -d : d * v); });
    case UNARY_KIND_RECIPROCAL: return map2(call, x, dy, dx, n, 1, [](vf v, vf d) { return -d / (v * v); });
    case UNARY_KIND_SIGMOID:
      return map2(call, x, dy, dx, n, 2, [](vf v, vf d) {
        const vf s = vsigmoid(v);
        return d * (s * (1.0f - s));
      });
    case UNARY_KIND_SILU:
      return map2(call, x, dy, dx, n, 2, [](vf v, vf d) {
        const vf s = vsigmoid(v);
        return d * (s * fma(v, 1.0f - s, splat(1.0f)));
      });
    case UNARY_KIND_RELU: return map2(call, x, dy, dx, n, 1, [](vf v, vf d) { return v > 0.0f ? d : vf{}; });
    case UNARY_KIND_TANH:
      return map2(call, x, dy, dx, n, 2, [](vf v, vf d) {
        const vf t = vtanh(v);
        return d * ((1.0f - t) * (1.0f + t));
      });
    case UNARY_KIND_SOFTPLUS: return map2(call, x, dy, dx, n, 2, [](vf v, vf d) { return d * vsigmoid(v); });
    case UNARY_KIND_AFFINE: return map2(call, x, dy, dx, n, 1, [=](vf, vf d) { return a * d; });
    case UNARY_KIND_CLAMP:
      return map2(call, x, dy, dx, n, 1, [=](vf v, vf d) { return v >= a && v <= b ? d : vf{}; });
  }
}

template <class F>
static void binaryWith(const Call& call, F f) {
  const Tensor &a = call.t[0], &b = call.t[1], &y = call.t[2];
  const float *pa = a.f(), *pb = b.f();
  float* py = y.f();
  if (b.count == 1) {
    const vf value = splat(pb[0]);
    map1(call, pa, py, a.count, 1, [=](vf v) { return f(v, value); });
    return;
  }
  bool suffix = b.rank <= a.rank;
  for (int i = 0; suffix && i < b.rank; i++) suffix = b.d[i] == a.d[a.rank - b.rank + i];
  if (suffix) {
    call.pieces(a.count, 1, [&](idx begin, idx end, int) {
      for (idx i = begin; i < end;) {
        const idx j = i % b.count, stop = min(end, i + b.count - j);
        vectors(i, stop, [&](auto io, idx k) { io.store(py + k, f(io.load(pa + k), io.load(pb + j + k - i))); });
        i = stop;
      }
    });
    return;
  }
  const idx C = a.last();
  call.pieces(b.count, C, [&](idx begin, idx end, int) {
    for (idx r = begin; r < end; r++) {
      const vf value = splat(pb[r]);
      vectors(r * C, (r + 1) * C, [&](auto io, idx k) { io.store(py + k, f(io.load(pa + k), value)); });
    }
  });
}

static void binary(const Call& call) {
  if (!call.t[0].count) return;
  switch (call.attributeInt(0)) {
    case BINARY_KIND_ADD: return binaryWith(call, [](vf a, vf b) { return a + b; });
    case BINARY_KIND_SUB: return binaryWith(call, [](vf a, vf b) { return a - b; });
    case BINARY_KIND_MUL: return binaryWith(call, [](vf a, vf b) { return a * b; });
    case BINARY_KIND_DIV: return binaryWith(call, [](vf a, vf b) { return a / b; });
    case BINARY_KIND_MAX: return binaryWith(call, [](vf a, vf b) { return a > b || a != a ? a : b; });
    case BINARY_KIND_MIN: return binaryWith(call, [](vf a, vf b) { return a < b || a != a ? a : b; });
  }
}

static void accumulate(const Call& call) {
  const float* x = call.t[0].f();
  float* sum = call.t[1].f();
  const vf scale = splat(call.attributeFloat(0));
  map2(call, x, sum, sum, call.t[0].count, 1, [=](vf v, vf s) { return fma(scale, v, s); });
}

static void swiglu(const Call& call) {
  map2(call, call.t[0].f(), call.t[1].f(), call.t[2].f(), call.t[0].count, 2,
       [](vf gate, vf up) { return gate * vsigmoid(gate) * up; });
}

static void swigluGrad(const Call& call) {
  const float *gate = call.t[0].f(), *up = call.t[1].f(), *dy = call.t[2].f();
  float *dgate = call.t[3].f(), *dup = call.t[4].f();
  call.pieces(call.t[0].count, 3, [&](idx b, idx e, int) {
    vectors(b, e, [&](auto io, idx i) {
      const vf g = io.load(gate + i), u = io.load(up + i), d = io.load(dy + i), s = vsigmoid(g);
      io.store(dgate + i, d * u * (s * fma(g, 1.0f - s, splat(1.0f))));
      io.store(dup + i, d * (g * s));
    });
  });
}

static void blend(const Call& call) {
  const float* x = call.t[0].f();
  float* y = call.t[1].f();
  const vf a = splat(call.attributeFloat(0)), b = splat(call.attributeFloat(1));
  map2(call, x, y, y, call.t[0].count, 1, [=](vf v, vf w) { return fma(a, v, b * w); });
}

}  // namespace MINKE_NS
