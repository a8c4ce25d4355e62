// Buffers in size classes (four per power of two) with a free list each, because a training step allocates
// and releases the same sizes again and again. Used by the Node add-on and by the WebAssembly module, which
// supply `Source`: `void* take(size_t)` of 64-byte aligned memory or null, and `void give(void*, size_t)`.
#pragma once
#include <stddef.h>
#include <stdint.h>

template <class Source>
class Allocator {
 public:
  /** `keepBytes`: how much released memory to hold on to before giving it back to the source. */
  constexpr Allocator(Source source, size_t keepBytes) : source_(source), keepBytes_(keepBytes) {}

  /** 64-byte aligned memory of unspecified content, or null. */
  void* allocate(size_t bytes) {
    const int c = classOf(bytes);
    if (c >= classes) return nullptr;
    if (Free* block = free_[c]) {
      free_[c] = block->next;
      kept_ -= sizeOf(c);
      return block;
    }
    void* memory = source_.take(sizeOf(c));
    if (!memory && kept_ > 0) {
      trim();
      memory = source_.take(sizeOf(c));
    }
    return memory;
  }

  void release(void* memory, size_t bytes) {
    const int c = classOf(bytes);
    if (kept_ + sizeOf(c) > keepBytes_) {
      source_.give(memory, sizeOf(c));
      return;
    }
    Free* block = (Free*)memory;
    block->next = free_[c];
    free_[c] = block;
    kept_ += sizeOf(c);
  }

  /** Gives all unused memory back to the source. */
  void trim() {
    for (int c = 0; c < classes; c++)
      while (Free* block = free_[c]) {
        free_[c] = block->next;
        source_.give(block, sizeOf(c));
      }
    kept_ = 0;
  }

 private:
  struct Free {
    Free* next;
  };
  // Class c holds (4 + c % 4) << (c / 4) units of 64 bytes, after the four smallest: 1, 2, 3, 4 units.
  static constexpr int classes = 4 + 4 * (sizeof(size_t) == 8 ? 40 : 23);
  static size_t units(int c) { return c < 4 ? (size_t)(c + 1) : (size_t)(5 + (c - 4) % 4) << ((c - 4) / 4); }
  static size_t sizeOf(int c) { return units(c) * 64; }
  static int classOf(size_t bytes) {
    const size_t wanted = bytes / 64 + (bytes % 64 != 0);
    int c = 0;
    if (wanted > 8) {
      const int power = (int)(sizeof(unsigned long long) * 8) - 1 - __builtin_clzll((unsigned long long)(wanted - 1));
      c = 4 + 4 * (power - 2);  // units(c) <= wanted
    }
    while (c < classes && units(c) < wanted) c++;
    return c;
  }

  Source source_;
  size_t keepBytes_, kept_ = 0;
  Free* free_[classes] = {};
};
