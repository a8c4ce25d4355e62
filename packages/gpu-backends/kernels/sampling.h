// One token of each row of logits: temperature, top-k, top-p and min-p, then one seeded draw.
//
// Order as in Hugging Face transformers. Candidates are sorted by counting into buckets of their distance to
// the best logit, and inside a bucket only where a boundary or the draw falls, so no row is sorted whole.
// Probabilities are f32 relative to the best token, their sums f64 in a fixed order; tokens less likely than
// 2^-149 of the best are never drawn. Random words: Philox4x32-10 (Salmon et al. 2011), the stream of
// core's `Random`. The log-sum-exp is that of the losses.
#pragma once
#include "rows.h"

namespace MINKE_NS {

/** Word `position` of a Philox4x32-10 stream. */
static uint32_t philoxWord(const int32_t* stream, uint64_t position) {
  const uint64_t index = position / 4;
  uint32_t c[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream[2], 0};
  uint32_t k0 = (uint32_t)stream[0], k1 = (uint32_t)stream[1];
  for (int round = 0; round < 10; round++) {
    const uint64_t a = (uint64_t)0xd2511f53u * c[0], b = (uint64_t)0xcd9e8d57u * c[2];
    const uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k1, (uint32_t)a};
    for (int i = 0; i < 4; i++) c[i] = next[i];
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
  return c[position % 4];
}

static double philoxUniform(const int32_t* stream) {
  const uint64_t position = (uint64_t)(uint32_t)stream[4] << 32 | (uint32_t)stream[3];
  const uint32_t high = philoxWord(stream, position) >> 5, low = philoxWord(stream, position + 1) >> 6;
  return ((double)high * 67108864.0 + (double)low) / 9007199254740992.0;
}

static double rangeSum(const float* x, idx begin, idx end) {
  vd s = {};
  vectors(begin, end, [&](auto io, idx i) { s += __builtin_convertvector(io.keep(io.load(x + i), 0), vd); });
  return sumLanes(s);
}

/** The first largest number's index; NaN never, unless there is nothing else (then 0). */
static idx rowArgmax(const float* x, idx C) {
  const float best = rowMax(x, C);
  if (best == -infinity) return 0;
  idx i = 0;
  for (; i + W <= C; i += W) {
    const int lane = firstLane(load(x + i) == splat(best));
    if (lane < W) return i + lane;
  }
  while (x[i] != best) i++;
  return i;
}

/** One row's candidates, best first: sorted lazily, bucket by bucket. */
struct Ranking {
  static constexpr idx most = 1024;
  idx buckets;
  const float *logits, *weights;
  int32_t *ids, *spare;
  idx begin[most + 1];
  double sum[most];
  bool sorted[most];

  void sort(idx b) {
    if (sorted[b]) return;
    sorted[b] = true;
    const idx n = begin[b + 1] - begin[b];
    int32_t *from = ids + begin[b], *to = spare;
    auto before = [&](int32_t i, int32_t j) { return logits[i] > logits[j] || (logits[i] == logits[j] && i < j); };
    if (n <= 24) {
      for (idx i = 1; i < n; i++) {
        const int32_t id = from[i];
        idx j = i;
        for (; j > 0 && before(id, from[j - 1]); j--) from[j] = from[j - 1];
        from[j] = id;
      }
      return;
    }
    for (idx width = 1; width < n; width *= 2) {
      for (idx lo = 0; lo < n; lo += 2 * width) {
        const idx middle = min(lo + width, n), hi = min(lo + 2 * width, n);
        for (idx i = lo, j = middle, k = lo; k < hi; k++)
          to[k] = j >= hi || (i < middle && !before(from[j], from[i])) ? from[i++] : from[j++];
      }
      int32_t* t = from;
      from = to;
      to = t;
    }
    if (from != ids + begin[b]) copy(ids + begin[b], from, n * 4);
  }

  /** Sum of the first `count` weights. */
  double total(idx count) {
    double s = 0;
    for (idx b = 0; b < buckets && begin[b] < count; b++) {
      if (begin[b + 1] <= count) {
        s += sum[b];
        continue;
      }
      sort(b);
      for (idx i = begin[b]; i < count; i++) s += (double)weights[ids[i]];
    }
    return s;
  }

