// What the attention kernels share: blocks of queries across the vector lanes, and products with a tile of keys.
//
// Queries lie across the vector lanes: one lane is one (query, head) pair, a block is up to 2 W pairs whose
// ranges begin at the same key row. Scores, probabilities and outputs are kept transposed, [key][lane] and
// [column][lane], so that every lane's softmax is computed without looking at its neighbours. A lane's bits
// depend on its own query, range and keys only, not on the batch around it.
#pragma once
#include "gemm.h"

namespace MINKE_NS {

constexpr idx keyTile = 64;
constexpr int lanes = 2 * W;  // most lanes of a block; one of up to W lanes is stored with W
#if defined(__AVX512F__)
constexpr int laneRows = 8;  // rows of a [row][lanes] tile computed together
#elif defined(__AVX2__)
constexpr int laneRows = 6;
#elif defined(__ARM_NEON)
constexpr int laneRows = 8;
#else
constexpr int laneRows = 4;
#endif

/** Lane pairs first .. first + count share a first key; the longest range ends at `high`. */
struct Block {
  idx first, count, low, high;
};

struct Heads {
  idx N, H, keyHeads, group, M;
  const int32_t* ranges;      // `each` numbers a query, the first and the last of them its range; null: all M rows,
  idx each = 2;               // and no block has two queries

  void range(idx n, idx& low, idx& high) const {
    low = ranges ? clamp(ranges[each * n], 0, M) : 0;
    high = ranges ? clamp(ranges[each * n + each - 1], low, M) : M;
  }
  /** Row of [N, H, ...] that lane pair `r` of key head `hk` is. */
  idx row(idx r, idx hk) const { return r / group * H + hk * group + r % group; }
};

/** Cuts the lane pairs into blocks; only counts them where `blocks` is null. */
static idx planBlocks(const Heads& h, Block* blocks) {
  idx count = 0;
  Block current = {0, 0, 0, 0};
  const idx total = h.N * h.group;
  auto close = [&] {
    if (blocks) blocks[count] = current;
    count++;
    current.count = 0;
  };
  for (idx r = 0; r < total; r++) {
    idx low, high;
    h.range(r / h.group, low, high);
    const bool apart = low != current.low || (!h.ranges && r % h.group == 0);
    if (current.count > 0 && (current.count == lanes || apart)) close();
    if (current.count == 0) current = {r, 0, low, low};
    current.count++;
    current.high = max(current.high, high);
  }
  if (current.count) close();
  return count;
}

/** Where the lanes of a block stop: each lane's last key + 1, the shortest of them, and the longest of each vector. */
struct Ends {
  int32_t of[lanes];
  idx shortest, longest[2];

  Ends() = default;
  Ends(const Heads& h, const Block& block) : shortest(block.high), longest{block.low, block.low} {
    for (idx l = 0; l < lanes; l++) {
      idx low = block.low, high = block.low;
      if (l < block.count) h.range((block.first + l) / h.group, low, high);
      set(l, high, l < block.count);
    }
  }
  void set(idx l, idx high, bool used) {
    of[l] = (int32_t)high;
    if (used) shortest = min(shortest, high);
    longest[l / W] = max(longest[l / W], high);
  }
};

/** A tile of n keys from row m0 on, seen from the lanes of a block. */
struct TileLimits {
  int32_t limits[lanes];  // keys of the tile that each lane takes part in
  idx both;               // keys after this one concern the second vector of lanes only
  bool masked;

  TileLimits(const Ends& ends, idx m0, idx n, int vectors_) {
    for (int l = 0; l < lanes; l++) limits[l] = (int32_t)clamp(ends.of[l] - m0, 0, n);
    masked = m0 + n > ends.shortest;
    both = vectors_ == 2 ? clamp(ends.longest[0] - m0, 0, n) : n;
  }
  vi vector(int j) const {
    vi limit;
    __builtin_memcpy(&limit, limits + j * W, sizeof(vi));
    return limit;
  }
};

/**
 * Where a lane's range has parts: [low, first, near, end] of a query. Rows from low on are walked, rows before `first`
 * weigh nothing, and `bias` is added to the scores of rows before `near`.
 */
struct Parts {
  int32_t first[lanes], near[lanes];
  float bias[lanes];
  idx last;  // rows from here on are like any others

