// Attention over key ranges, its gradient, and the absorbed (latent) form.
//
// Queries lie across the vector lanes: one lane is one (query, head) pair, a block is up to 2 W pairs whose
// ranges begin at the same key row. Scores, probabilities and outputs are kept transposed, [key][lane] and
// [column][lane], so that every lane's softmax is computed without looking at its neighbours. Keys are
// walked in tiles of `keyTile` rows counted from the range's first row (online softmax: Milakov & Gimelshein
// 2018; tiling: FlashAttention-2, Dao 2023); a lane's bits depend on its own query, range and keys only,
// not on the batch around it. The gradient adds to dk and dv in ascending query order.
#pragma once
#include "gemm.h"
#include "rows.h"

namespace MINKE_NS {

constexpr idx keyTile = 64;
constexpr int lanes = 2 * W;
constexpr int fewLanes = W / 4;  // so few that they are computed one by one
#if defined(__AVX512F__)
constexpr int laneRows = 8;  // rows of a [row][lanes] tile computed together
#else
constexpr int laneRows = 4;
#endif

/** Lane pairs first .. first + count share a first key; the longest range ends at `high`. */
struct Block {
  idx first, count, low, high;
};

struct Heads {
  idx N, H, keyHeads, group, M;
  const int32_t* ranges;

