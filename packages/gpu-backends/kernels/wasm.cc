// The WebAssembly module: the kernels, an allocator over linear memory, and the pool of threads they run on. It imports
// its memory and nothing else. The memory may be shared: each thread is then an instance of the module over it.
//
// Programs are run in place: JavaScript writes one where `minkeProgram` says and calls `minkeRun`. A thread is a worker
// that points its stack at memory of its own and calls `minkeWork`, which does not return.
#include "allocator.h"
#include "runtime.h"
#include "wasm-pool.h"

#define MINKE_EXPORT extern "C" __attribute__((visibility("default")))

extern "C" int minkeRunWasm(const double* program, size_t words, MinkeHost* host);
extern "C" unsigned char __heap_base;

namespace {

/**
 * Linear memory from the end of the stack on; what is given back stays with the allocator. It grows by half of
 * what it is, at least 4 MiB: an engine accounts for each growth as if the whole memory had been allocated anew,
 * and many small ones put its garbage collector under pressure all the time.
 */
struct LinearMemory {
  static constexpr uintptr_t pageBytes = 65536, leastGrowth = 4u << 20;
  uintptr_t next = 0;
  void* take(size_t bytes) {
    if (!next) next = ((uintptr_t)&__heap_base + 63) & ~(uintptr_t)63;
    const uintptr_t end = next + bytes;
    if (end < next) return nullptr;
    const uintptr_t have = (uintptr_t)__builtin_wasm_memory_size(0) << 16;
    if (end > have) {
      const uintptr_t needed = (end - have + pageBytes - 1) / pageBytes;
      const uintptr_t generous = (have / 2 > leastGrowth ? have / 2 : leastGrowth) / pageBytes;
      if ((needed >= generous || !grow(generous)) && !grow(needed)) return nullptr;
    }
    const uintptr_t start = next;
    next = end;
    return (void*)start;
  }
  void give(void*, size_t) {}
  static bool grow(uintptr_t pages) { return __builtin_wasm_memory_grow(0, pages) != (size_t)-1; }
};

constinit Allocator<LinearMemory> memory(LinearMemory{}, (size_t)-1);
constinit Lock memoryLock;

void* allocate(size_t bytes) {
  const Locked held(memoryLock);
  return memory.allocate(bytes);
}
void release(void* address, size_t bytes) {
  const Locked held(memoryLock);
  memory.release(address, bytes);
}

constinit WasmPool pool;

/** Scratch of one use; those of two threads never share a cache line. */
struct alignas(64) Slot {
  void* memory;
  size_t bytes;
};
constexpr int mostThreads = 64, programSlot = MINKE_NS::sharedSlots + mostThreads;
Slot slots[programSlot + 1];  // shared, workspace, packing, the threads, the program

void* scratch(void*, int slot, size_t bytes) {
  Slot& s = slots[slot];
  if (s.bytes < bytes) {
    if (s.memory) release(s.memory, s.bytes);
    s.memory = allocate(bytes);
    s.bytes = s.memory ? bytes : 0;
  }
  return s.memory;
}

void parallel(void*, ptrdiff_t tasks, WasmPool::Task task, void* context) { pool.run(tasks, task, context); }

MinkeHost host = {nullptr, parallel, scratch, 0, 0, 0, nullptr};

}  // namespace

MINKE_EXPORT void* minkeAllocate(size_t bytes) { return allocate(bytes); }
MINKE_EXPORT void minkeRelease(void* address, size_t bytes) { release(address, bytes); }
/** Where a program of `words` doubles may be written, or null. */
MINKE_EXPORT void* minkeProgram(size_t words) { return scratch(nullptr, programSlot, words * 8); }
MINKE_EXPORT int minkeRun(size_t words) { return minkeRunWasm((const double*)slots[programSlot].memory, words, &host); }

/** Of `workers` threads beside the calling one; it may sleep where `maySleep`, which a page's main thread must not. */
MINKE_EXPORT void minkeThreads(int workers, int maySleep) {
  pool.begin(workers, maySleep != 0);
  host.packingRing = workers > 0 ? 4 << 20 : 0;
}
/** The life of thread 1, 2, ...: it takes part in loops until its worker is terminated. */
MINKE_EXPORT void minkeWork(int thread) { pool.work(thread); }
