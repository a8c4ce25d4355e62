// The kernels of the instruction sets that tools/kernels/build-native.mjs compiled (it names each by a macro), and which
// of them this processor has.
#pragma once
#include <cstddef>
#include <cstring>
#include <string>

#include "weights-ahead.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

struct MinkeHost {  // as in runtime.h, which belongs to one instruction set
  void* pool;
  void (*parallel)(void* pool, ptrdiff_t tasks, void (*task)(void*, ptrdiff_t, int), void* context);
  void* (*scratch)(void* pool, int slot, size_t bytes);
  int outOfMemory;
  ptrdiff_t packingRing;
  ptrdiff_t packingAt;
  MinkeWeightsAhead* weightsAhead;
};

using Run = int (*)(const double* program, size_t words, MinkeHost* host);
extern "C" int minkeRunAvx2(const double*, size_t, MinkeHost*);
extern "C" int minkeRunAvx512(const double*, size_t, MinkeHost*);
extern "C" int minkeRunAvx512Bf16(const double*, size_t, MinkeHost*);
extern "C" int minkeRunNeon(const double*, size_t, MinkeHost*);
extern "C" int minkeRunNeonDotprod(const double*, size_t, MinkeHost*);
extern "C" int minkeRunGeneric(const double*, size_t, MinkeHost*);

namespace {

struct InstructionSet {
  const char* name;
  Run run;
  bool available;
};

#if defined(MINKE_AVX512) || defined(MINKE_AVX512BF16)
bool hasAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}
#endif

#if defined(MINKE_NEONDOTPROD)
bool hasDotprod() {
#if defined(__linux__)
  constexpr unsigned long asimddp = 1ul << 20;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & asimddp) != 0;
#elif defined(__APPLE__)
  int there = 0;
  size_t size = sizeof there;
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &there, &size, nullptr, 0) == 0 && there != 0;
#else
  return false;
#endif
}
#endif

/** All there are, the best one first. */
const InstructionSet* instructionSets(size_t& count) {
  static const InstructionSet sets[] = {
#if defined(MINKE_AVX512BF16)
      {"avx512bf16", minkeRunAvx512Bf16,
       hasAvx512() && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni")},
#endif
#if defined(MINKE_EMULATED_AVX512)  // tools/kernels/check-avx512.mjs
      {"avx512", minkeRunAvx512, true},
#elif defined(MINKE_AVX512)
      {"avx512", minkeRunAvx512, hasAvx512()},
#endif
#if defined(MINKE_AVX2)
      {"avx2", minkeRunAvx2,
       __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("f16c")},
#endif
#if defined(MINKE_NEONDOTPROD)
      {"neondotprod", minkeRunNeonDotprod, hasDotprod()},
#endif
#if defined(MINKE_NEON)
      {"neon", minkeRunNeon, true},
#endif
#if defined(MINKE_GENERIC)
      {"generic", minkeRunGeneric, true},
#endif
  };
  count = sizeof sets / sizeof sets[0];
  return sets;
}

/** The set of that name, the best one for an empty name; null where the processor has none such. */
[[maybe_unused]] const InstructionSet* findInstructionSet(const char* name) {
  size_t count;
  const InstructionSet* sets = instructionSets(count);
  for (size_t i = 0; i < count; i++)
    if (sets[i].available && (!*name || std::strcmp(name, sets[i].name) == 0)) return sets + i;
  return nullptr;
}

/** Names this processor has, best first, joined by commas. */
[[maybe_unused]] std::string availableInstructionSets() {
  size_t count;
  const InstructionSet* sets = instructionSets(count);
  std::string names;
  for (size_t i = 0; i < count; i++)
    if (sets[i].available) names += (names.empty() ? "" : ",") + std::string(sets[i].name);
  return names;
}

}  // namespace
