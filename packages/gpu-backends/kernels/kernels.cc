// All kernels of one instruction set: decodes a program and runs its calls in order.
//
// A program is an array of doubles, one record after another:
//   op code, number of tensors, number of attributes, attributes...,
//   then for each tensor: address, storage type, rank, d0, d1, d2, d3.
// The encoder (src/cpu/encode.ts) has checked shapes against the op table; nothing is checked again here
// except index data, which kernels never trust.
#ifndef MINKE_NS
#error "compile with -DMINKE_NS=<name> -DMINKE_RUN=<entry point>"
#endif
#include "attention-expanded.h"
#include "attention-grad.h"
#include "attention-ops.h"
#include "attention-prefixed.h"
#include "elementwise.h"
#include "experts-quantized.h"
#include "experts.h"
#include "gemm-ops.h"
#include "indexer.h"
#include "latent-quantized.h"
#include "latent.h"
#include "memory.h"
#include "ops.gen.h"
#include "optimisers.h"
#include "quantize.h"
#include "quantized.h"
#include "recurrences.h"
#include "rounded-rows.h"
#include "routing.h"
#include "rows.h"
#include "sampling.h"

namespace MINKE_NS {

static void runCall(int op, const Call& call) {
  switch (op) {
    case OP_FILL: return fill(call);
    case OP_COPY_INTO: return copyInto(call);
    case OP_CAST: return cast(call);
    case OP_PERMUTE: return permute(call);
    case OP_SLICE: return slice(call);
    case OP_PLACE: return place(call);
    case OP_CONCAT: return concat(call);
    case OP_REPEAT: return repeat(call);
    case OP_GATHER_ROWS: return gatherRows(call);
    case OP_SCATTER_ADD_ROWS: return scatterRowsInto<true>(call);
    case OP_SCATTER_ROWS: return scatterRowsInto<false>(call);
    case OP_STORE_ROUNDED: return storeRounded(call);
    case OP_GATHER_LAST: return gatherLast(call);
    case OP_SCATTER_LAST: return scatterLast(call);
    case OP_UNARY: return unary(call);
    case OP_UNARY_GRAD: return unaryGrad(call);
    case OP_BINARY: return binary(call);
    case OP_ACCUMULATE: return accumulate(call);
    case OP_REDUCE: return reduce(call);
    case OP_SUM_SQUARES: return sumSquares(call);
    case OP_SOFTMAX: return softmax(call);
    case OP_SOFTMAX_GRAD: return softmaxGrad(call);
    case OP_TOP_K: return topK(call);
    case OP_MATMUL: return matmul(call, false);
    case OP_MATMUL_INTO: return matmul(call, true);
    case OP_MATMUL_BF16: return matmul(call, false);
    case OP_PACK_WEIGHT:
    case OP_PACK_WEIGHT_BF16: return packWeight(call);
    case OP_MATMUL_PACKED:
    case OP_MATMUL_PACKED_BF16: return matmulPacked(call);
    case OP_RMS_NORM: return rmsNorm(call);
    case OP_RMS_NORM_GRAD: return rmsNormGrad(call);
    case OP_ROPE: return rope(call);
    case OP_SWIGLU: return swiglu(call);
    case OP_SWIGLU_GRAD: return swigluGrad(call);
    case OP_CROSS_ENTROPY: return crossEntropy(call);
    case OP_CROSS_ENTROPY_GRAD: return crossEntropyGrad(call);
    case OP_ADAM_W: return adamW(call);
    case OP_BLEND: return blend(call);
    case OP_MUON_DIRECTION: return muonDirection(call);
    case OP_SAMPLE: return sample(call);
    case OP_RANGE_MASK: return rangeMask(call);
    case OP_ATTENTION: return attention(call);
    case OP_ATTENTION_GRAD: return attentionGrad(call);
    case OP_PREFIXED_ATTENTION: return prefixedAttention(call);
    case OP_LATENT_ATTENTION: return latentAttention(call);
    case OP_ATTENTION_ROUNDED: return attentionRounded(call);
    case OP_LATENT_ATTENTION_ROUNDED: return latentAttentionRounded(call);
    case OP_EXPANDED_ATTENTION: return expandedAttention(call);
    case OP_SPLIT_ATTENTION: return splitAttention(call);
    case OP_SPLIT_ATTENTION_GRAD: return splitAttentionGrad(call);
    case OP_GATHERED_ATTENTION: return gatheredAttention(call);
    case OP_INDEXER_SCORES: return indexerScores(call);
    case OP_SELECT_LARGEST: return selectLargest(call);
    case OP_EXPAND_KEYS: return expandKeys(call);
    case OP_EXPAND_KEYS_GRAD: return expandKeysGrad(call);
    case OP_ABSORB_QUERY: return absorbQuery(call);
    case OP_ABSORB_OUTPUT: return absorbOutput(call);
    case OP_ROUTE_SELECT: return routeSelect(call);
    case OP_EXPERT_PLAN: return expertPlan(call);
    case OP_HISTOGRAM: return histogram(call);
    case OP_GROUPED_MATMUL:
    case OP_GROUPED_MATMUL_BF16: return groupedMatmul(call);
    case OP_GROUPED_MATMUL_PACKED:
    case OP_GROUPED_MATMUL_PACKED_BF16: return groupedMatmulPacked(call);
    case OP_GROUPED_MATMUL_GRAD_WEIGHT: return groupedMatmulGradWeight(call);
    case OP_MOE_COMBINE: return moeCombine(call);
    case OP_MOE_COMBINE_GRAD: return moeCombineGrad(call);
    case OP_ROUTE: return route(call);
    case OP_ROUTE_GRAD: return routeGrad(call);
    case OP_MOE_FEED_FORWARD: return moeFeedForward(call);
    case OP_MOE_FEED_FORWARD_PACKED: return moeFeedForwardPacked(call);
    case OP_MOE_FEED_FORWARD_GRAD: return moeFeedForwardGrad(call);
    case OP_MOE_FEED_FORWARD_GRAD_WEIGHT: return moeFeedForwardGradWeight(call);
    case OP_QUANTIZE: return quantize(call);
    case OP_PACK_QUANTIZED: return packQuantized(call);
    case OP_QUANTIZE_ROWS: return quantizeRows(call);
    case OP_MATMUL_QUANTIZED: return matmulQuantized(call);
    case OP_GROUPED_MATMUL_QUANTIZED: return groupedMatmulQuantized(call);
    case OP_GATHER_ROWS_QUANTIZED: return gatherRowsQuantized(call);
    case OP_ABSORB_QUERY_QUANTIZED: return absorbQueryQuantized(call);
    case OP_ABSORB_OUTPUT_QUANTIZED: return absorbOutputQuantized(call);
    case OP_MOE_FEED_FORWARD_QUANTIZED: return moeFeedForwardQuantized(call);
    case OP_SMOOTH_ROWS: return smoothRows(call);
    case OP_SMOOTH_ROWS_GRAD: return smoothRowsGrad(call);
  }
}

/** Rows up to which a program is bound by reading its weights. */
constexpr idx fewRows = 16;

/** Calls `found(matrix)` for the weights that a call of few rows reads whatever its data is. */
template <class F>
static void weightsOf(int op, const Tensor* t, F found) {
  if (t[0].d[0] > fewRows) return;
  switch (op) {
    case OP_MATMUL:
    case OP_MATMUL_BF16:
      if (t[0].rank == 2) found(t[1]);
      return;
    case OP_MATMUL_PACKED:
    case OP_MATMUL_PACKED_BF16:
    case OP_ABSORB_QUERY_QUANTIZED:
    case OP_ABSORB_OUTPUT_QUANTIZED: return found(t[1]);
    case OP_MATMUL_QUANTIZED: return found(t[2]);
    case OP_MOE_FEED_FORWARD_QUANTIZED:
      for (int i = 5; i <= 7; i++) found(t[i]);
  }
}

/** The record at `word` of a program; returns the next one. */
static const double* readRecord(const double* word, Tensor* t) {
  const int tensors = (int)word[1], attributes = (int)word[2];
  const double* w = word + 3 + attributes;
  for (int i = 0; i < tensors; i++, w += 7) {
    t[i].p = (char*)(uintptr_t)w[0];
    t[i].dtype = (int)w[1];
    t[i].rank = (int)w[2];
    t[i].count = 1;
    for (int j = 0; j < 4; j++) {
      t[i].d[j] = (idx)w[3 + j];
      if (j < t[i].rank) t[i].count *= t[i].d[j];
    }
  }
  return w;
}

}  // namespace MINKE_NS

/** Runs a program of `words` doubles. 0, or 1 when scratch memory ran out. */
extern "C" int MINKE_RUN(const double* program, size_t words, MinkeHost* host) {
  using namespace MINKE_NS;
  host->outOfMemory = 0;
  Tensor t[32];
  const double* end = program + words;
  MinkeWeightsAhead* ahead = host->weightsAhead;
  if (ahead) {
    ahead->clear();
    for (const double* word = program; word < end;) {
      const double* next = readRecord(word, t);
      weightsOf((int)word[0], t, [&](const Tensor& w) { ahead->add(w.p, bytesOf(w.dtype, w.count)); });
      word = next;
    }
  }
  idx read = 0;
  for (const double* word = program; word < end && !host->outOfMemory;) {
    const double* next = readRecord(word, t);
    const int op = (int)word[0];
    if (ahead) {
      weightsOf(op, t, [&](const Tensor&) { read++; });
      ahead->reached(read);
    }
    runCall(op, Call{host, word + 3, t});
    word = next;
  }
  if (ahead) ahead->clear();
  return host->outOfMemory;
}