  Parts() = default;
  Parts(const Heads& h, const Block& block, idx hk, const float* biases) : last(0) {
    for (idx l = 0; l < lanes; l++) {
      first[l] = near[l] = 0;
      bias[l] = 0;
      if (l >= block.count) continue;
      const int32_t* range = h.ranges + h.each * ((block.first + l) / h.group);
      first[l] = range[1];
      near[l] = range[2];
      bias[l] = biases[h.row(block.first + l, hk)];
      last = max(last, max((idx)first[l], (idx)near[l]));
    }
  }
};

/** Memory that is needed soon, asked for a little at a time: one piece, or as much of each of several rows. */
struct Ahead {
  const char *next = nullptr, *end = nullptr;
  idx bytes = 0, stride = 0, more = 0;  // of a row, from one to the next, and rows after this one
  idx lines = 0;                        // with each step of a loop

  Ahead() = default;
  Ahead(const float* from, idx floats, idx steps) : Ahead((const char*)from, floats * 4, steps) {}
  Ahead(const char* from, idx size, idx steps) : next(from), end(from + size), lines(linesOf(size, steps)) {}
  Ahead(const char* from, idx rows, idx width, idx apart, idx steps)
      : next(from), end(from + (rows > 0 ? width : 0)), bytes(width), stride(apart), more(max(rows - 1, 0)),
        lines(linesOf(rows * roundUp(width + 60, 64), steps)) {}

  MINKE_INLINE void step() {
    for (idx i = 0; i < lines && next < end; i++) {
      __builtin_prefetch(next, 0, 2);
      next += 64;
      if (next < end || more == 0) continue;
      more--;
      end += stride;
      next = (const char*)((uintptr_t)(end - bytes) & ~(uintptr_t)63);
    }
  }

 private:
  static idx linesOf(idx size, idx steps) { return steps > 0 ? size / 64 / steps + 1 : 0; }
};

/** out[i][lane] (+)= sum over k of a[i * rsa + k * csa] b[k][lane] for V vectors of `stride` lanes, i < rows. */
template <int V, bool MASKED, class Op = Single>
static void laneProduct(idx rows, idx K, const float* a, idx rsa, idx csa, const float* b, float* out, idx stride, bool accumulate,
                        const int32_t* limits, Ahead* ahead = nullptr) {
  for (idx i = 0; i < rows; i += laneRows) {
    if (ahead) ahead->step();
    tileUpTo<laneRows, V, 0, 0, MASKED, Op>(rows - i, K, a + i * rsa, rsa, csa, b, stride, out + i * stride, stride, accumulate, limits);
  }
}

/** s[key][lane] = sum over c of k[key][c] x[c][lane], for the lanes that `tile` has at each key. */
template <int V, class Op = Single>
static void scoreTile(const TileLimits& tile, idx n, const float* k, idx stride, idx width, const float* x, float* s) {
  constexpr idx L = V * W;
  laneProduct<V, false, Op>(tile.both, width, k, stride, 1, x, s, L, false, nullptr);
  if (V == 2 && tile.both < n)
    laneProduct<1, false, Op>(n - tile.both, width, k + tile.both * stride, stride, 1, x + W, s + tile.both * L + W, L, false, nullptr);
}

/** out[c][lane] += sum over keys of v[key][c] p[key][lane]; keys beyond a lane's limit are not looked at. */
template <int V>
static void addTile(const TileLimits& tile, idx n, const float* v, idx stride, idx width, const float* p, float* out,
                    Ahead* ahead = nullptr) {
  constexpr idx L = V * W;
  if (!tile.masked) return laneProduct<V, false>(width, n, v, 1, stride, p, out, L, true, nullptr, ahead);
  laneProduct<V, true>(width, tile.both, v, 1, stride, p, out, L, true, tile.limits, ahead);
  if (V == 1 || tile.both == n) return;
  int32_t limits[W];
  for (int l = 0; l < W; l++) limits[l] = tile.limits[W + l] - (int32_t)tile.both;
  laneProduct<1, true>(width, n - tile.both, v + tile.both * stride, 1, stride, p + tile.both * L + W, out + W, L, true, limits);
}

/** Copies rows of a strided tensor close together. */
static void packTile(const float* from, idx stride, idx rows, idx width, float* to) {
  for (idx i = 0; i < rows; i++)
    vectors(0, width, [&](auto io, idx c) { io.store(to + i * width + c, io.load(from + i * stride + c)); });
}

/** Lane pairs of one [.., width] tensor as rows and as columns, to[c][lane]; unused lanes are zero. */
template <int V>
static void gatherLanes(const Heads& h, const Block& block, idx hk, const float* from, idx width, float* rows, float* to) {
  constexpr idx L = V * W;
  for (idx l = 0; l < block.count; l++) {
    const float* row = from + h.row(block.first + l, hk) * width;
    vectors(0, width, [&](auto io, idx c) { io.store(rows + l * width + c, io.load(row + c)); });
  }
  zero(rows + block.count * width, (L - block.count) * width * 4);
  transpose(rows, width, L, width, to, L, false);
}

}  // namespace MINKE_NS
