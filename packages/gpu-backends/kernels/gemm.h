// Matrix products. Every f32 output is one chain of multiply-adds over ascending k: blocks of k reload the sum,
// tasks split rows and columns only, so neither the split nor the rows beside a row change its bits.
// `accumulate` starts the chain from what c holds, so gradients summed over two batches in turn equal the
// gradient of both at once.
//
// B is packed once for all row blocks where there are several, else by the block that needs it (gemm-packing.h); packed
// weights are read as they are. Products of few rows read B in place (gemm-in-place.h), in the same order.
#pragma once
#include "gemm-in-place.h"
#include "gemm-packing.h"

namespace MINKE_NS {

/** Rows up to which packed weights are read in one pass, several tiles side by side. */
constexpr int packedRows = manyRegisters ? 8 : 4;

/** c[i][..] = a[i] b for V vectors of columns in neighbouring tiles: every chain of additions at once. */
template <class Op, int R, int V>
static void packedTile(idx steps, const float* a, idx rsa, const float* b, idx tileStride, float* c, idx ldc, idx n) {
  constexpr int perTile = packedColumns / W, tiles = V > perTile ? V / perTile : 1;
  const float* from[tiles];
  for (int t = 0; t < tiles; t++) from[t] = b + t * tileStride;
  vf sum[R][V];
  MINKE_UNROLL
  for (int i = 0; i < R; i++)
    MINKE_UNROLL
    for (int v = 0; v < V; v++) sum[i][v] = vf{};
  for (idx s = 0; s < steps; s++) {
    vf row[V];
    MINKE_UNROLL
    for (int v = 0; v < V; v++) row[v] = load(from[v / perTile] + s * packedColumns + v % perTile * W);
    MINKE_UNROLL
    for (int i = 0; i < R; i++) {
      const vf x = Op::splat(a + i * rsa + s);
      MINKE_UNROLL
      for (int v = 0; v < V; v++) sum[i][v] = Op::step(x, row[v], sum[i][v]);
    }
  }
  for (int i = 0; i < R; i++)
    for (int v = 0; v < V && v * W < n; v++)
      if (n >= (v + 1) * W) store(c + i * ldc + v * W, sum[i][v]);
      else storePart(c + i * ldc + v * W, sum[i][v], n - v * W);
}

/** `productBlock` of few rows and packed weights. */
template <class Op, int R>
static void packedThin(idx rows, idx steps, const float* a, idx rsa, const float* b, idx tileStride, float* c, idx ldc, idx j0, idx nc) {
  if constexpr (R > 1)
    if (rows < R) return packedThin<Op, R - 1>(rows, steps, a, rsa, b, tileStride, c, ldc, j0, nc);
  constexpr int many = R == 1 || (manyRegisters && R == 2) ? 8 : R == 2 || (manyRegisters && R <= 4) ? 4 : 2, few = 2;
  const idx end = j0 + nc;
  auto at = [&](idx j) { return b + j / packedColumns * tileStride + j % packedColumns; };
  idx j = j0;
  for (; j < end && roundUp(end - j, packedColumns) >= many * W; j += many * W)
    packedTile<Op, R, many>(steps, a, rsa, at(j), tileStride, c + j, ldc, end - j);
  for (; j < end; j += few * W) packedTile<Op, R, few>(steps, a, rsa, at(j), tileStride, c + j, ldc, end - j);
}

template <class Op>
static void packedBlock(const Call& call, const Product& p, const Layout& l, idx i0, idx mc, idx j0, idx nc, int thread) {
  const idx steps = stepsOf<Op>(p.K);
  const float* a = p.a + i0 * l.lda;
  idx rsa = l.lda;
  if constexpr (Op::depth == 2) {
#if defined(__AVX512BF16__)
    rsa = roundUp(steps, 2 * W);
    float* words = (float*)call.local(thread, mc * rsa * 4);
    if (!words) return;
    for (idx r = 0; r < mc; r++)
      for (idx k = 0; k < p.K; k += 32) {
        const float* from = a + r * l.lda + k;
        const idx left = p.K - k;
        const vf low = loadPart(from, min(W, left)), high = left > W ? loadPart(from + W, min(W, left - W)) : vf{};
        _mm512_storeu_si512(words + r * rsa + k / 2, (__m512i)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low));
      }
    a = words;
#endif
  }
  (void)call, (void)thread;
  packedThin<Op, packedRows>(mc, steps, a, rsa, (const float*)p.b, steps * packedColumns, p.c + i0 * l.ldc, l.ldc, j0, nc);
}

