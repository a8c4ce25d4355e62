// The f32 multiply-add rate of this machine's registers, GFLOP/s: the limit no matrix product can pass.
// Usage: peak THREADS; prints one number, the sum over threads of each one's share of the best common round.
//
// Twelve independent accumulators cover the latency of two FMA units; nothing touches memory. Build with the
// host's own instruction set (-march=native) and -ffp-contract=fast; without FMA it measures multiply + add.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#if defined(__AVX512F__)
constexpr int bytes = 64;
#elif defined(__AVX__)
constexpr int bytes = 32;
#else
constexpr int bytes = 16;
#endif
typedef float lanes __attribute__((vector_size(bytes)));
constexpr int accumulators = 12, rounds = 24;
constexpr long steps = 4000000;

static lanes chains(lanes x, lanes y) {
  lanes s[accumulators];
  for (int i = 0; i < accumulators; i++) s[i] = x + (float)i;
  for (long n = 0; n < steps; n++) {
#if defined(__clang__)
#pragma unroll
#else
#pragma GCC unroll 16
#endif
    for (int i = 0; i < accumulators; i++) s[i] = s[i] * y + x;
  }
  lanes sum = s[0];
  for (int i = 1; i < accumulators; i++) sum += s[i];
  return sum;
}

int main(int count, char** words) {
  using clock = std::chrono::steady_clock;
  const int threads = count > 1 ? std::atoi(words[1]) : 1;
  std::atomic<int> arrived{0};
  std::atomic<float> sink{0};
  std::vector<std::vector<double>> seconds((size_t)threads, std::vector<double>(rounds));
  auto work = [&](int id) {
    for (int r = 0; r < rounds; r++) {
      arrived++;
      while (arrived.load() < threads * (r + 1)) std::this_thread::yield();
      const auto start = clock::now();
      const lanes sum = chains(lanes{} + 1e-3f, lanes{} + 0.5f + 1e-7f * (float)r);
      seconds[(size_t)id][(size_t)r] = std::chrono::duration<double>(clock::now() - start).count();
      sink.store(sum[0]);
    }
  };
  std::vector<std::thread> team;
  for (int i = 1; i < threads; i++) team.emplace_back(work, i);
  work(0);
  for (auto& member : team) member.join();
  const double flops = 2.0 * accumulators * (bytes / 4) * (double)steps;
  double best = 0;
  for (int r = 0; r < rounds; r++) {
    double rate = 0;
    for (const auto& own : seconds) rate += flops / own[(size_t)r] / 1e9;
    best = rate > best ? rate : best;
  }
  std::printf("%.1f\n", best);
}
