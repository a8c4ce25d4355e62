// Weights that the next calls of a program read, asked for while memory is idle: by threads that wait for each other.
// (Attention that asked for them, too, was slower where memory was fast.)
//
// With few rows a program is bound by reading its weights, and they are known before it runs (but for the experts that a
// router will choose). All of them lie end to end in the order of the calls; what has been asked for is a position there,
// which stays ahead of the running call by no more than caches hold.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct MinkeWeightsAhead {
  static constexpr ptrdiff_t most = 2048;      // matrices
  static constexpr ptrdiff_t piece = 1024;     // bytes asked for at a time
  static constexpr ptrdiff_t reach = 4 << 20;  // bytes ahead of the running call

  // `first[i]`: bytes of all matrices before i. What threads see of an old list while a new one is made is only a hint.
  const char* at[most];
  ptrdiff_t first[most + 1];
  ptrdiff_t count, next, until;

  void clear() {
    store(until, 0);
    store(count, 0);
    store(next, 0);
  }
  void add(const char* p, ptrdiff_t bytes) {
    if (count == most) return;
    store(at[count], p);
    store(first[count + 1], first[count] + bytes);
    store(count, count + 1);
  }
  /** Matrices before `index` have been read, or are being read. */
  void reached(ptrdiff_t index) {
    if (index > count) index = count;
    if (load(next) < first[index]) store(next, first[index]);
    const ptrdiff_t end = first[count], far = first[index] + reach;
    store(until, far < end ? far : end);
  }
  /** Asks for a piece; false when there is none to ask for. */
  bool ask() {
    const ptrdiff_t n = load(count);
    if (n == 0 || load(next) >= load(until)) return false;
    const ptrdiff_t from = __atomic_fetch_add(&next, piece, __ATOMIC_RELAXED);
    ptrdiff_t low = 0;
    for (ptrdiff_t high = n; high - low > 1;) {
      const ptrdiff_t middle = (low + high) / 2;
      (load(first[middle]) <= from ? low : high) = middle;
    }
    const ptrdiff_t offset = from - load(first[low]), size = load(first[low + 1]) - load(first[low]);
    const uintptr_t p = (uintptr_t)load(at[low]) + (uintptr_t)offset;
    for (ptrdiff_t b = 0; b < piece && offset + b < size; b += 64) __builtin_prefetch((const char*)(p + (uintptr_t)b), 0, 2);
    return true;
  }

 private:
  template <class T>
  static T load(const T& x) {
    return __atomic_load_n(&x, __ATOMIC_RELAXED);
  }
  template <class T, class V>
  static void store(T& x, V value) {
    __atomic_store_n(&x, (T)value, __ATOMIC_RELAXED);
  }
};