/**
 * Steps s0 .. s0 + steps, and what has been packed of them for all blocks: strips of op(a), panels of op(b), or null.
 * `blockK` steps of all strips lie together, and of all panels: those of one task then fall into different cache sets.
 */
struct Depth {
  idx s0, steps;
  const float *strips, *panels;
  idx stripsHeight, panelWidth;
};

/** `productBlock` for few rows. The sums move close together: rows of c a power of two apart share cache sets. */
static void inPlaceBlock(const Call& call, const Product& p, const Layout& l, idx i0, idx mc, idx j0, idx nc, const Depth& d,
                         int thread) {
  const idx stride = nc + W, rsa = l.transA ? 1 : l.lda, csa = l.transA ? l.lda : 1;
  const bool load_ = l.accumulate || d.s0 > 0;
  const float *a = p.a + i0 * rsa + d.s0 * csa, *b = (const float*)p.b + (l.transB ? j0 * l.ldb + d.s0 : d.s0 * l.ldb + j0);
  float* c = p.c + i0 * l.ldc + j0;
  if constexpr (directLimit > 0)
    if (!l.transB && mc > streamedRows) return directProduct(mc, d.steps, a, rsa, csa, b, l.ldb, c, l.ldc, nc, load_);
  float* sums = (float*)call.local(thread, mc * stride * 4);
  if (!sums) return;
  for (idx r = 0; r < mc; r++)
    if (load_) copy(sums + r * stride, c + r * l.ldc, nc * 4);
    else zero(sums + r * stride, nc * 4);
  if (l.transB) thinTransposed<thinRows>(mc, d.steps, a, rsa, csa, b, l.ldb, sums, stride, nc);
  else thin<streamedRows>(mc, d.steps, a, rsa, csa, b, l.ldb, sums, stride, nc);
  for (idx r = 0; r < mc; r++) copy(c + r * l.ldc, sums + r * stride, nc * 4);
}

