// How fast this machine reads memory, GB/s: the limit of a product with one row.
// Usage: bandwidth THREADS MEGABYTES; prints one number, the best of some common rounds over memory of that size,
// which should be several times the last-level cache.
//
// Each thread reads its own part in whole cache lines, asking for lines ahead of the loads as a good kernel does.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

typedef uint64_t line __attribute__((vector_size(64)));
constexpr int rounds = 12;

static line readAll(const line* from, size_t lines) {
  line sums[4] = {};
  for (size_t i = 0; i + 4 <= lines; i += 4)
    for (size_t j = 0; j < 4; j++) {
      __builtin_prefetch(from + i + j + 32);
      sums[j] += from[i + j];
    }
  return sums[0] + sums[1] + sums[2] + sums[3];
}

int main(int count, char** words) {
  using clock = std::chrono::steady_clock;
  const int threads = count > 1 ? std::atoi(words[1]) : 1;
  const size_t bytes = (size_t)(count > 2 ? std::atoi(words[2]) : 256) << 20, each = bytes / 64 / (size_t)threads;
  void* memory = nullptr;
  if (posix_memalign(&memory, 2 << 20, bytes) != 0) return 1;
#if defined(__linux__)
  madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  std::memset(memory, 1, bytes);
  std::atomic<int> arrived{0};
  std::atomic<uint64_t> sink{0};
  std::vector<std::vector<double>> seconds((size_t)threads, std::vector<double>(rounds));
  auto work = [&](int id) {
    for (int r = 0; r < rounds; r++) {
      arrived++;
      while (arrived.load() < threads * (r + 1)) std::this_thread::yield();
      const auto start = clock::now();
      const line sum = readAll((const line*)memory + (size_t)id * each, each);
      seconds[(size_t)id][(size_t)r] = std::chrono::duration<double>(clock::now() - start).count();
      sink += sum[0];
    }
  };
  std::vector<std::thread> team;
  for (int i = 1; i < threads; i++) team.emplace_back(work, i);
  work(0);
  for (auto& member : team) member.join();
  double best = 0;
  for (int r = 0; r < rounds; r++) {
    double rate = 0;
    for (const auto& own : seconds) rate += (double)each * 64 / own[(size_t)r] / 1e9;
    best = rate > best ? rate : best;
  }
  std::free(memory);
  std::printf("%.1f\n", best);
}
