#include "pool.h"

#include <cstdlib>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {
constexpr uint64_t open = 1ull << 31, inside = open - 1;
constexpr int spins = 4000;

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

#if defined(__linux__)
int currentCpu() { return sched_getcpu(); }

/** Moves a thread to the processors that the process may use without `cpu`, if there are any. */
void keepOff(int cpu, pthread_t thread) {
  cpu_set_t others;
  if (sched_getaffinity(getpid(), sizeof others, &others) != 0) return;
  CPU_CLR(cpu, &others);
  if (CPU_COUNT(&others) > 0) pthread_setaffinity_np(thread, sizeof others, &others);
}
#else
int currentCpu() { return -1; }
template <class Thread>
void keepOff(int, Thread) {}
#endif
}  // namespace

unsigned useIeeeArithmetic() {
#if defined(__x86_64__)
  const unsigned before = _mm_getcsr();
  _mm_setcsr(0x1f80);
  return before;
#elif defined(__aarch64__)
  uint64_t before;
  asm volatile("mrs %0, fpcr" : "=r"(before));
  if (before != 0) asm volatile("msr fpcr, xzr" ::: "memory");
  return (unsigned)before;
#else
  return 0;
#endif
}
void restoreArithmetic(unsigned before) {
#if defined(__x86_64__)
  _mm_setcsr(before);
#elif defined(__aarch64__)
  if (before != 0) asm volatile("msr fpcr, %0" ::"r"((uint64_t)before) : "memory");
#endif
  (void)before;
}

Pool::Pool(int threads) : slots_((size_t)threads + 3), workerCpu_((size_t)threads) {
  for (auto& cpu : workerCpu_) cpu.store(-1);
  for (int i = 1; i < threads; i++) workers_.emplace_back([this, i] { work(i); });
}

Pool::~Pool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (auto& worker : workers_) worker.join();
  for (auto& slot : slots_) std::free(slot.memory);
}

void* Pool::scratch(int slot, size_t bytes) {
  Slot& s = slots_[(size_t)slot];
  if (s.bytes < bytes) {
    std::free(s.memory);
    // Panels of a few megabytes are read in strides: with small pages address translation costs up to a tenth.
    const size_t hugePage = 2u << 20, page = bytes >= 2 * hugePage ? hugePage : 4096;
    s.bytes = (bytes + bytes / 4 + page - 1) / page * page;
    if (posix_memalign(&s.memory, page == hugePage ? page : 64, s.bytes) != 0) {
      s.memory = nullptr;
      s.bytes = 0;
    }
#if defined(__linux__)
    if (s.memory && page == hugePage) madvise(s.memory, s.bytes, MADV_HUGEPAGE);
#endif
  }
  return s.memory;
}

void Pool::take(int thread) {
  for (;;) {
    const ptrdiff_t begin = next_.fetch_add(chunk_, std::memory_order_relaxed);
    if (begin >= tasks_) return;
    const ptrdiff_t end = begin + chunk_ < tasks_ ? begin + chunk_ : tasks_;
    for (ptrdiff_t i = begin; i < end; i++) task_(context_, i, thread);
  }
}

void Pool::run(ptrdiff_t tasks, Task task, void* context) {
  if (workers_.empty() || tasks <= 1) {
    for (ptrdiff_t i = 0; i < tasks; i++) task(context, i, 0);
    return;
  }
  tasks_ = tasks;
  task_ = task;
  context_ = context;
  chunk_ = tasks / (threads() * 16);
  if (chunk_ < 1) chunk_ = 1;
  next_.store(0, std::memory_order_relaxed);
  const int cpu = currentCpu();
  callerCpu_.store(cpu, std::memory_order_relaxed);
  const uint64_t round = (state_.load() >> 32) + 1;
  state_.store(round << 32 | open);
  if (sleepers_.load() > 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = 0; cpu >= 0 && i < workers_.size(); i++)
      if (workerCpu_[i].load(std::memory_order_relaxed) == cpu) keepOff(cpu, workers_[i].native_handle());
    wake_.notify_all();
  }
  take(0);
  state_.fetch_and(~open);
  for (int i = 0; state_.load() & inside; i++) {
    if (weightsAhead.ask()) continue;
    if (i < spins) relax();
    else std::this_thread::yield();
  }
}

void Pool::work(int thread) {
  useIeeeArithmetic();
  uint64_t seen = 0;
  auto ready = [&](uint64_t state) { return (state & open) && (state >> 32) != seen; };
  while (!stop_.load(std::memory_order_relaxed)) {
    uint64_t state = state_.load();
    if (!ready(state)) {
      int i = 0;
      for (; i < spins && !ready(state = state_.load()) && !stop_.load(std::memory_order_relaxed); i++)
        if (!weightsAhead.ask()) relax();
      if (i == spins) {
        std::unique_lock<std::mutex> lock(mutex_);
        workerCpu_[(size_t)thread - 1].store(currentCpu(), std::memory_order_relaxed);
        sleepers_++;
        wake_.wait(lock, [&] { return stop_.load() || ready(state_.load()); });
        sleepers_--;
        workerCpu_[(size_t)thread - 1].store(-1, std::memory_order_relaxed);
      }
      continue;
    }
    if (!state_.compare_exchange_weak(state, state + 1)) continue;
    seen = state >> 32;
#if defined(__linux__)
    const int cpu = currentCpu();
    if (cpu == callerCpu_.load(std::memory_order_relaxed)) keepOff(cpu, pthread_self());
#endif
    take(thread);
    state_.fetch_sub(1);
  }
}