/** Rows i0 .. i0 + mc and columns j0 .. j0 + nc of one product. */
template <class Op>
static void productBlock(const Call& call, const Product& p, const Layout& l, idx i0, idx mc, idx j0, idx nc, const Depth& d, int thread) {
  if (mc <= packedRows && readsPacked(l)) return packedBlock<Op>(call, p, l, i0, mc, j0, nc, thread);
  if (!l.bf16 && !l.packed && !d.panels && mc <= inPlaceRows(l.transB))
    return inPlaceBlock(call, p, l, i0, mc, j0, nc, d, thread);
  const bool direct = readsPacked(l);
  const idx strips = (mc + tileRows - 1) / tileRows, height = d.strips ? tileRows : (mc + strips - 1) / strips;
  const idx depth = min(d.steps, blockK), group = direct || d.panels ? 0 : min(roundUp(nc, tileColumns), groupColumns);
  const idx rowsSize = d.strips ? 0 : roundUp(strips * tileRows * depth, W), columnsSize = roundUp(depth * group + W, W);
  const idx spareSize = Op::depth == 2 && !d.strips ? roundUp(2 * depth * tileRows + 2 * W, W) : 0;
  float* rows = (float*)call.local(thread, (rowsSize + columnsSize + spareSize + tileRows * tileColumns) * 4);
  if (!rows) return;
  float *columns = rows + rowsSize, *spare = columns + columnsSize, *edge = spare + spareSize;
  for (idx s = d.s0; s < d.s0 + d.steps; s += blockK) {
    const idx steps = min(blockK, d.s0 + d.steps - s);
    const bool load_ = l.accumulate || s > 0;
    if (!d.strips) packRowSteps<Op>(p, l, i0, mc, height, s, steps, spare, rows, tileRows * steps);
    auto panelAt = [&](idx j) -> const float* {
      if (direct)
        return (const float*)p.b + ((j0 + j) / packedColumns * stepsOf<Op>(p.K) + s) * packedColumns + (j0 + j) % packedColumns;
      if (d.panels) return d.panels + (s - d.s0) * d.panelWidth + (j0 + j) * steps;
      if (j % group == 0) packColumns<Op>(p, l, j0 + j, min(group, nc - j), s, steps, columns, steps * tileColumns);
      return columns + j % group * steps;
    };
    auto stripAt = [&](idx i) {
      return d.strips ? d.strips + (s - d.s0) * d.stripsHeight + (i0 + i) * steps : rows + i / height * tileRows * steps;
    };
    const idx ldb = direct ? packedColumns : tileColumns;
    auto tileAt = [&](idx i, idx j, const float* a, const float* panel, const float* ahead, idx lines) {
      const idx m = min(height, mc - i), n = min(tileColumns, nc - j);
      float* c = p.c + (i0 + i) * l.ldc + j0 + j;
      if (n == tileColumns) {
        tileUpTo<tileRows, 2, 1, tileRows, false, Op>(m, steps, a, 1, tileRows, panel, ldb, c, l.ldc, load_, nullptr, ahead, lines);
        return;
      }
      if (n == W) {
        tileUpTo<tileRows, 1, 1, tileRows, false, Op>(m, steps, a, 1, tileRows, panel, ldb, c, l.ldc, load_, nullptr);
        return;
      }
      if (load_)
        for (idx r = 0; r < m; r++) copy(edge + r * tileColumns, c + r * l.ldc, n * 4);
      if (n < W)
        tileUpTo<tileRows, 1, 1, tileRows, false, Op>(m, steps, a, 1, tileRows, panel, ldb, edge, tileColumns, load_, nullptr);
      else
        tileUpTo<tileRows, 2, 1, tileRows, false, Op>(m, steps, a, 1, tileRows, panel, ldb, edge, tileColumns, load_, nullptr);
      for (idx r = 0; r < m; r++) copy(c + r * l.ldc, edge + r * tileColumns, n * 4);
    };
    if (d.panels) {
      // The panels stay in the second-level cache, one strip in the first; c is written along its rows.
      const idx across = (nc + tileColumns - 1) / tileColumns, lines = (tileRows * steps / lineFloats + across) / across;
      for (idx i = 0; i < mc; i += height) {
        const float *a = stripAt(i), *next = a + tileRows * steps;
        for (idx j = 0; j < nc; j += tileColumns, next += lines * lineFloats) tileAt(i, j, a, panelAt(j), next, lines);
      }
    } else {
      for (idx j = 0; j < nc; j += tileColumns) {
        const float* panel = panelAt(j);
        for (idx i = 0; i < mc; i += height) tileAt(i, j, stripAt(i), panel, nullptr, 0);
      }
    }
  }
}

/** Floats packed for all blocks of a round: 16 MB, which the last-level cache holds. */
constexpr idx sharedLimit = 4 << 20;

/** Room for `count` products, or null when there is none. */
static Product* reserveProducts(const Call& call, idx count) { return (Product*)call.shared(count * (idx)sizeof(Product)); }

/** How a batch of products is cut: blocks of mc x nc, and what is packed once for all of them. */
struct Plan {
  idx mc, nc, tasks;
  bool shareRows, shareColumns;
  idx across(const Product& p) const { return (p.N + nc - 1) / nc; }
  idx tasksOf(const Product& p) const { return p.K == 0 ? 0 : (p.M + mc - 1) / mc * across(p); }
};

