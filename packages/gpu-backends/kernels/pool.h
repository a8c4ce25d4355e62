// A pool of threads that run the tasks of one parallel loop at a time, with the calling thread among them.
//
// Tasks are handed out by a counter; what a task computes does not depend on who runs it. Waiting threads
// spin for about a hundred microseconds, asking for weights that come next, then sleep. A loop ends when its tasks are done: it does not wait for
// threads that never joined it. On Linux a worker keeps off the processor of the calling thread: left alone, the
// scheduler may wake it there, behind the caller, and leave it there for as long as the machine was busy before.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "weights-ahead.h"

class Pool {
 public:
  using Task = void (*)(void* context, ptrdiff_t index, int thread);

  explicit Pool(int threads);
  ~Pool();
  int threads() const { return (int)workers_.size() + 1; }
  void run(ptrdiff_t tasks, Task task, void* context);
  void* scratch(int slot, size_t bytes);

  /** What threads ask for while they wait. */
  MinkeWeightsAhead weightsAhead{};

 private:
  struct Slot {
    void* memory = nullptr;
    size_t bytes = 0;
    char apart[48];  // slots of two threads never share a cache line
  };

  void work(int thread);
  void take(int thread);

  // Round number in the high 32 bits, bit 31 set while a loop is open, below it the threads inside.
  std::atomic<uint64_t> state_{0};
  std::atomic<ptrdiff_t> next_{0};
  ptrdiff_t tasks_ = 0, chunk_ = 1;
  Task task_ = nullptr;
  void* context_ = nullptr;
  std::atomic<bool> stop_{false};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Slot> slots_;
  std::atomic<int> callerCpu_{-1};
  std::vector<std::atomic<int>> workerCpu_;  // where each worker fell asleep
  std::vector<std::thread> workers_;
};

/** IEEE arithmetic with subnormals on the calling thread; returns what was set before. */
unsigned useIeeeArithmetic();
void restoreArithmetic(unsigned before);
