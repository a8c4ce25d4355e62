// The k largest numbers of a row, found without sorting it.
//
// The bits of the k-th largest are found by bisection, each step one count over the row; once few numbers are left
// between the bounds the others are dropped. Of equal numbers the first ones are chosen; NaN counts as -inf.
#pragma once
#include "math.h"
#include "runtime.h"

namespace MINKE_NS {

MINKE_INLINE float rank1(float x) { return x != x ? -infinity : x; }

/** Bits of numbers, as integers in the order of the numbers; both zeros have the same, NaN those of -inf. */
MINKE_INLINE vi orderedBits(vf x) {
  const vf plain = (x == x ? x : splat(-infinity)) + 0.0f;
  const vi bits = (vi)plain;
  return bits ^ ((bits >> 31) & 0x7fffffff);
}
MINKE_INLINE vi loadBits(const int32_t* p) { return (vi)load((const float*)p); }

/** How many of n integers are at least `least`. */
static idx countFrom(const int32_t* bits, idx n, int32_t least) {
  vi sums[4] = {};
  idx i = 0;
  for (; i + 4 * W <= n; i += 4 * W)
    MINKE_UNROLL
    for (int j = 0; j < 4; j++) sums[j] -= loadBits(bits + i + j * W) >= splati(least);
  const vi sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  idx count = 0;
  for (int j = 0; j < W; j++) count += sum[j];
  for (; i < n; i++) count += bits[i] >= least;
  return count;
}

/** Keeps those of n integers that are at least `low` and below `high`, in place; returns their number. */
static idx keepBetween(int32_t* bits, idx n, int32_t low, int32_t high) {
  idx kept = 0, i = 0;
  for (; i + W <= n; i += W) {
    const vi b = loadBits(bits + i);
    kept += compress(bits + kept, b, (b >= splati(low)) & (b < splati(high)));
  }
  for (; i < n; i++) {
    const int32_t b = bits[i];
    bits[kept] = b;
    kept += b >= low && b < high;
  }
  return kept;
}

/** Integers of the order of C numbers, C > 0, and the smallest and largest of them. */
static void orderRow(const float* x, idx C, int32_t* to, int32_t& least, int32_t& most) {
  vi low = orderedBits(splat(x[0])), high = low;
  vectors(0, C, [&](auto io, idx i) {
    const vi b = orderedBits(io.keep(io.load(x + i), x[0]));
    io.store((float*)to + i, (vf)b);
    low = b < low ? b : low;
    high = b > high ? b : high;
  });
  least = low[0], most = high[0];
  for (int j = 1; j < W; j++) {
    if (low[j] < least) least = low[j];
    if (high[j] > most) most = high[j];
  }
}

/** The integer of the k-th largest of C numbers, 0 < k <= C, and how many of its equals are among the k largest. */
static int32_t kthLargest(const float* x, idx C, idx k, int32_t* scratch, idx& equals) {
  int32_t least, most;
  orderRow(x, C, scratch, least, most);
  int64_t low = least, high = (int64_t)most + 1;  // the answer is at least `low` and below `high`
  idx n = C, fromLow = C, fromHigh = 0;          // how many are at least so large
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    const idx from = countFrom(scratch, n, (int32_t)middle);
    if (from >= k) {
      low = middle;
      fromLow = from;
    } else {
      high = middle;
      fromHigh = from;
    }
    if ((fromLow - fromHigh) * 4 > n) continue;
    n = keepBetween(scratch, n, (int32_t)low, (int32_t)high);
    k -= fromHigh;
    fromLow = n;
    fromHigh = 0;
  }
  equals = k - fromHigh;
  return (int32_t)low;
}

/**
 * Indices of the k largest of C numbers in ascending order; of equal numbers the first ones, NaN as -inf.
 * @param scratch C words
 * @param to C + W words, of which the first min(k, C) are the answer
 */
static void largestIndices(const float* x, idx C, idx k, int32_t* scratch, int32_t* to) {
  if (k >= C) {
    for (idx i = 0; i < C; i++) to[i] = (int32_t)i;
    return;
  }
  if (k <= 0) return;
  idx equals, made = 0, i = 0;
  const int32_t least = kthLargest(x, C, k, scratch, equals);
  vi at;
  for (int j = 0; j < W; j++) at[j] = j;
  auto one = [&](int32_t bits) {
    if (bits > least || (bits == least && equals-- > 0)) to[made++] = (int32_t)i;
  };
  for (; i + W <= C; i += W, at += W) {
    const vi b = orderedBits(load(x + i));
    const vi same = b == splati(least);
    if (firstLane(same) == W) {
      made += compress(to + made, at, b > splati(least));
      continue;
    }
    for (int j = 0; j < W; j++, i++) one(b[j]);
    i -= W;
  }
  for (; i < C; i++) one(orderedBits(splat(x[i]))[0]);
}

}  // namespace MINKE_NS
