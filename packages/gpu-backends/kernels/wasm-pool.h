// The threads of the WebAssembly module: those of pool.h without an operating system. A loop's tasks are handed out by
// a counter, and it ends when they are done, whether or not every thread has joined it.
//
// Threads wait by looking at the state of the loop for a while, then with memory.atomic.wait32. Without shared memory
// there are none and no instruction here waits.
#pragma once
#include <stddef.h>
#include <stdint.h>

/** Held for as long as an allocation takes. */
struct Lock {
  int held = 0;
};
class Locked {
 public:
  explicit Locked(Lock& lock) : lock_(lock) {
    while (__atomic_exchange_n(&lock_.held, 1, __ATOMIC_ACQUIRE)) {
    }
  }
  ~Locked() { __atomic_store_n(&lock_.held, 0, __ATOMIC_RELEASE); }

 private:
  Lock& lock_;
};

class WasmPool {
 public:
  using Task = void (*)(void* context, ptrdiff_t index, int thread);

  void begin(int workers, bool maySleep) {
    workers_ = workers;
    maySleep_ = maySleep;
  }

  void run(ptrdiff_t tasks, Task task, void* context) {
    if (workers_ == 0 || tasks <= 1) {
      for (ptrdiff_t i = 0; i < tasks; i++) task(context, i, 0);
      return;
    }
    tasks_ = tasks;
    task_ = task;
    context_ = context;
    chunk_ = tasks / ((workers_ + 1) * 16);
    if (chunk_ < 1) chunk_ = 1;
    __atomic_store_n(&next_, 0, __ATOMIC_SEQ_CST);
    const uint64_t round = (load(&state_) >> 32) + 1;
    __atomic_store_n(&state_, round << 32 | open, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&rounds_, 1, __ATOMIC_SEQ_CST);
    if (load(&sleepers_) > 0) __builtin_wasm_memory_atomic_notify(&rounds_, ~0u);
    take(0);
    __atomic_fetch_and(&state_, ~open, __ATOMIC_SEQ_CST);
    for (int i = 0; load(&state_) & inside; i++)
      if (i >= spins && maySleep_) __builtin_wasm_memory_atomic_wait32(&never_, 0, shortSleep);
  }

  [[noreturn]] void work(int thread) {
    uint32_t seen = 0;
    for (;;) {
      uint64_t state = load(&state_);
      for (int i = 0; i < spins && !ready(state, seen); i++) state = load(&state_);
      if (!ready(state, seen)) {
        __atomic_fetch_add(&sleepers_, 1, __ATOMIC_SEQ_CST);
        const int rounds = load(&rounds_);
        if (!ready(load(&state_), seen)) __builtin_wasm_memory_atomic_wait32(&rounds_, rounds, -1);
        __atomic_fetch_sub(&sleepers_, 1, __ATOMIC_SEQ_CST);
        continue;
      }
      if (!__atomic_compare_exchange_n(&state_, &state, state + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) continue;
      seen = (uint32_t)(state >> 32);
      take(thread);
      __atomic_fetch_sub(&state_, 1, __ATOMIC_SEQ_CST);
    }
  }

 private:
  static constexpr uint64_t open = 1ull << 31, inside = open - 1;
  static constexpr int spins = 20000;
  static constexpr int64_t shortSleep = 50'000;  // nanoseconds

  template <class T>
  static T load(const T* p) {
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);
  }
  static bool ready(uint64_t state, uint32_t seen) { return (state & open) && (uint32_t)(state >> 32) != seen; }

  void take(int thread) {
    for (;;) {
      const ptrdiff_t begin = __atomic_fetch_add(&next_, chunk_, __ATOMIC_SEQ_CST);
      if (begin >= tasks_) return;
      const ptrdiff_t end = begin + chunk_ < tasks_ ? begin + chunk_ : tasks_;
      for (ptrdiff_t i = begin; i < end; i++) task_(context_, i, thread);
    }
  }

  // Round number in the high 32 bits, bit 31 set while a loop is open, below it the threads inside.
  alignas(64) uint64_t state_ = 0;
  alignas(64) ptrdiff_t next_ = 0;
  alignas(64) int rounds_ = 0;
  int sleepers_ = 0, never_ = 0, workers_ = 0;
  bool maySleep_ = false;
  ptrdiff_t tasks_ = 0, chunk_ = 1;
  Task task_ = nullptr;
  void* context_ = nullptr;
};