static Plan planBlocks(Product* products, idx count, const Layout& l, double work, idx tallest, idx widest) {
  Plan plan = {};
  const bool direct = readsPacked(l), single = tallest <= 8 * tileRows;
  const bool inPlace = !l.bf16 && !l.packed && tallest <= inPlaceRows(l.transB);
  const idx leastRows = 2 * tileRows, leastColumns = direct ? 4 * packedColumns : single ? 2 * tileColumns : 4 * tileColumns;
  const idx wanted = single ? 8 : 16;
  plan.mc = min(roundUp(tallest, tileRows), 20 * tileRows);
  plan.nc = min(roundUp(widest, tileColumns), single ? 512 : blockColumns);
  auto cut = [&] {
    plan.tasks = 0;
    for (idx i = 0; i < count; i++) {
      products[i].firstTask = plan.tasks;
      plan.tasks += plan.tasksOf(products[i]);
    }
    return plan.tasks;
  };
  while (cut() < wanted && work / (double)plan.tasks > 1e6) {
    const bool rows = !inPlace && plan.mc > leastRows && plan.mc >= 4 * tileRows, columns = plan.nc > leastColumns;
    if (rows && (plan.mc >= (single ? plan.nc : plan.nc / 4) || !columns)) plan.mc = roundUp(plan.mc / 2, tileRows);
    else if (columns) plan.nc = roundUp(plan.nc / 2, leastColumns);
    else break;
  }
  // Equal parts: a small last one leaves a thread idle.
  const idx down = (tallest + plan.mc - 1) / plan.mc, across = (widest + plan.nc - 1) / plan.nc;
  plan.mc = roundUp((tallest + down - 1) / down, tileRows);
  plan.nc = roundUp((widest + across - 1) / across, direct ? packedColumns : tileColumns);
  cut();
  plan.shareColumns = !direct && tallest > plan.mc && roundUp(widest, tileColumns) * blockK <= sharedLimit;
  const idx width = plan.shareColumns ? roundUp(widest, tileColumns) : 0;
  // Rows of op(a) that are columns of memory share their cache lines: packed once for all blocks, each line is read once.
  const bool columnsOfA = l.transA && tallest > plan.mc;
  plan.shareRows = (widest > plan.nc || columnsOfA) && tallest > thinRows && !inPlace &&
                   (roundUp(tallest, tileRows) + width) * blockK <= sharedLimit;
  return plan;
}

