// What kernels see of the world: tensors of one call, a parallel loop, scratch memory.
//
// Work is cut into tasks whose size depends on the shapes only, never on the thread count, and each task
// owns its outputs; which thread runs a task does not change a bit of the result.
#pragma once
#include "simd.h"
#include "weights-ahead.h"

/** Shared by all builds of the kernels and their hosts (the Node add-on and the WebAssembly module). */
struct MinkeHost {
  void* pool;
  /** Calls `task(context, i, thread)` for every i below `tasks`, from any thread, in any order. */
  void (*parallel)(void* pool, ptrdiff_t tasks, void (*task)(void*, ptrdiff_t, int), void* context);
  /** At least `bytes` of 64-byte aligned memory, kept until the slot asks for more; null when there is none. */
  void* (*scratch)(void* pool, int slot, size_t bytes);
  int outOfMemory;
  /** Bytes of the ring in which matrix products pack, 0 for the same memory each time, and where the next one begins. */
  ptrdiff_t packingRing;
  ptrdiff_t packingAt;
  /** Null where nobody asks for weights. */
  MinkeWeightsAhead* weightsAhead;
};

namespace MINKE_NS {

/** Scratch slots of the whole call; those of the threads follow. */
constexpr int sharedSlots = 3;

struct Tensor {
  char* p;
  int dtype;
  int rank;
  idx d[4];
  idx count;
  float* f() const { return (float*)p; }
  int32_t* i() const { return (int32_t*)p; }
  idx last() const { return rank > 0 ? d[rank - 1] : 1; }
};

struct Call {
  MinkeHost* host;
  const double* attributes;
  const Tensor* t;

  int attributeInt(int i) const { return (int)attributes[i]; }
  float attributeFloat(int i) const { return (float)attributes[i]; }

  /** Scratch of the whole call; one piece at a time. */
  char* shared(idx bytes) const { return slot(0, bytes); }
  /** A second piece, for ops that keep their own results while they call matrix products. */
  char* workspace(idx bytes) const { return slot(1, bytes); }
  /**
   * What matrix products pack for all their tasks. With several threads one product's lies behind the last one's:
   * lines that another core has just read are written at 8 GB/s, those that have left its caches at 40.
   */
  char* packing(idx bytes) const {
    const idx size = (bytes + 63) / 64 * 64;
    if (size > host->packingRing) return slot(2, bytes);
    if (host->packingAt + size > host->packingRing) host->packingAt = 0;
    char* ring = slot(2, host->packingRing);
    char* p = ring ? ring + host->packingAt : nullptr;
    host->packingAt += size;
    return p;
  }
  /** Scratch of one thread inside a task. */
  char* local(int thread, idx bytes) const { return slot(sharedSlots + thread, bytes); }

  template <class F>
  void parallel(idx tasks, F body) const {
    if (tasks <= 0) return;
    if (tasks == 1) {
      body((idx)0, 0);
      return;
    }
    host->parallel(host->pool, tasks, [](void* context, ptrdiff_t i, int thread) { (*(F*)context)((idx)i, thread); }, &body);
  }

  /** `body(begin, end, thread)` over pieces of [0, count) that hold about `grain` units of work each. */
  template <class F>
  void pieces(idx count, idx costEach, F body, idx grain = 16384) const {
    if (count <= 0) return;
    const idx size = costEach >= grain ? 1 : grain / (costEach > 0 ? costEach : 1);
    parallel((count + size - 1) / size, [&](idx task, int thread) {
      const idx begin = task * size;
      body(begin, begin + size < count ? begin + size : count, thread);
    });
  }

 private:
  char* slot(int number, idx bytes) const {
    char* p = (char*)host->scratch(host->pool, number, (size_t)bytes + 64);
    if (!p) __atomic_store_n(&host->outOfMemory, 1, __ATOMIC_RELAXED);
    return p;
  }
};

MINKE_INLINE idx min(idx a, idx b) { return a < b ? a : b; }
MINKE_INLINE idx max(idx a, idx b) { return a > b ? a : b; }
MINKE_INLINE idx clamp(idx x, idx low, idx high) { return x < low ? low : x > high ? high : x; }
MINKE_INLINE idx roundUp(idx x, idx to) { return (x + to - 1) / to * to; }
MINKE_INLINE void copy(void* to, const void* from, idx bytes) {
  if (bytes > 0) __builtin_memcpy(to, from, (size_t)bytes);
}
MINKE_INLINE void zero(void* to, idx bytes) {
  if (bytes > 0) __builtin_memset(to, 0, (size_t)bytes);
}

}  // namespace MINKE_NS
