// The add-on as a program of its own, which sanitizers can look into and an emulator can run: memory and programs come
// over a pipe from kernel-process.mjs.
//
// Every buffer and every piece of scratch is an allocation of its own and of exactly its size, so that the
// address sanitizer sees a step beyond it. A request is four doubles (command and three numbers) and its data.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <vector>

#include "instruction-sets.h"
#include "pool.h"

namespace {

struct Piece {
  void* memory = nullptr;
  size_t bytes = 0;
};

void* take(size_t bytes) {
  void* memory = nullptr;
  return posix_memalign(&memory, 64, bytes) == 0 ? memory : nullptr;
}

struct Engine {
  Engine(int threads, const InstructionSet& chosen) : pool(threads), set(chosen), scratch((size_t)threads + 3) {
    host.pool = this;
    host.weightsAhead = &pool.weightsAhead;
    host.parallel = [](void* p, ptrdiff_t tasks, void (*task)(void*, ptrdiff_t, int), void* context) {
      ((Engine*)p)->pool.run(tasks, task, context);
    };
    host.scratch = [](void* p, int slot, size_t bytes) {
      Piece& piece = ((Engine*)p)->scratch[(size_t)slot];
      if (piece.bytes < bytes) {
        std::free(piece.memory);
        piece = {take(bytes), bytes};
      }
      return piece.memory;
    };
  }
  ~Engine() { forget(); }
  int run(const std::vector<double>& program) {
    const int code = set.run(program.data(), program.size(), &host);
    forget();
    return code;
  }
  void forget() {
    for (Piece& piece : scratch) {
      std::free(piece.memory);
      piece = {};
    }
  }
  Pool pool;
  const InstructionSet& set;
  std::vector<Piece> scratch;
  MinkeHost host{};
};

int requests, replies;

void readAll(void* to, size_t bytes) {
  for (char* at = (char*)to; bytes > 0;) {
    const ssize_t n = read(requests, at, bytes);
    if (n <= 0) std::exit(n == 0 ? 0 : 4);
    at += n;
    bytes -= (size_t)n;
  }
}
void writeAll(const void* from, size_t bytes) {
  for (const char* at = (const char*)from; bytes > 0;) {
    const ssize_t n = write(replies, at, bytes);
    if (n <= 0) std::exit(4);
    at += n;
    bytes -= (size_t)n;
  }
}
void reply(double x) { writeAll(&x, sizeof x); }

/**
 * Loops of many sizes on pools that come and go, with pauses in which their threads fall asleep. Each task adds
 * to numbers of its own that are no atomics: a task run twice, at the same time or not at all shows. 1 if all is well.
 */
double stressPool(int threads) {
  for (int life = 0; life < 20; life++) {
    Pool pool(threads);
    std::vector<long> counts(1000);
    std::vector<long> byThread((size_t)threads);
    struct Context {
      long *counts, *byThread;
    } context = {counts.data(), byThread.data()};
    long expected = 0;
    std::vector<long> want(counts.size());
    for (int round = 0; round < 200; round++) {
      const ptrdiff_t tasks = (life * 7919 + round * 104729) % (round % 10 == 0 ? 1000 : 9);
      pool.run(tasks, [](void* c, ptrdiff_t i, int thread) {
        ((Context*)c)->counts[i]++;
        ((Context*)c)->byThread[thread]++;
      }, &context);
      for (ptrdiff_t i = 0; i < tasks; i++) want[(size_t)i]++;
      expected += tasks;
      if (round % 50 == 49) usleep(2000);
    }
    long done = 0;
    for (long n : byThread) done += n;
    if (done != expected || counts != want) return 0;
  }
  return 1;
}

}  // namespace

/** kernel-process <requests fifo> <replies fifo>: first replies with the length of its sets' names and these. */
int main(int argc, char** argv) {
  if (argc != 3) return 2;
  requests = open(argv[1], O_RDONLY);
  replies = open(argv[2], O_WRONLY);
  if (requests < 0 || replies < 0) return 3;
  const std::string names = availableInstructionSets();
  reply((double)names.size());
  writeAll(names.data(), names.size());
  useIeeeArithmetic();
  for (;;) {
    double request[4];
    readAll(request, sizeof request);
    void* address = (void*)(uintptr_t)request[1];
    Engine* engine = (Engine*)address;
    const size_t size = (size_t)request[2];
    switch ((int)request[0]) {
      case 1: reply((double)(uintptr_t)take(size)); break;
      case 2: std::free(address); break;
      case 3: readAll(address, size); break;
      case 4: writeAll(address, size); break;
      case 5: {
        std::vector<double> program(size);
        readAll(program.data(), size * sizeof(double));
        reply(engine->run(program));
        break;
      }
      case 6: reply(stressPool((int)request[1])); break;
      case 7: {  // threads, and the length of the set's name, which follows
        std::string name(size, ' ');
        readAll(&name[0], size);
        const InstructionSet* set = findInstructionSet(name.c_str());
        reply(set ? (double)(uintptr_t) new Engine((int)request[1], *set) : 0);
        break;
      }
      case 8: delete engine; break;
      default: return 0;
    }
  }
}
