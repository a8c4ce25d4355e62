// The gradient of attention: probabilities are recomputed from the log-sum-exp (FlashAttention-2, Dao 2023).
//
// A task owns a group of keys of one key head and walks all blocks of queries that look at them: dk and dv stay
// in its scratch and get their terms in ascending query order. dq gets its terms in ascending key order: a task
// adds to a block's dq when the group of keys before it has. Tasks begin in order, so the one that others wait
// for is always running; with tasks listed group by group over all heads they rarely wait.
#pragma once
#include "attention-lanes.h"
#include "math.h"

#if !defined(__wasm__)
#include <sched.h>
#endif

namespace MINKE_NS {

constexpr idx groupKeys = 256;  // k, v, dk and dv of a group lie in the second-level cache

struct AttentionGradTask {
  Heads heads;
  const float *q, *k, *v, *o, *lse, *dout;
  float *dq, *dk, *dv, *delta;
  idx width, valueWidth;
  float scale;
  const float* bias = nullptr;  // [N, H] for ranges of four numbers
  float* dbias = nullptr;
};

/** Blocks first .. stop and the keys low .. high they look at, which no other run's blocks do: packed segments. */
struct Run {
  idx first, stop, low, high;
};

static idx planRuns(const Block* blocks, idx count, Run* runs) {
  idx made = 0;
  for (idx b = 0; b < count; b++) {
    const Block& block = blocks[b];
    if (block.high <= block.low) continue;
    if (made == 0 || block.low >= runs[made - 1].high) {
      runs[made++] = {b, b + 1, block.low, block.high};
      continue;
    }
    // A later block that reaches back joins the runs it touches.
    for (; made > 1 && block.low < runs[made - 2].high; made--) {
      runs[made - 2].stop = runs[made - 1].stop;
      runs[made - 2].high = max(runs[made - 2].high, runs[made - 1].high);
    }
    Run& run = runs[made - 1];
    run.stop = b + 1;
    run.low = min(run.low, block.low);
    run.high = max(run.high, block.high);
  }
  return made;
}

/** Waits until another task of the same loop has brought `progress` to `turn`; on one thread it always has. */
static void waitForTurn(const int32_t* progress, int32_t turn) {
  for ([[maybe_unused]] int i = 0; __atomic_load_n(progress, __ATOMIC_ACQUIRE) != turn; i++) {
#if !defined(__wasm__)  // which has no call for it
    if (i > 1000) sched_yield();
#endif
#if defined(__x86_64__)
    else __builtin_ia32_pause();
#elif defined(__aarch64__)
    else asm volatile("yield");
#endif
  }
}

/** to[j][c] += sum over lanes l of a[j * stride + l] rows[l][c], columns by vectors, chains over ascending lanes. */
static void addRows(idx n, idx count, const float* a, idx stride, const float* rows, idx width, float* to) {
  for (idx c = 0; c < width; c += 2 * W) {
    const idx left = width - c;
    for (idx j = 0; j < n; j += laneRows) {
      float* out = to + j * width + c;
      const float* from = a + j * stride;
      const idx m = min(laneRows, n - j);
      if (left >= 2 * W) {
        tileUpTo<laneRows, 2, 0, 1, false>(m, count, from, stride, 1, rows + c, width, out, width, true, nullptr);
      } else if (left == W) {
        tileUpTo<laneRows, 1, 0, 1, false>(m, count, from, stride, 1, rows + c, width, out, width, true, nullptr);
      } else {  // `rows` has two vectors of slack after its end, so reading over the last row is safe
        float edge[laneRows * 2 * W];
        for (idx r = 0; r < m; r++) copy(edge + r * 2 * W, out + r * width, left * 4);
        tileUpTo<laneRows, 2, 0, 1, false>(m, count, from, stride, 1, rows + c, width, edge, 2 * W, true, nullptr);
        for (idx r = 0; r < m; r++) copy(out + r * width, edge + r * 2 * W, left * 4);
      }
    }
  }
}

/** `addRows` where rows may hold NaN or infinity: pairs outside the ranges are left out, not multiplied by zero. */
static void addRowsInside(const TileLimits& tile, const Parts* parts, idx m0, idx n, idx count, const float* a, idx stride,
                          const float* rows, idx width, float* to) {
  for (idx j = 0; j < n; j++)
    for (idx l = 0; l < count; l++) {
      if (tile.limits[l] <= j || (parts && parts->first[l] > m0 + j)) continue;
      const vf x = splat(a[j * stride + l]);
      vectors(0, width, [&](auto io, idx c) {
        io.store(to + j * width + c, fma(x, io.load(rows + l * width + c), io.load(to + j * width + c)));
      });
    }
}

/** Whether some number is NaN or infinite. */
static bool anyOutlandish(const float* x, idx count) {
  vf sum = {};
  vectors(0, count, [&](auto io, idx i) { sum = fma(io.load(x + i), vf{}, sum); });
  return firstLane(sum != 0.0f) < W;
}

/** Scratch of one task. */
struct GradScratch {
  float *k, *v, *dk, *dv;              // [groupKeys][width] of the group
  float *q, *qt, *dout, *doutT, *dqt;  // of a block: [lanes][width] and [width][lanes]
  float* rows;                         // [lanes][width]
  float *p, *ds;                       // [keyTile][lanes]

