// The Node add-on: memory, copies between it and typed arrays, and `run`, which executes a whole program.
//
// One Engine per backend: its threads end with it or with the environment that made it. Arguments are trusted;
// src/cpu/native.ts is the only caller and checks them.
#include <node_api.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <set>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "allocator.h"
#include "instruction-sets.h"
#include "pool.h"

/** More than the second-level caches of two cores hold. */
constexpr ptrdiff_t packingRing = 4 << 20;

/** Released memory that is held for the next buffers: what steps reuse they hold themselves, whole caches need not stay. */
constexpr size_t keptBytes = size_t{1} << 28;

namespace {

struct SystemMemory {
  void* take(size_t bytes) {
    void* memory = nullptr;
    const size_t large = 4u << 20;
    if (posix_memalign(&memory, bytes >= large ? 2u << 20 : 64, bytes) != 0) return nullptr;
#if defined(__linux__)
    if (bytes >= large) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return memory;
  }
  void give(void* memory, size_t) { std::free(memory); }
};

struct Engine {
  Engine(int threads, const InstructionSet& chosen)
      : pool(threads), memory(SystemMemory{}, keptBytes), set(chosen) {
    host.pool = &pool;
    host.parallel = [](void* p, ptrdiff_t tasks, void (*task)(void*, ptrdiff_t, int), void* context) {
      ((Pool*)p)->run(tasks, task, context);
    };
    host.scratch = [](void* p, int slot, size_t bytes) { return ((Pool*)p)->scratch(slot, bytes); };
    host.packingRing = threads > 1 ? packingRing : 0;
    host.weightsAhead = &pool.weightsAhead;
  }
  ~Engine() { memory.trim(); }
  Pool pool;
  Allocator<SystemMemory> memory;
  const InstructionSet& set;
  MinkeHost host{};
};

struct Environment {
  std::set<Engine*> engines;
};

void closeEnvironment(void* data) {
  auto* environment = (Environment*)data;
  for (Engine* engine : environment->engines) delete engine;
  delete environment;
}

struct Arguments {
  napi_env env;
  napi_value values[4];
  Arguments(napi_env e, napi_callback_info info) : env(e) {
    size_t count = 4;
    napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  }
  double number(int i) const {
    double x = 0;
    napi_get_value_double(env, values[i], &x);
    return x;
  }
  template <class T>
  T* address(int i) const {
    return (T*)(uintptr_t)number(i);
  }
  /** First byte and byte length of a typed array. */
  void bytes(int i, char*& data, size_t& length) const {
    napi_typedarray_type type;
    size_t elements = 0, offset = 0;
    void* p = nullptr;
    napi_value buffer;
    napi_get_typedarray_info(env, values[i], &type, &elements, &p, &buffer, &offset);
    static const size_t size[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8};
    data = (char*)p;
    length = elements * size[type];
  }
};

napi_value makeNumber(napi_env env, double x) {
  napi_value value;
  napi_create_double(env, x, &value);
  return value;
}

/** create(threads, instructionSet) -> engine; instructionSet '' means the best one. */
napi_value create(napi_env env, napi_callback_info info) {
  const Arguments a(env, info);
  char wanted[16] = "";
  size_t length = 0;
  napi_get_value_string_utf8(env, a.values[1], wanted, sizeof wanted, &length);
  const InstructionSet* set = findInstructionSet(wanted);
  if (!set) {
    napi_throw_error(env, nullptr, "this processor does not have that instruction set");
    return nullptr;
  }
  Environment* environment;
  napi_get_instance_data(env, (void**)&environment);
  try {
    auto* engine = new Engine((int)a.number(0), *set);
    environment->engines.insert(engine);
    return makeNumber(env, (double)(uintptr_t)engine);
  } catch (const std::exception& problem) {
    napi_throw_error(env, nullptr, problem.what());
    return nullptr;
  }
}

/** instructionSets() -> names this processor has, best first, joined by commas. */
napi_value available(napi_env env, napi_callback_info) {
  const std::string names = availableInstructionSets();
  napi_value value;
  napi_create_string_utf8(env, names.c_str(), names.size(), &value);
  return value;
}

/** destroy(engine) */
napi_value destroy(napi_env env, napi_callback_info info) {
  const Arguments a(env, info);
  Environment* environment;
  napi_get_instance_data(env, (void**)&environment);
  auto* engine = a.address<Engine>(0);
  if (environment->engines.erase(engine)) delete engine;
  return nullptr;
}

/** allocate(engine, bytes) -> address, 0 when there is no memory */
napi_value allocate(napi_env env, napi_callback_info info) {
  const Arguments a(env, info);
  return makeNumber(env, (double)(uintptr_t)a.address<Engine>(0)->memory.allocate((size_t)a.number(1)));
}

/** release(engine, address, bytes) */
napi_value release(napi_env env, napi_callback_info info) {
  const Arguments a(env, info);
  a.address<Engine>(0)->memory.release(a.address<void>(1), (size_t)a.number(2));
  return nullptr;
}

/** write(address, typedArray) */
napi_value write(napi_env env, napi_callback_info info) {
  const Arguments a(env, info);
  char* data;
  size_t length;
  a.bytes(1, data, length);
  if (length > 0) std::memcpy(a.address<char>(0), data, length);
  return nullptr;
}

/** read(address, typedArray) */
napi_value read(napi_env env, napi_callback_info info) {
  const Arguments a(env, info);
  char* data;
  size_t length;
  a.bytes(1, data, length);
  if (length > 0) std::memcpy(data, a.address<char>(0), length);
  return nullptr;
}

/** run(engine, Float64Array program) -> 0, or 1 when memory ran out */
napi_value run(napi_env env, napi_callback_info info) {
  const Arguments a(env, info);
  auto* engine = a.address<Engine>(0);
  char* program;
  size_t length;
  a.bytes(1, program, length);
  const unsigned before = useIeeeArithmetic();
  const int code = engine->set.run((const double*)program, length / 8, &engine->host);
  restoreArithmetic(before);
  return makeNumber(env, code);
}

}  // namespace

NAPI_MODULE_INIT(/* napi_env env, napi_value exports */) {
  auto* environment = new Environment;
  napi_set_instance_data(env, environment, nullptr, nullptr);
  napi_add_env_cleanup_hook(env, closeEnvironment, environment);
  const napi_property_descriptor functions[] = {
      {"create", nullptr, create, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"instructionSets", nullptr, available, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"destroy", nullptr, destroy, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"allocate", nullptr, allocate, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"release", nullptr, release, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"write", nullptr, write, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"read", nullptr, read, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"run", nullptr, run, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
  };
  napi_define_properties(env, exports, sizeof functions / sizeof functions[0], functions);
  return exports;
}
