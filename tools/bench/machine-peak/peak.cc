// The multiply-add rate of this machine's registers, G operations a second: the limit no matrix product can pass.
// Usage: peak THREADS [int8]; prints one number, the sum over threads of each one's share of the best common round. Of f32
// numbers, or of 8-bit integers whose products are added up in 32 bits (VPDPBUSD or SDOT; VPMADDWD once they are widened).
//
// Twelve independent accumulators cover the latency of two FMA units; nothing touches memory. Build with the
// host's own instruction set (-march=native) and -ffp-contract=fast; without FMA it measures multiply + add.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

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

/** What one step of a chain does, with how many operations. */
struct Floats {
  typedef lanes Sum;
  static constexpr double operations = 2.0 * (bytes / 4);
  static Sum begin(int round) { return lanes{} + 0.5f + 1e-7f * (float)round; }
  static Sum step(Sum sum, Sum x) { return sum * x + 1e-3f; }
};
#if defined(__AVX512VNNI__)
struct Integers {
  typedef __m512i Sum;
  static constexpr double operations = 2 * 64;
  static Sum begin(int round) { return _mm512_set1_epi8((char)(round + 1)); }
  static Sum step(Sum sum, Sum x) { return _mm512_dpbusd_epi32(sum, x, x); }
};
#elif defined(__AVX2__)
struct Integers {
  typedef __m256i Sum;
  static constexpr double operations = 2 * 16;
  static Sum begin(int round) { return _mm256_set1_epi16((short)(round + 1)); }
  static Sum step(Sum sum, Sum x) { return _mm256_add_epi32(_mm256_madd_epi16(sum, x), sum); }
};
#elif defined(__ARM_FEATURE_DOTPROD)
struct Integers {
  typedef int32x4_t Sum;
  static constexpr double operations = 2 * 16;
  static Sum begin(int round) { return vdupq_n_s32(round + 1); }
  static Sum step(Sum sum, Sum x) { return vdotq_s32(sum, (int8x16_t)x, (int8x16_t)x); }
};
#else
typedef Floats Integers;  // without such an instruction
#endif

template <class Op>
static float chains(int round) {
  typename Op::Sum s[accumulators], x = Op::begin(round);
  for (int i = 0; i < accumulators; i++) s[i] = Op::begin(round + i);
  for (long n = 0; n < steps; n++) {
#if defined(__clang__)
#pragma unroll
#else
#pragma GCC unroll 16
#endif
    for (int i = 0; i < accumulators; i++) s[i] = Op::step(s[i], x);
  }
  float sum = 0;
  for (int i = 0; i < accumulators; i++) {
    float first;
    std::memcpy(&first, &s[i], sizeof first);
    sum += first;
  }
  return sum;
}

int main(int count, char** words) {
  using clock = std::chrono::steady_clock;
  const int threads = count > 1 ? std::atoi(words[1]) : 1;
  const bool integers = count > 2 && std::strcmp(words[2], "int8") == 0;
  std::atomic<int> arrived{0};
  std::atomic<float> sink{0};
  std::vector<std::vector<double>> seconds((size_t)threads, std::vector<double>(rounds));
  auto work = [&](int id) {
    for (int r = 0; r < rounds; r++) {
      arrived++;
      while (arrived.load() < threads * (r + 1)) std::this_thread::yield();
      const auto start = clock::now();
      const float sum = integers ? chains<Integers>(r) : chains<Floats>(r);
      seconds[(size_t)id][(size_t)r] = std::chrono::duration<double>(clock::now() - start).count();
      sink.store(sum);
    }
  };
  std::vector<std::thread> team;
  for (int i = 1; i < threads; i++) team.emplace_back(work, i);
  work(0);
  for (auto& member : team) member.join();
  const double flops = (integers ? Integers::operations : Floats::operations) * accumulators * (double)steps;
  double best = 0;
  for (int r = 0; r < rounds; r++) {
    double rate = 0;
    for (const auto& own : seconds) rate += flops / own[(size_t)r] / 1e9;
    best = rate > best ? rate : best;
  }
  std::printf("%.1f\n", best);
}