  static idx floats(idx D, idx E, idx keys) {
    return 2 * keys * (D + E) + lanes * (4 * D + 2 * E + 2 * keyTile) + 16 * W;
  }
  GradScratch(float* memory, idx D, idx E, idx keys) {
    auto take = [&](idx count) {
      float* p = memory;
      memory += roundUp(count, W);
      return p;
    };
    qt = take(lanes * D);
    doutT = take(lanes * E);
    dqt = take(lanes * D);
    rows = take(lanes * D);
    p = take(keyTile * lanes);
    ds = take(keyTile * lanes);
    q = take(lanes * D + 2 * W);
    dout = take(lanes * E + 2 * W);
    k = take(keys * D);
    v = take(keys * E);
    dk = take(keys * D);
    dv = take(keys * E);
  }
};

/**
 * Adds the terms of keys low .. high of the group that begins at `begin`. `turn` groups before this one add to
 * the block's dq; `progress` counts those that have.
 */
template <int V>
static void gradBlock(const AttentionGradTask& t, const Block& block, idx hk, idx begin, idx low, idx high, int32_t turn,
                      int32_t* progress, const GradScratch& at) {
  const Heads& h = t.heads;
  constexpr idx L = V * W;
  const idx D = t.width, E = t.valueWidth;
  gatherLanes<V>(h, block, hk, t.q, D, at.q, at.qt);
  gatherLanes<V>(h, block, hk, t.dout, E, at.dout, at.doutT);
  float deltaOf[lanes] = {}, lseOf[lanes] = {};
  Ends ends(h, block);
  for (idx l = 0; l < block.count; l++) {
    const idx row = h.row(block.first + l, hk);
    deltaOf[l] = t.delta[row];
    lseOf[l] = t.lse[row];
    if (lseOf[l] == -infinity) ends.set(l, block.low, true);  // no key counts
  }
  Parts parts;
  float biasSums[lanes];
  if (t.bias) parts = Parts(h, block, hk, t.bias);
  const vf scale = splat(t.scale);
  const bool outlandish = anyOutlandish(at.q, block.count * D) || anyOutlandish(at.dout, block.count * E);
  bool waited = false;
  for (idx m0 = low; m0 < high; m0 += keyTile) {
    const idx n = min(keyTile, high - m0), from = m0 - begin;
    const TileLimits tile(ends, m0, n, V);
    const float *k = at.k + from * D, *v = at.v + from * E;
    scoreTile<V>(tile, n, k, D, D, at.qt, at.p);
    scoreTile<V>(tile, n, v, E, E, at.doutT, at.ds);
    MINKE_UNROLL
    for (int j = 0; j < V; j++) {
      const vf lse = load(lseOf + j * W), delta = load(deltaOf + j * W);
      const vi limit = tile.vector(j);
      vi firsts = {}, nears = {};
      vf biases = {};
      if (t.bias) {
        __builtin_memcpy(&firsts, parts.first + j * W, sizeof(vi));
        __builtin_memcpy(&nears, parts.near + j * W, sizeof(vi));
        biases = load(parts.bias + j * W);
      }
      const idx rows = j == 0 ? tile.both : n;
      for (idx i = 0; i < rows; i++) {
        const idx cell = i * L + j * W;
        const vi far = t.bias ? nears > splati((int32_t)(m0 + i)) : vi{};
        vf probability = vexp(fma(load(at.p + cell), scale, far ? biases - lse : -lse));
        vf slope = probability * (load(at.ds + cell) - delta) * scale;
        if (t.bias) {
          const vi before = firsts > splati((int32_t)(m0 + i));
          probability = before ? vf{} : probability;
          slope = before ? vf{} : slope;
        }
        if (tile.masked) {
          const vi inside = limit > splati((int32_t)i);
          probability = inside ? probability : vf{};
          slope = inside ? slope : vf{};
        }
        store(at.p + cell, probability);
        store(at.ds + cell, slope);
      }
    }
    float *dk = at.dk + from * D, *dv = at.dv + from * E;
    if ((tile.masked || t.bias) && outlandish) {
      const Parts* inside = t.bias ? &parts : nullptr;
      addRowsInside(tile, inside, m0, n, block.count, at.ds, L, at.q, D, dk);
      addRowsInside(tile, inside, m0, n, block.count, at.p, L, at.dout, E, dv);
    } else {
      addRows(tile.both, block.count, at.ds, L, at.q, D, dk);
      addRows(tile.both, block.count, at.p, L, at.dout, E, dv);
      if (V == 2 && tile.both < n) {  // keys that only the second vector of lanes looks at
        const idx rest = n - tile.both, cell = tile.both * L + W;
        addRows(rest, block.count - W, at.ds + cell, L, at.q + W * D, D, dk + tile.both * D);
        addRows(rest, block.count - W, at.p + cell, L, at.dout + W * E, E, dv + tile.both * E);
      }
    }
    if (!waited) {
      waited = true;
      waitForTurn(progress, turn);
      if (turn == 0) zero(at.dqt, L * D * 4);
      else gatherLanes<V>(h, block, hk, t.dq, D, at.rows, at.dqt);
      for (idx l = 0; t.bias && l < lanes; l++)
        biasSums[l] = turn == 0 || l >= block.count ? 0 : t.dbias[h.row(block.first + l, hk)];
    }
    for (idx l = 0; t.bias && l < block.count; l++)
      for (idx i = 0; i < clamp(parts.near[l] - m0, 0, tile.limits[l]); i++) biasSums[l] += at.ds[i * L + l];
    addTile<V>(tile, n, k, D, D, at.ds, at.dqt);
  }
  transpose(at.dqt, L, D, L, at.rows, D, false);
  for (idx l = 0; l < block.count; l++) copy(t.dq + h.row(block.first + l, hk) * D, at.rows + l * D, D * 4);
  for (idx l = 0; t.bias && l < block.count; l++) t.dbias[h.row(block.first + l, hk)] = biasSums[l];
  __atomic_store_n(progress, turn + 1, __ATOMIC_RELEASE);
}

/** delta of W rows across the lanes, in the order of a tile's products: with one key the two cancel. */
static void rowDots(const AttentionGradTask& t, idx row, idx rows) {
  const idx E = t.valueWidth;
  vf sum = {};
  for (idx c = 0; c < E; c += W) {
    const idx columns = min(W, E - c);
    vf a[W], b[W];
    for (idx r = 0; r < W; r++) {
      const idx at = (row + r) * E + c;
      a[r] = r < rows ? loadPart(t.dout + at, columns) : vf{};
      b[r] = r < rows ? loadPart(t.o + at, columns) : vf{};
    }
    transposeRegisters(a);
    transposeRegisters(b);
    for (idx r = 0; r < columns; r++) sum = fma(a[r], b[r], sum);
  }
  storePart(t.delta + row, sum, rows);
}

/** delta of each query and head; zeros for the dq of queries without keys. */
static void gradPrepare(const Call& call, const AttentionGradTask& t) {
  const idx H = t.heads.H, D = t.width;
  call.pieces(t.heads.N * H, D + 2 * t.valueWidth, [&](idx b, idx e, int) {
    for (idx row = b; row < e; row += W) rowDots(t, row, min(W, e - row));
    for (idx row = b; row < e; row++) {
      idx low, high;
      t.heads.range(row / H, low, high);
      if (high <= low) zero(t.dq + row * D, D * 4);
      if (high <= low && t.dbias) t.dbias[row] = 0;
    }
  });
}

static void runAttentionGrad(const Call& call, AttentionGradTask t) {
  const Heads& h = t.heads;
  const idx Hk = h.keyHeads, D = t.width, E = t.valueWidth, M = h.M;
  auto zeroKeys = [&](idx low, idx high) {
    call.pieces(high - low, Hk * (D + E), [&](idx b, idx e, int) {
      zero(t.dk + (low + b) * Hk * D, (e - b) * Hk * D * 4);
      zero(t.dv + (low + b) * Hk * E, (e - b) * Hk * E * 4);
    }, 1 << 16);
  };
  if (h.N * h.H == 0) return zeroKeys(0, M);
  struct Item {
    idx run, group;
  };
  const idx count = planBlocks(h, nullptr), mostItems = count + M / groupKeys + 1;
  char* shared = call.shared(count * (idx)(sizeof(Block) + sizeof(Run)) + mostItems * (idx)sizeof(Item) + h.N * h.H * 4 + count * Hk * 4);
  if (!shared) return;
  Block* blocks = (Block*)shared;
  Run* runs = (Run*)(blocks + count);
  Item* items = (Item*)(runs + count);
  t.delta = (float*)(items + mostItems);
  int32_t* progress = (int32_t*)(t.delta + h.N * h.H);
  planBlocks(h, blocks);
  zero(progress, count * Hk * 4);
  const idx made = planRuns(blocks, count, runs);
  idx reach = 0, longest = 0, itemCount = 0;
  for (idx r = 0; r < made; r++) {
    zeroKeys(reach, runs[r].low);
    reach = runs[r].high;
    longest = max(longest, runs[r].high - runs[r].low);
  }
  zeroKeys(reach, M);
  for (idx group = 0; group * groupKeys < longest; group++)
    for (idx r = 0; r < made; r++)
      if (runs[r].low + group * groupKeys < runs[r].high) items[itemCount++] = {r, group};
  gradPrepare(call, t);
  const idx keys = min(longest, groupKeys), floats = GradScratch::floats(D, E, keys);
  call.parallel(itemCount * Hk, [&](idx task, int thread) {
    float* memory = (float*)call.local(thread, floats * 4);
    if (!memory) return;
    const GradScratch scratch(memory, D, E, keys);
    const Item& item = items[task / Hk];
    const Run& run = runs[item.run];
    const idx hk = task % Hk, begin = run.low + item.group * groupKeys, n = min(groupKeys, run.high - begin);
    packTile(t.k + (begin * Hk + hk) * D, Hk * D, n, D, scratch.k);
    packTile(t.v + (begin * Hk + hk) * E, Hk * E, n, E, scratch.v);
    zero(scratch.dk, n * D * 4);
    zero(scratch.dv, n * E * 4);
    for (idx b = run.first; b < run.stop; b++) {
      const Block& block = blocks[b];
      const idx low = max(block.low, begin), high = min(block.high, begin + n);
      if (low >= high) continue;
      const int32_t turn = (int32_t)(item.group - (block.low - run.low) / groupKeys);
      int32_t* own = progress + b * Hk + hk;
      if (block.count <= W) gradBlock<1>(t, block, hk, begin, low, high, turn, own, scratch);
      else gradBlock<2>(t, block, hk, begin, low, high, turn, own, scratch);
    }
    for (idx i = 0; i < n; i++) {
      copy(t.dk + ((begin + i) * Hk + hk) * D, scratch.dk + i * D, D * 4);
      copy(t.dv + ((begin + i) * Hk + hk) * E, scratch.dv + i * E, E * 4);
    }
  });
}

static void attentionGrad(const Call& call) {
  const Tensor &q = call.t[0], &k = call.t[1], &v = call.t[2];
  const idx H = q.d[1], Hk = k.d[1];
  runAttentionGrad(call, {{q.d[0], H, Hk, Hk ? H / Hk : 0, k.d[0], call.t[3].i()},
                          q.f(), k.f(), v.f(), call.t[4].f(), call.t[5].f(), call.t[6].f(),
                          call.t[7].f(), call.t[8].f(), call.t[9].f(), nullptr, q.d[2], v.d[2], call.attributeFloat(0)});
}

static void splitAttentionGrad(const Call& call) {
  const Tensor &q = call.t[0], &k = call.t[1], &v = call.t[2], &dbias = call.t[11];
  const idx H = q.d[1], Hk = k.d[1];
  const float scale = call.attributeFloat(0);
  runAttentionGrad(call, {{q.d[0], H, Hk, Hk ? H / Hk : 0, k.d[0], call.t[3].i(), 4},
                          q.f(), k.f(), v.f(), call.t[5].f(), call.t[6].f(), call.t[7].f(),
                          call.t[8].f(), call.t[9].f(), call.t[10].f(), nullptr, q.d[2], v.d[2], scale,
                          call.t[4].f(), dbias.f()});
  for (idx i = 0; i < dbias.count; i++) dbias.f()[i] /= scale;
}

}  // namespace MINKE_NS
