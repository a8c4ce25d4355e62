// Products with quantised weights, packed in tiles of 32 columns.
//
// A block of a tile holds 32 columns by 32 k (one group), k by fours: word c of step s the four bytes of column c at
// k = 4 s .. 4 s + 3, each with 128 added; of 4-bit weights those at k = 4 s (lower halves) and 16 + 4 s (upper halves).
// The 32 f16 scales of the columns follow. So the blocks of a tile are one stream, and a weight takes as many bytes as
// in GGUF's layout.
//
// Each output is one chain over ascending groups: sum = fma(exact integer sum, scale of the row x scale of the column,
// sum), the same for one row and for many.
#pragma once
#include "experts.h"
#include "integer-lanes.h"

namespace MINKE_NS {

/** Rows that share a read of a block, and the vectors of columns they are summed for at a time. */
constexpr int stripRows = 8;
template <int R>
constexpr int vectorsOf = W == 16 ? 2 : R <= 3 ? 4 : R == 4 ? 2 : 1;

/** Rows in strips of about equal height: where each begins. */
MINKE_INLINE idx stripsOf(idx rows) { return (rows + stripRows - 1) / stripRows; }
MINKE_INLINE idx stripStart(idx rows, idx strip) { return rows * strip / stripsOf(rows); }

/** What a strip of R rows holds of one group: words of activations, where sums begin, and scales, each row by row. */
template <class Weights>
constexpr idx wordsPerRow = (Weights::Way::wide ? 2 * groupWords : groupWords) + 2;

/**
 * Rows of bytes with a scale for each group: those that `index` names (zeros where it names none of `total`), or the first
 * ones where it is null.
 */
struct ByteRows {
  const int8_t* bytes;
  const float* scales;
  idx total;
  const int32_t* index;
};

/** Activations in strips, for weights of either format (null where no product has it). */
struct Strips {
  idx rows, K;
  ByteRows from;
  char* of[2];
  idx firstStrip;  // of those that are packed together
};

/** The last of `count` whose `first` is at most `value`. */
template <class F>
MINKE_INLINE idx lastFrom(idx count, idx value, F first) {
  idx low = 0;
  for (idx high = count; high - low > 1;) {
    const idx middle = (low + high) / 2;
    (first(middle) <= value ? low : high) = middle;
  }
  return low;
}

/** 0 for 8-bit weights, 1 for 4-bit ones. */
MINKE_INLINE int formatOf(const Tensor& w) { return w.dtype == Q8_0 ? 0 : 1; }
MINKE_INLINE idx blockBytesOf(const Tensor& w) { return w.dtype == Q8_0 ? Weights8::blockBytes : Weights4::blockBytes; }

template <class Weights>
static idx stripBytes(idx rows, idx K) { return roundUp(rows * (K / groupSize) * wordsPerRow<Weights> * 4, 64); }

/** Bytes of the strips of `rows` rows of K, for the formats that are used. */
static idx stripBytes(idx rows, idx K, const bool (&used)[2]) {
  return (used[0] ? stripBytes<Weights8>(rows, K) : 0) + (used[1] ? stripBytes<Weights4>(rows, K) : 0);
}

/** Group g of `count` rows as a strip holds it. `from[r]` is a row's bytes, or null for zeros. */
template <class Weights>
static void packStripGroup(const int8_t* const* from, const float* const* scales, idx count, idx g, int32_t* to) {
  constexpr idx words = wordsPerRow<Weights> - 2;
  for (idx r = 0; r < count; r++) {
    group_halves w = {};
    if (from[r]) copy(&w, from[r] + g * groupSize, groupSize);
    const group_halves even = (w << 8) >> 8, odd = w >> 8, sums = even + odd;  // bytes 0 and 2 of each word, 1 and 3
    int32_t first[groupWords], second[groupWords];
    copy(first, Weights::Way::wide ? &even : &w, groupSize);
    copy(second, &odd, groupSize);
    for (idx i = 0; i < groupWords; i++) {
      if (Weights::Way::wide) {
        to[2 * i * count + r] = first[i];
        to[(2 * i + 1) * count + r] = second[i];
      } else {
        to[i * count + r] = first[i];
      }
    }
    int32_t evenSum, oddSum;
    sumInTurns(sums, evenSum, oddSum);
    to[words * count + r] = Weights::Way::start(evenSum, oddSum, Weights::offset);
    const float scale = from[r] ? scales[r][g] : 0;
    copy(to + (words + 1) * count + r, &scale, 4);
  }
}

template <class Weights>
static void packStrip(const Strips& x, idx strip, char* memory) {
  const idx G = x.K / groupSize, first = stripStart(x.rows, strip), count = stripStart(x.rows, strip + 1) - first;
  const int8_t* from[stripRows];
  const float* scale[stripRows];
  for (idx r = 0; r < count; r++) {
    const idx n = x.from.index ? x.from.index[first + r] : first + r;
    const bool there = n >= 0 && n < x.from.total;
    from[r] = there ? x.from.bytes + n * x.K : nullptr;
    scale[r] = x.from.scales + (there ? n * G : 0);
  }
  int32_t* to = (int32_t*)memory + first * G * wordsPerRow<Weights>;
  for (idx g = 0; g < G; g++, to += count * wordsPerRow<Weights>) packStripGroup<Weights>(from, scale, count, g, to);
}

/** Strips of `rows` rows in memory of `stripBytes`, to be packed. */
static Strips stripsIn(char* memory, const ByteRows& from, idx rows, idx K, const bool (&used)[2]) {
  char* second = memory + (used[0] ? stripBytes<Weights8>(rows, K) : 0);
  return {rows, K, from, {used[0] ? memory : nullptr, used[1] ? second : nullptr}, 0};
}

/** Packs all strips of products that run together. */
static void packStrips(const Call& call, Strips* strips, idx count) {
  idx total = 0, K = 1;
  for (idx i = 0; i < count; i++) {
    strips[i].firstStrip = total;
    total += stripsOf(strips[i].rows);
    K = max(K, strips[i].K);
  }
  call.pieces(total, stripRows * K, [&](idx b, idx e, int) {
    for (idx s = b; s < e; s++) {
      const Strips& x = strips[lastFrom(count, s, [&](idx i) { return strips[i].firstStrip; })];
      if (x.of[0]) packStrip<Weights8>(x, s - x.firstStrip, x.of[0]);
      if (x.of[1]) packStrip<Weights4>(x, s - x.firstStrip, x.of[1]);
    }
  });
}

#if !defined(__ARM_NEON)  // quantized-neon.h has its own
/** sums[r] += row r of a strip times a tile, for 32 columns. */
template <class Weights, int R>
static void quantizedTile(const int32_t* strip, const char* tile, idx G, float* sums) {
  typedef typename Weights::Way Way;
  constexpr int V = vectorsOf<R>;
  constexpr idx words = wordsPerRow<Weights> - 2, lineBytes = 4 * tileWidth;
  for (idx g = 0; g < G; g++, tile += Weights::blockBytes, strip += R * (words + 2)) {
    const int32_t* starts = strip + R * words;
    const float* scales = (const float*)(starts + R);
    for (idx j = 0; j < tileWidth; j += V * W) {
      typename Way::Sum sum[R][V];
      MINKE_UNROLL
      for (int r = 0; r < R; r++)
        MINKE_UNROLL
        for (int v = 0; v < V; v++) sum[r][v] = Way::begin(starts[r]);
      MINKE_ROLLED
      for (idx s = 0; s < Weights::steps; s++) {
        if (R <= 4 && j == 0) {
          __builtin_prefetch(tile + s * lineBytes + 2048);
          __builtin_prefetch(tile + s * lineBytes + 2048 + 64);
        }
        MINKE_UNROLL
        for (int v = 0; v < V; v++) {
          const auto part = Weights::read(tile + s * lineBytes + 4 * (j + v * W));
          MINKE_UNROLL
          for (int r = 0; r < R; r++) sum[r][v] = Weights::template add<R>(sum[r][v], part, strip + r, s);
        }
      }
      MINKE_UNROLL
      for (int v = 0; v < V; v++) {
        const vf scale = loadHalves16(tile + Weights::steps * lineBytes + 2 * (j + v * W));
        MINKE_UNROLL
        for (int r = 0; r < R; r++) {
          float* to = sums + r * tileWidth + j + v * W;
          store(to, fma(__builtin_convertvector(Way::end(sum[r][v]), vf), splat(scales[r]) * scale, load(to)));
        }
      }
    }
  }
}
#endif

/** One product: y [M, N] = x w^T, w [N, K] in tiles. */
struct QuantizedProduct {
  const Strips* x;
  idx N;
  const char* w;
  int format;
  float* y;
  idx firstTask, tiles, tall;
};

/** Tile t for one strip of a product. */
template <class Weights, int R>
static void quantizedStrip(const QuantizedProduct& p, idx first, idx rows, const char* tile, idx t) {
  if constexpr (R > 1)
    if (rows < R) return quantizedStrip<Weights, R - 1>(p, first, rows, tile, t);
  alignas(64) float sums[R * tileWidth];
  zero(sums, sizeof sums);
  const idx G = p.x->K / groupSize;
  quantizedTile<Weights, R>((const int32_t*)p.x->of[p.format] + first * G * wordsPerRow<Weights>, tile, G, sums);
  for (int r = 0; r < R; r++)
    copy(p.y + (first + r) * p.N + t * tileWidth, sums + r * tileWidth, min(tileWidth, p.N - t * tileWidth) * 4);
}

/** Strips s0 .. s1 and tiles t0 .. t1 of a product: a tile stays in the second-level cache for all strips. */
template <class Weights>
static void quantizedBlock(const QuantizedProduct& p, idx s0, idx s1, idx t0, idx t1) {
  const idx tileBytes = p.x->K / groupSize * Weights::blockBytes;
  for (idx t = t0; t < t1; t++)
    for (idx s = s0; s < s1; s++) {
      const idx first = stripStart(p.x->rows, s);
      quantizedStrip<Weights, stripRows>(p, first, stripStart(p.x->rows, s + 1) - first, p.w + t * tileBytes, t);
    }
}

/** Runs products in one parallel loop. */
static void runQuantized(const Call& call, QuantizedProduct* products, idx count) {
  constexpr idx tallest = 24;  // strips of one task
  auto tilesOf = [](const QuantizedProduct& p) { return (p.N + tileWidth - 1) / tileWidth; };
  idx tasks = 0;
  double work = 0;
  for (idx i = 0; i < count; i++) {
    QuantizedProduct& p = products[i];
    const idx strips = stripsOf(p.x->rows), cost = max(1, p.x->K * tileWidth * stripRows * min(strips, tallest));
    p.tall = (strips + tallest - 1) / tallest;
    p.tiles = clamp((1 << 20) / cost, 1, max(1, tilesOf(p) / 4));
    p.firstTask = tasks;
    tasks += p.tall * ((tilesOf(p) + p.tiles - 1) / p.tiles);
    work += (double)p.x->rows * (double)p.N * (double)p.x->K;
  }
  auto body = [&](idx task, int) {
    const QuantizedProduct& p = products[lastFrom(count, task, [&](idx i) { return products[i].firstTask; })];
    const idx t = (task - p.firstTask) / p.tall * p.tiles, part = (task - p.firstTask) % p.tall;
    const idx strips = stripsOf(p.x->rows), s0 = strips * part / p.tall, s1 = strips * (part + 1) / p.tall;
    const idx end = min(t + p.tiles, tilesOf(p));
    if (p.format == 0) quantizedBlock<Weights8>(p, s0, s1, t, end);
    else quantizedBlock<Weights4>(p, s0, s1, t, end);
  };
  if (work < 1e5)
    for (idx t = 0; t < tasks; t++) body(t, 0);
  else
    call.parallel(tasks, body);
}

static void matmulQuantized(const Call& call) {
  const Tensor &rows = call.t[0], &scales = call.t[1], &w = call.t[2], &y = call.t[3];
  const idx M = rows.d[0], K = rows.d[1];
  const bool used[2] = {formatOf(w) == 0, formatOf(w) == 1};
  char* memory = call.workspace(stripBytes(M, K, used));
  if (!memory) return;
  Strips x = stripsIn(memory, {(const int8_t*)rows.p, scales.f(), M, nullptr}, M, K, used);
  packStrips(call, &x, 1);
  QuantizedProduct product = {&x, y.d[1], w.p, formatOf(w), y.f(), 0, 0, 0};
  runQuantized(call, &product, 1);
}

static void groupedMatmulQuantized(const Call& call) {
  const Tensor &rows = call.t[0], &scales = call.t[1], &w = call.t[2], &offsets = call.t[3], &y = call.t[4];
  const idx R = rows.d[0], K = rows.d[1], N = y.d[1], E = w.d[0], G = K / groupSize;
  const bool used[2] = {formatOf(w) == 0, formatOf(w) == 1};
  const idx head = roundUp(E * (idx)(sizeof(ExpertRows) + sizeof(Strips) + sizeof(QuantizedProduct)), 64);
  char* memory = call.workspace(head + stripBytes(R, K, used) + E * 64);
  if (!memory) return;
  QuantizedProduct* products = (QuantizedProduct*)memory;
  Strips* strips = (Strips*)(products + E);
  ExpertRows* runs = (ExpertRows*)(strips + E);
  memory += head;
  const idx found = expertRuns(offsets, E, R, runs, {Cleared{y.f(), N}});
  for (idx i = 0; i < found; i++) {
    const auto [e, first, n] = runs[i];
    strips[i] = stripsIn(memory, {(const int8_t*)rows.p + first * K, scales.f() + first * G, n, nullptr}, n, K, used);
    memory += stripBytes(n, K, used);
    products[i] = {strips + i, N, w.p + e * w.d[1] * G * blockBytesOf(w), formatOf(w), y.f() + first * N, 0, 0, 0};
  }
  packStrips(call, strips, found);
  runQuantized(call, products, found);
}

}  // namespace MINKE_NS