  /** How many of the first `count` have the running sum at `target`; `count` when all stay below. */
  template <class Reached>
  idx prefix(idx count, Reached reached) {
    double s = 0;
    for (idx b = 0; b < buckets && begin[b] < count; b++) {
      const idx end = min(begin[b + 1], count);
      if (begin[b] == end) continue;
      if (end == begin[b + 1] && !reached(s + sum[b])) {
        s += sum[b];
        continue;
      }
      sort(b);
      for (idx i = begin[b]; i < end; i++) {
        s += (double)weights[ids[i]];
        if (reached(s)) return i + 1;
      }
    }
    return count;
  }

  int32_t at(idx rank) {
    idx b = 0;
    while (begin[b + 1] <= rank) b++;
    sort(b);
    return ids[rank];
  }
};

/** A number at most the k-th largest weight: the k-th largest among the largest of blocks. */
static float boundOfKth(const float* weights, idx C, idx k, float* maxima) {
  constexpr idx block = 64;
  const idx blocks = C / block;
  if (blocks < k || k > 256) return 0;
  idx held = 0;
  for (idx b = 0; b < blocks; b++) {
    const float value = rowMax(weights + b * block, block);
    if (held == k && !(value > maxima[k - 1])) continue;
    idx j = held < k ? held++ : k - 1;
    for (; j > 0 && value > maxima[j - 1]; j--) maxima[j] = maxima[j - 1];
    maxima[j] = value;
  }
  return maxima[k - 1];
}

/**
 * A weight that no token of the nucleus is below. Tokens below (1 - topP) total / V weigh less than (1 - topP) total
 * together; so do those below a power of two times that as long as their sum says so.
 */
static float boundOfNucleus(const float* weights, idx C, double topP, double total) {
  constexpr int powers = 10;
  const double outside = (1 - topP) * total * 0.998;  // the sums below are f32
  const float least = (float)(outside / (double)C);
  vf sum[powers] = {};
  vectors(0, C, [&](auto io, idx i) {
    const vf w = io.keep(io.load(weights + i), 0);
    MINKE_UNROLL
    for (int j = 0; j < powers; j++) sum[j] += w < splat(least * (float)(1 << j)) ? w : vf{};
  });
  int j = 0;
  while (j + 1 < powers && (double)sumLanes(sum[j + 1]) < outside) j++;
  return least * (float)(1 << j);
}

struct SamplingScratch {
  Ranking* ranking;
  float* weights;
  int32_t *ids, *spare;
  uint16_t* bucketOf;
};

static idx sampleRow(const float* logits, idx V, float temperature, idx topK, float topP, float minP, const int32_t* stream,
                     const SamplingScratch& scratch, float& chosenLogProb) {
  const idx best = rowArgmax(logits, V);
  chosenLogProb = 0;
  if (temperature == 0) return best;
  float* weights = scratch.weights;
  const vf top = splat(logits[best]), heat = splat(temperature);
  vectors(0, V, [&](auto io, idx i) {
    const vf w = vexp((io.load(logits + i) - top) / heat);
    io.store(weights + i, w < infinity ? w : vf{});  // NaN too
  });
  constexpr idx block = 256;
  double total = 0;
  for (idx i = 0; i < V; i += block) total += rangeSum(weights, i, min(V, i + block));
  const double uniform = philoxUniform(stream);
  if (!(total > 0)) return best;
  auto finish = [&](idx id, double kept) {
    chosenLogProb = log1((float)((double)weights[id] / kept));
    return id;
  };
  if (topK <= 0 && !(topP < 1) && !(minP > 0)) {
    double threshold = uniform * total;
    idx last = best;
    for (idx i = 0; i < V; i += block) {
      const idx end = min(V, i + block);
      const double sum = rangeSum(weights, i, end);
      if (threshold - sum >= 0) {
        threshold -= sum;
        if (sum > 0) last = end - 1;
        continue;
      }
      for (idx j = i; j < end; j++) {
        threshold -= (double)weights[j];
        if (weights[j] > 0) last = j;
        if (threshold < 0) return finish(j, total);
      }
    }
    while (weights[last] == 0) last--;
    return finish(last, total);
  }
  // A number no kept token's weight is below. With topK a nucleus is one of the best k, which must all be there.
  float least = topK > 0 ? boundOfKth(weights, V, topK, (float*)scratch.spare) : 0;
  if (topK <= 0 && topP < 1) least = boundOfNucleus(weights, V, topP, total);
  if ((topK <= 0 || !(topP < 1)) && minP > least) least = minP;
  Ranking& ranking = *scratch.ranking;
  ranking.logits = logits;
  ranking.weights = weights;
  ranking.ids = scratch.ids;
  ranking.spare = scratch.spare;
  ranking.buckets = clamp(V / 8, 32, Ranking::most);
  for (idx b = 0; b <= ranking.buckets; b++) ranking.begin[b] = 0;
  // Buckets as fine as the range of candidates allows; 104 is where weights in f32 end.
  const float range = least > 0 ? -log1(least) : 104.0f;
  const float scale = (float)(ranking.buckets - 2) / (range > 1 ? range : 1) / temperature;
  idx count = 0;
  for (idx i = 0; i < V; i++) {
    if (i + W <= V) {
      const int lane = firstLane((load(weights + i) >= splat(least)) & (load(weights + i) > 0.0f));
      if (lane == W) {
        i += W - 1;
        continue;
      }
      i += lane;
    }
    if (!(weights[i] >= least) || weights[i] == 0) continue;
    const float distance = (logits[best] - logits[i]) * scale;
    const idx b = distance < (float)(ranking.buckets - 1) ? (idx)distance : ranking.buckets - 1;
    scratch.spare[count] = (int32_t)i;
    scratch.bucketOf[count++] = (uint16_t)b;
    ranking.begin[b + 1]++;
  }
  if (count == 0) return best;  // settings out of their ranges
  for (idx b = 0; b < ranking.buckets; b++) {
    ranking.begin[b + 1] += ranking.begin[b];
    ranking.sum[b] = 0;
    ranking.sorted[b] = false;
  }
  for (idx i = 0; i < count; i++) {
    const idx b = scratch.bucketOf[i];
    ranking.ids[ranking.begin[b]++] = scratch.spare[i];
    ranking.sum[b] += (double)weights[scratch.spare[i]];
  }
  for (idx b = ranking.buckets; b > 0; b--) ranking.begin[b] = ranking.begin[b - 1];
  ranking.begin[0] = 0;

  idx kept = topK > 0 ? min(topK, count) : count;
  if (topP < 1) {
    const double target = (double)topP * (topK > 0 ? ranking.total(kept) : total);
    kept = ranking.prefix(kept, [=](double s) { return s >= target; });
  }
  if (minP > 0) {
    idx likely = 0;
    for (idx i = 0; i < count; i++) likely += weights[ranking.ids[i]] >= minP;
    kept = min(kept, max(likely, 1));
  }
  kept = max(kept, 1);
  const double sum = ranking.total(kept), threshold = uniform * sum;
  return finish(ranking.at(ranking.prefix(kept, [=](double s) { return s > threshold; }) - 1), sum);
}

static void sample(const Call& call) {
  const Tensor& logits = call.t[0];
  const float *temperature = call.t[1].f(), *topP = call.t[3].f(), *minP = call.t[4].f();
  const int32_t *topK = call.t[2].i(), *stream = call.t[5].i();
  int32_t* tokens = call.t[6].i();
  float *logProb = call.t[7].f(), *chosenLogProb = call.t[8].f();
  const idx V = logits.d[1], words = roundUp(V, 16);
  call.pieces(logits.d[0], V * 8, [&](idx b, idx e, int thread) {
    const idx head = roundUp((idx)sizeof(Ranking), 64);
    char* memory = call.local(thread, head + words * 14 + 1024);
    if (!memory) return;
    float* weights = (float*)(memory + head);
    int32_t *ids = (int32_t*)(weights + words), *spare = ids + words;
    const SamplingScratch scratch = {(Ranking*)memory, weights, ids, spare, (uint16_t*)(spare + words + 256)};
    for (idx n = b; n < e; n++) {
      const float* row = logits.f() + n * V;
      const idx id = sampleRow(row, V, temperature[n], topK[n], topP[n], minP[n], stream + 5 * n, scratch, chosenLogProb[n]);
      tokens[n] = (int32_t)id;
      logProb[n] = row[id] - rowLogSumExp(row, V);
    }
  });
}

}  // namespace MINKE_NS