  void range(idx n, idx& low, idx& high) const {
    low = clamp(ranges[2 * n], 0, M);
    high = clamp(ranges[2 * n + 1], low, M);
  }
  /** Row of [N, H, ...] that lane pair `r` of key head `hk` is. */
  idx row(idx r, idx hk) const { return r / group * H + hk * group + r % group; }
};

static idx planBlocks(const Heads& h, Block* blocks) {
  idx count = 0;
  Block current = {0, 0, 0, 0};
  const idx total = h.N * h.group;
  for (idx r = 0; r < total; r++) {
    idx low, high;
    h.range(r / h.group, low, high);
    const bool open = current.count > 0;
    if (open && (current.count == lanes || low != current.low)) {
      blocks[count++] = current;
      current.count = 0;
    }
    if (current.count == 0) current = {r, 0, low, low};
    current.count++;
    current.high = max(current.high, high);
  }
  if (current.count) blocks[count++] = current;
  return count;
}

/** out[i][lane] (+)= sum over k of a[i * rsa + k * csa] b[k][lane] for all lanes, i < rows. */
template <int V, bool MASKED>
static void laneProduct(idx rows, idx K, const float* a, idx rsa, idx csa, const float* b, float* out, bool accumulate,
                        const int32_t* limits) {
  for (idx i = 0; i < rows; i += laneRows)
    tileUpTo<laneRows, V, 0, 0, MASKED>(rows - i, K, a + i * rsa, rsa, csa, b, lanes, out + i * lanes, lanes, accumulate, limits);
}

/** Lane pairs of one [.., width] tensor as columns: to[c][lane]; unused lanes are zero. */
static void gatherLanes(const Heads& h, const Block& block, idx hk, const float* from, idx width, float* rows, float* to) {
  for (idx l = 0; l < block.count; l++) copy(rows + l * width, from + h.row(block.first + l, hk) * width, width * 4);
  zero(rows + block.count * width, (lanes - block.count) * width * 4);
  transpose(rows, width, lanes, width, to, lanes, false);
}

struct AttentionTask {
  Heads heads;
  const float *q, *k, *v;
  float *o, *lse;
  idx dk, dv, keyStride, valueStride;  // strides between key rows
  float scale;
};

template <int V>
static void attentionBlock(const AttentionTask& t, const Block& block, idx hk, float* scratch) {
  const Heads& h = t.heads;
  float* rows = scratch;  // [lanes][max(dk, dv)]
  float* qt = rows + lanes * max(t.dk, t.dv);
  float* s = qt + t.dk * lanes;
  float* ot = s + keyTile * lanes;
  gatherLanes(h, block, hk, t.q, t.dk, rows, qt);
  zero(ot, t.dv * lanes * 4);
  int32_t ends[lanes], limits[lanes];
  idx shortest = block.high;
  for (idx l = 0; l < lanes; l++) {
    idx low = block.low, high = block.low;
    if (l < block.count) {
      h.range((block.first + l) / h.group, low, high);
      shortest = min(shortest, high);
    }
    ends[l] = (int32_t)high;
  }
  const vf scale = splat(t.scale);
  vf maximum[V], sum[V];
  for (int j = 0; j < V; j++) {
    maximum[j] = splat(-infinity);
    sum[j] = vf{};
  }
  const float* k = t.k + hk * t.dk;
  const float* v = t.v + hk * t.dv;
  for (idx m0 = block.low; m0 < block.high; m0 += keyTile) {
    const idx n = min(keyTile, block.high - m0);
    const bool masked = m0 + n > shortest;
    for (idx l = 0; l < lanes; l++) limits[l] = (int32_t)(ends[l] - m0);
    laneProduct<V, false>(n, t.dk, k + m0 * t.keyStride, t.keyStride, 1, qt, s, false, nullptr);
    vf fresh[V], shift[V];
    vi limit[V];
    for (int j = 0; j < V; j++) {
      fresh[j] = maximum[j];
      __builtin_memcpy(&limit[j], limits + j * W, sizeof(vi));
    }
    for (idx i = 0; i < n; i++)
      for (int j = 0; j < V; j++) {
        vf x = load(s + i * lanes + j * W) * scale;
        if (masked) x = limit[j] > splati((int32_t)i) ? x : splat(-infinity);
        store(s + i * lanes + j * W, x);
        fresh[j] = vmax(x, fresh[j]);
      }
    bool moved = false;
    vf correction[V];
    for (int j = 0; j < V; j++) {
      shift[j] = fresh[j] == -infinity ? vf{} : fresh[j];
      correction[j] = vexp(maximum[j] - shift[j]);
      sum[j] = sum[j] * correction[j];
      const vi same = maximum[j] == fresh[j];
      moved = moved || firstLane(~same) < W;
      maximum[j] = fresh[j];
    }
    for (idx i = 0; i < n; i++)
      for (int j = 0; j < V; j++) {
        const vf p = vexp(load(s + i * lanes + j * W) - shift[j]);
        store(s + i * lanes + j * W, p);
        sum[j] = sum[j] + p;
      }
    if (moved && m0 > block.low)
      for (idx c = 0; c < t.dv; c++)
        for (int j = 0; j < V; j++) store(ot + c * lanes + j * W, load(ot + c * lanes + j * W) * correction[j]);
    if (masked)
      laneProduct<V, true>(t.dv, n, v + m0 * t.valueStride, 1, t.valueStride, s, ot, true, limits);
    else
      laneProduct<V, false>(t.dv, n, v + m0 * t.valueStride, 1, t.valueStride, s, ot, true, nullptr);
  }
  float lse[lanes];
  for (int j = 0; j < V; j++) {
    const vi none = sum[j] == 0.0f;
    const vf inverse = none ? vf{} : 1.0f / sum[j];
    for (idx c = 0; c < t.dv; c++) store(ot + c * lanes + j * W, load(ot + c * lanes + j * W) * inverse);
    store(lse + j * W, none ? splat(-infinity) : maximum[j] + vlog(sum[j]));
  }
  transpose(ot, lanes, t.dv, V * W, rows, t.dv, false);
  for (idx l = 0; l < block.count; l++) {
    const idx row = h.row(block.first + l, hk);
    copy(t.o + row * t.dv, rows + l * t.dv, t.dv * 4);
    if (t.lse) t.lse[row] = lse[l];
  }
}

/** Scores scale q.k of one query with n <= keyTile keys, keys across the lanes; chains as in `tile`. */
static void scoreKeys(const float* q, const float* k, idx stride, idx width, idx n, float scale, float* s) {
  for (idx i = 0; i < n; i += W) {
    const idx rows = min(W, n - i);
    vf dot = {};
    for (idx c = 0; c < width; c += W) {
      const idx columns = min(W, width - c);
      const float* from = k + i * stride + c;
      vf block[W];
      if (rows == W && columns == W) {
        MINKE_UNROLL
        for (int r = 0; r < W; r++) block[r] = load(from + r * stride);
      } else {
        for (int r = 0; r < W; r++) block[r] = r < rows ? loadPart(from + r * stride, columns) : vf{};
      }
      transposeRegisters(block);
      if (columns == W) {
        MINKE_UNROLL
        for (int r = 0; r < W; r++) dot = fma(block[r], splat(q[c + r]), dot);
      } else {
        for (idx r = 0; r < columns; r++) dot = fma(block[r], splat(q[c + r]), dot);
      }
    }
    store(s + i, dot * splat(scale));
  }
}

/** out[c] = out[c] correction + sum over i of p[i] v[i][c], four vectors of columns at a time. */
static void addValues(const float* p, const float* v, idx stride, idx width, idx n, float correction, float* out) {
  for (idx c = 0; c < width; c += 4 * W) {
    const idx vectors_ = min(4, (width - c + W - 1) / W), last = min(W, width - c - (vectors_ - 1) * W);
    const float* from = v + c;
    vf o[4];
    for (idx j = 0; j < vectors_; j++) o[j] = load(out + c + j * W) * splat(correction);
    if (vectors_ == 2 && last == W) {
      for (idx i = 0; i < n; i++, from += stride) {
        o[0] = fma(load(from), splat(p[i]), o[0]);
        o[1] = fma(load(from + W), splat(p[i]), o[1]);
      }
    } else if (vectors_ == 4 && last == W) {
      for (idx i = 0; i < n; i++, from += stride) {
        MINKE_UNROLL
        for (int j = 0; j < 4; j++) o[j] = fma(load(from + j * W), splat(p[i]), o[j]);
      }
    } else {
      for (idx i = 0; i < n; i++, from += stride)
        for (idx j = 0; j < vectors_; j++)
          o[j] = fma(j + 1 < vectors_ ? load(from + j * W) : loadPart(from + j * W, last), splat(p[i]), o[j]);
    }
    for (idx j = 0; j < vectors_; j++) store(out + c + j * W, o[j]);
  }
}

/** Floats of scratch that `attentionSingle` needs for each head. */
static idx singleFloats(const AttentionTask& t) { return roundUp(t.dv, W) + 2; }

/**
 * One query of key heads h0 .. h1, as in decoding: keys lie across the lanes, and all heads take their turn
 * at a tile of keys while it is near. The same bits as `attentionBlock`.
 */
static void attentionSingle(const AttentionTask& t, idx pair, idx h0, idx h1, float* scratch) {
  const Heads& h = t.heads;
  const idx outStride = roundUp(t.dv, W), count = h1 - h0;
  float *out = scratch, *maximum = out + count * outStride, *sum = maximum + count;
  idx low, high;
  h.range(pair / h.group, low, high);
  zero(out, count * outStride * 4);
  for (idx i = 0; i < count; i++) {
    maximum[i] = -infinity;
    sum[i] = 0;
  }
  for (idx m0 = low; m0 < high; m0 += keyTile) {
    const idx n = min(keyTile, high - m0);
    for (idx i = 0; i < count; i++) {
      const idx hk = h0 + i;
      float s[keyTile];
      scoreKeys(t.q + h.row(pair, hk) * t.dk, t.k + m0 * t.keyStride + hk * t.dk, t.keyStride, t.dk, n, t.scale, s);
      const float fresh = max1(rowMax(s, n), maximum[i]), shift = fresh == -infinity ? 0 : fresh;
      const float correction = vexp(splat(maximum[i] - shift))[0];
      maximum[i] = fresh;
      vectors(0, n, [&](auto io, idx j) { io.store(s + j, vexp(io.load(s + j) - shift)); });
      float total = sum[i] * correction;
      for (idx j = 0; j < n; j++) total += s[j];
      sum[i] = total;
      addValues(s, t.v + m0 * t.valueStride + hk * t.dv, t.valueStride, t.dv, n, m0 > low ? correction : 1.0f,
                out + i * outStride);
    }
  }
  for (idx i = 0; i < count; i++) {
    const idx row = h.row(pair, h0 + i);
    const float inverse = sum[i] == 0 ? 0 : 1 / sum[i], *from = out + i * outStride;
    vectors(0, t.dv, [&](auto io, idx c) { io.store(t.o + row * t.dv + c, load(from + c) * inverse); });
    if (t.lse) t.lse[row] = sum[i] == 0 ? -infinity : maximum[i] + log1(sum[i]);
  }
}

static void runAttention(const Call& call, const AttentionTask& t) {
  const Heads& h = t.heads;
  if (h.N * h.H == 0) return;
  Block* blocks = (Block*)call.shared(h.N * h.group * (idx)sizeof(Block));
  if (!blocks) return;
  const idx count = planBlocks(h, blocks);
  // With many short blocks (a batch of sequences in decoding) one task takes all heads of a block.
  const bool together = count >= 16;
  const idx floats = max(lanes * (max(t.dk, t.dv) + t.dk + keyTile + t.dv), h.keyHeads * singleFloats(t));
  call.parallel(count * h.keyHeads, [&](idx task, int thread) {
    float* scratch = (float*)call.local(thread, floats * 4);
    if (!scratch) return;
    const Block& block = blocks[task / h.keyHeads];
    const idx hk = task % h.keyHeads;
    if (block.count <= fewLanes) {
      if (together && hk > 0) return;
      for (idx l = 0; l < block.count; l++)
        attentionSingle(t, block.first + l, hk, together ? h.keyHeads : hk + 1, scratch);
    } else if (block.count <= W)
      attentionBlock<1>(t, block, hk, scratch);
    else
      attentionBlock<2>(t, block, hk, scratch);
  });
}

static void attention(const Call& call) {
  const Tensor &q = call.t[0], &k = call.t[1], &v = call.t[2];
  const idx H = q.d[1], Hk = k.d[1];
  const Heads heads = {q.d[0], H, Hk, Hk ? H / Hk : 0, k.d[0], call.t[3].i()};
  runAttention(call, {heads, q.f(), k.f(), v.f(), call.t[4].f(), call.t[5].f(), q.d[2], v.d[2], Hk * q.d[2], Hk * v.d[2],
                      call.attributeFloat(0)});
}

static void latentAttention(const Call& call) {
  const Tensor &q = call.t[0], &cache = call.t[1];
  const idx H = q.d[1], C = q.d[2];
  const Heads heads = {q.d[0], H, 1, H, cache.d[0], call.t[2].i()};
  runAttention(call, {heads, q.f(), cache.f(), cache.f(), call.t[3].f(), nullptr, C, (idx)call.attributes[1], C, C,
                      call.attributeFloat(0)});
}

struct AttentionGradTask {
  Heads heads;
  const float *q, *k, *v, *o, *lse, *dout;
  float *dq, *dk, *dv;
  idx width, valueWidth;
  float scale;
};

/** to[j][c] += sum over lanes l of a[j][l] rows[l][c], columns by vectors, chains over ascending lanes. */
static void addRows(idx n, idx count, const float* a, const float* rows, idx width, float* to, idx stride) {
  for (idx c = 0; c < width; c += 2 * W) {
    const idx left = width - c;
    for (idx j = 0; j < n; j += laneRows) {
      float* out = to + j * stride + c;
      const float* from = a + j * lanes;
      const idx m = min(laneRows, n - j);
      if (left >= 2 * W) {
        tileUpTo<laneRows, 2, 0, 1, false>(m, count, from, lanes, 1, rows + c, width, out, stride, true, nullptr);
      } else if (left == W) {
        tileUpTo<laneRows, 1, 0, 1, false>(m, count, from, lanes, 1, rows + c, width, out, stride, true, nullptr);
      } else {  // `rows` has a vector of slack after its end, so reading over the last row is safe
        float edge[laneRows * 2 * W];
        for (idx r = 0; r < m; r++) copy(edge + r * 2 * W, out + r * stride, left * 4);
        tileUpTo<laneRows, 2, 0, 1, false>(m, count, from, lanes, 1, rows + c, width, edge, 2 * W, true, nullptr);
        for (idx r = 0; r < m; r++) copy(out + r * stride, edge + r * 2 * W, left * 4);
      }
    }
  }
}

template <int V>
static void attentionGradBlock(const AttentionGradTask& t, const Block& block, idx hk, float* scratch) {
  const Heads& h = t.heads;
  const idx D = t.width, E = t.valueWidth, widest = max(D, E);
  float* q = scratch;  // [lanes][D] and [D][lanes]
  float* qt = q + lanes * D + 2 * W;
  float* dout = qt + lanes * D;
  float* doutT = dout + lanes * E + 2 * W;
  float* dqt = doutT + lanes * E;
  float* rows = dqt + lanes * D;
  float* rowsT = rows + lanes * widest;
  float* p = rowsT + lanes * widest;
  float* ds = p + keyTile * lanes;
  gatherLanes(h, block, hk, t.q, D, q, qt);
  gatherLanes(h, block, hk, t.dout, E, dout, doutT);
  gatherLanes(h, block, hk, t.o, E, rows, rowsT);
  vf delta[V], lse[V];
  float lseOf[lanes];
  int32_t ends[lanes], limits[lanes];
  idx shortest = block.high;
  for (idx l = 0; l < lanes; l++) {
    idx low = block.low, high = block.low;
    lseOf[l] = 0;
    if (l < block.count) {
      h.range((block.first + l) / h.group, low, high);
      shortest = min(shortest, high);
      lseOf[l] = t.lse[h.row(block.first + l, hk)];
    }
    ends[l] = (int32_t)high;
  }
  for (int j = 0; j < V; j++) {
    delta[j] = vf{};
    for (idx c = 0; c < E; c++)
      delta[j] = fma(load(rowsT + c * lanes + j * W), load(doutT + c * lanes + j * W), delta[j]);
    lse[j] = load(lseOf + j * W);
  }
  zero(dqt, lanes * D * 4);
  const vf scale = splat(t.scale);
  const idx keyStride = h.keyHeads * D, valueStride = h.keyHeads * E;
  for (idx m0 = block.low; m0 < block.high; m0 += keyTile) {
    const idx n = min(keyTile, block.high - m0);
    const bool masked = m0 + n > shortest;
    const float* k = t.k + m0 * keyStride + hk * D;
    const float* v = t.v + m0 * valueStride + hk * E;
    laneProduct<V, false>(n, D, k, keyStride, 1, qt, p, false, nullptr);
    laneProduct<V, false>(n, E, v, valueStride, 1, doutT, ds, false, nullptr);
    vi limit[V];
    for (idx l = 0; l < lanes; l++) limits[l] = (int32_t)(ends[l] - m0);
    for (int j = 0; j < V; j++) __builtin_memcpy(&limit[j], limits + j * W, sizeof(vi));
    for (idx i = 0; i < n; i++)
      for (int j = 0; j < V; j++) {
        const idx at = i * lanes + j * W;
        vf probability = vexp(fma(load(p + at), scale, -lse[j]));
        vf slope = probability * (load(ds + at) - delta[j]) * scale;
        if (masked) {
          const vi inside = limit[j] > splati((int32_t)i);
          probability = inside ? probability : vf{};
          slope = inside ? slope : vf{};
        }
        store(p + at, probability);
        store(ds + at, slope);
      }
    if (masked)
      laneProduct<V, true>(D, n, k, 1, keyStride, ds, dqt, true, limits);
    else
      laneProduct<V, false>(D, n, k, 1, keyStride, ds, dqt, true, nullptr);
    addRows(n, block.count, ds, q, D, t.dk + m0 * keyStride + hk * D, keyStride);
    addRows(n, block.count, p, dout, E, t.dv + m0 * valueStride + hk * E, valueStride);
  }
  transpose(dqt, lanes, D, V * W, rows, D, false);
  for (idx l = 0; l < block.count; l++) copy(t.dq + h.row(block.first + l, hk) * D, rows + l * D, D * 4);
}

static void attentionGrad(const Call& call) {
  const Tensor &q = call.t[0], &k = call.t[1], &v = call.t[2], &dq = call.t[7], &dk = call.t[8], &dv = call.t[9];
  const idx H = q.d[1], Hk = k.d[1], D = q.d[2], E = v.d[2];
  const AttentionGradTask t = {{q.d[0], H, Hk, Hk ? H / Hk : 0, k.d[0], call.t[3].i()},
                               q.f(), k.f(), v.f(), call.t[4].f(), call.t[5].f(), call.t[6].f(),
                               dq.f(), dk.f(), dv.f(), D, E, call.attributeFloat(0)};
  const Heads& h = t.heads;
  call.pieces(dk.count, 1, [&](idx b, idx e, int) { zero(dk.f() + b, (e - b) * 4); }, 1 << 16);
  call.pieces(dv.count, 1, [&](idx b, idx e, int) { zero(dv.f() + b, (e - b) * 4); }, 1 << 16);
  if (h.N * h.H == 0) return;
  const idx pairs = h.N * h.group;
  Block* blocks = (Block*)call.shared(pairs * (idx)(sizeof(Block) + sizeof(idx)) + 64);
  if (!blocks) return;
  const idx count = planBlocks(h, blocks);
  // Runs of blocks whose keys no other run touches: packed segments, which can go to different threads.
  idx* starts = (idx*)(blocks + pairs);
  idx runs = 0, reach = 0;
  for (idx b = 0; b < count; b++) {
    bool separate = b == 0 || blocks[b].low >= reach;
    // A later block that reaches back joins everything since the run that holds its first key.
    if (!separate)
      while (runs > 1 && blocks[b].low < blocks[starts[runs - 1]].low) runs--;
    if (separate) starts[runs++] = b;
    reach = max(reach, blocks[b].high);
  }
  const idx floats = lanes * (4 * D + 2 * E + 2 * max(D, E) + 2 * keyTile) + 8 * W;
  call.parallel(runs * h.keyHeads, [&](idx task, int thread) {
    float* scratch = (float*)call.local(thread, floats * 4);
    if (!scratch) return;
    const idx run = task / h.keyHeads, hk = task % h.keyHeads;
    const idx stop = run + 1 < runs ? starts[run + 1] : count;
    for (idx b = starts[run]; b < stop; b++) {
      if (blocks[b].count <= W)
        attentionGradBlock<1>(t, blocks[b], hk, scratch);
      else
        attentionGradBlock<2>(t, blocks[b], hk, scratch);
    }
  });
}

static void rangeMask(const Call& call) {
  const int32_t* ranges = call.t[0].i();
  float* y = call.t[1].f();
  const idx N = call.t[0].d[0], M = (idx)call.attributes[0];
  call.pieces(N, M, [&](idx b, idx e, int) {
    for (idx n = b; n < e; n++)
      for (idx m = 0; m < M; m++) y[n * M + m] = m >= ranges[2 * n] && m < ranges[2 * n + 1] ? 0 : -infinity;
  });
}

}  // namespace MINKE_NS