/** Runs a batch of products of equal N. */
template <class Op>
static void runSteps(const Call& call, Product* products, idx count, const Layout& l) {
  double work = 0;
  idx tallest = 0, widest = 0;
  for (idx i = 0; i < count; i++) {
    const Product& p = products[i];
    work += 2.0 * (double)p.M * (double)p.N * (double)p.K;
    tallest = max(tallest, p.M);
    widest = max(widest, p.N);
    if (p.K == 0 && !l.accumulate)
      for (idx r = 0; r < p.M; r++) zero(p.c + r * l.ldc, p.N * 4);
  }
  if (work == 0) return;
  const Plan plan = planBlocks(products, count, l, work, tallest, widest);
  auto run = [&](idx amount, auto body) {
    if (work < 3e5)
      for (idx t = 0; t < amount; t++) body(t, 0);
    else
      call.parallel(amount, body);
  };
  const idx panelWidth = plan.shareColumns ? roundUp(widest, tileColumns) : 0;
  auto stripsHeight = [&](const Product& p) { return plan.shareRows ? roundUp(p.M, tileRows) : 0; };
  auto packedWidth = [&](const Product& p) { return p.M == 0 ? 0 : stripsHeight(p) + panelWidth; };
  idx floats = 0;
  for (idx i = 0; i < count && floats < sharedLimit; i++) floats += stepsOf<Op>(products[i].K) * packedWidth(products[i]);
  float* packed = floats ? (float*)call.packing(min(floats, sharedLimit) * 4) : nullptr;
  if (floats && !packed) return;
  for (idx first = 0, s0 = 0; first < count;) {
    // A round: as many whole products as there is room for, or a part of the depth of one.
    idx end = first, used = 0, part = 0;
    for (; end < count; end++) {
      Product& p = products[end];
      const idx left = stepsOf<Op>(p.K) - s0, each = packedWidth(p);
      if (end > first && (s0 > 0 || used + left * each > sharedLimit)) break;
      part = each * left <= sharedLimit ? left : sharedLimit / each / blockK * blockK;
      p.strips = used;
      p.panels = used + stripsHeight(p) * part;
      used += part * each;
      if (part < left) {
        end++;
        break;
      }
    }
    auto stepsIn = [&](const Product& p) { return end == first + 1 ? part : stepsOf<Op>(p.K); };
    // Packing: pieces of eight strips or of `groupColumns` columns, `blockK` steps deep; smaller ones where they are few.
    const bool few = floats <= 1 << 18;
    const idx pieceRows = (few ? 4 : 8) * tileRows, pieceColumns = few ? groupColumns / 2 : groupColumns;
    const idx groups = panelWidth ? (widest + pieceColumns - 1) / pieceColumns : 0;
    auto rowPieces = [&](const Product& p) { return plan.shareRows ? (p.M + pieceRows - 1) / pieceRows : 0; };
    auto piecesOf = [&](const Product& p) {
      return p.M == 0 ? 0 : (stepsIn(p) + blockK - 1) / blockK * (rowPieces(p) + groups);
    };
    idx pieces = 0;
    for (idx i = first; i < end; i++) pieces += piecesOf(products[i]);
    run(pieces, [&](idx t, int thread) {
      idx i = first;
      for (; t >= piecesOf(products[i]); i++) t -= piecesOf(products[i]);
      const Product& p = products[i];
      const idx each = rowPieces(p) + groups, s = t / each * blockK, steps = stepsIn(p), some = min(blockK, steps - s);
      t %= each;
      if (t < rowPieces(p)) {
        const idx row = t * pieceRows;
        float* spare = Op::depth == 1 ? packed : (float*)call.local(thread, (2 * blockK * tileRows + 2 * W) * 4);
        if (spare)
          packRowSteps<Op>(p, l, row, min(pieceRows, p.M - row), tileRows, s0 + s, some, spare,
                           packed + p.strips + s * stripsHeight(p) + row * some, some * tileRows);
      } else {
        const idx j = (t - rowPieces(p)) * pieceColumns;
        packColumns<Op>(p, l, j, min(pieceColumns, p.N - j), s0 + s, some, packed + p.panels + s * panelWidth + j * some, some * tileColumns);
      }
    });
    const idx firstTask = products[first].firstTask, lastTask = end < count ? products[end].firstTask : plan.tasks;
    run(lastTask - firstTask, [&](idx t, int thread) {
      idx i = first;
      while (i + 1 < end && products[i + 1].firstTask <= firstTask + t) i++;
      const Product& p = products[i];
      t -= p.firstTask - firstTask;
      const idx i0 = t / plan.across(p) * plan.mc, j0 = t % plan.across(p) * plan.nc;
      const Depth d = {s0, stepsIn(p), plan.shareRows ? packed + p.strips : nullptr, panelWidth ? packed + p.panels : nullptr,
                       stripsHeight(p), panelWidth};
      productBlock<Op>(call, p, l, i0, min(plan.mc, p.M - i0), j0, min(plan.nc, p.N - j0), d, thread);
    });
    const bool whole = s0 + part == stepsOf<Op>(products[end - 1].K);
    first = whole ? end : first;
    s0 = whole ? 0 : s0 + part;
  }
}

static void runProducts(const Call& call, Product* products, idx count, const Layout& l) {
#if defined(__AVX512BF16__)
  if (l.bf16) return runSteps<Pairs>(call, products, count, l);
#endif
  runSteps<Single>(call, products, count, l);
}

/** Rows of each expert from untrusted offsets: clamped, and never before the end of the expert before. */
static void expertRows(const Tensor& offsets, idx e, idx total, idx& end, idx& first, idx& count) {
  const idx begin = max(end, clamp(offsets.i()[e], 0, total)), stop = clamp(offsets.i()[e + 1], 0, total);
  first = begin;
  count = max(stop - begin, 0);
  end = max(end, stop);
}

}  // namespace MINKE_NS
