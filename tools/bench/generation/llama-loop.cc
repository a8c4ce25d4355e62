// The loop of llama.cpp's own benchmark on the library that node-llama-cpp ships, without Node and without sampling: one
// side of the generation benchmarks (harness/side.mjs), which it answers in lines of JSON.
//
// Usage: llama-loop LIBRARIES MODEL prefill|decode TOKENS BATCH THREADS PROBE. A call of `prefill` is a prompt of TOKENS;
// one of `decode` is a step of BATCH sequences of some TOKENS each. First come the logits after a prompt of PROBE tokens.
//
// The package has no headers. Parameters are passed as larger blocks of memory, which works as long as the callee reads
// and writes no more than its own, and fields are found by their published defaults; another layout ends the program.
#include <dlfcn.h>
#include <glob.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

struct Params {
  int32_t words[192];
};
/** llama_batch */
struct Batch {
  int32_t count;
  int32_t* tokens;
  float* embeddings;
  int32_t* positions;
  int32_t* sequenceCounts;
  int32_t** sequences;
  int8_t* logits;
};

[[noreturn]] static void refuse(const std::string& why) {
  std::printf("{\"why\":\"llama.cpp: %s\"}\n", why.c_str());
  std::fflush(stdout);
  std::_Exit(0);
}

static void* libraryIn(const char* directory, const char* pattern) {
  glob_t found;
  if (glob((std::string(directory) + "/" + pattern).c_str(), 0, nullptr, &found) != 0) refuse(std::string("no ") + pattern);
  void* library = dlopen(found.gl_pathv[0], RTLD_NOW | RTLD_GLOBAL);
  if (!library) refuse("a library does not load");
  return library;
}

static void* library;
template <class F>
static F function(const char* name) {
  void* found = dlsym(library, name);
  if (!found) found = dlsym(RTLD_DEFAULT, name);
  if (!found) refuse(std::string("no function ") + name);
  return (F)found;
}

static double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
static double processorSeconds() {
  rusage use;
  getrusage(RUSAGE_SELF, &use);
  return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}
/** A line of /proc/self/status, in MB. */
static double megabytes(const char* name) {
  FILE* file = std::fopen("/proc/self/status", "r");
  char line[256];
  long kibibytes = 0;
  while (file && std::fgets(line, sizeof line, file))
    if (std::strncmp(line, name, std::strlen(name)) == 0) kibibytes = std::atol(line + std::strlen(name) + 1);
  if (file) std::fclose(file);
  return (double)kibibytes * 1024 / 1e6;
}

static uint32_t state = 12345;
static int32_t vocabulary;
/** A token that is no control token: experts differ from token to token. */
static int32_t randomToken() {
  state = state * 1664525u + 1013904223u;
  return 300 + (int32_t)((state >> 8) % (uint32_t)(vocabulary - 300));
}

int main(int count, char** words) {
  if (count != 8) refuse("wrong arguments");
  const char* directory = words[1];
  const bool decoding = std::strcmp(words[3], "decode") == 0;
  const int tokens = std::atoi(words[4]), batch = std::atoi(words[5]), threads = std::atoi(words[6]), probe = std::atoi(words[7]);
  constexpr int chunk = 512, most = 64;  // tokens of a prompt at a time; steps before sequences are cut back
  libraryIn(directory, "libggml-base.so*");
  void* ggml = libraryIn(directory, "libggml.v*.so*");
  library = libraryIn(directory, "libllama.v*.so*");
  function<void (*)(void (*)(int, const char*, void*), void*)>("llama_log_set")([](int, const char*, void*) {}, nullptr);
  auto load = (void (*)(const char*))dlsym(ggml, "ggml_backend_load_all_from_path");
  if (!load) refuse("no function ggml_backend_load_all_from_path");
  load(directory);
  function<void (*)()>("llama_backend_init")();
  const Params modelParams = function<Params (*)()>("llama_model_default_params")();
  void* model = function<void* (*)(const char*, Params)>("llama_model_load_from_file")(words[2], modelParams);
  if (!model) refuse("the model does not load");
  Params params = function<Params (*)()>("llama_context_default_params")();
  int32_t* w = params.words;
  int size = -1, thread = -1;
  for (int i = 0; i < 8 && size < 0; i++)
    if (w[i] == 512 && w[i + 1] == 2048 && w[i + 2] == 512) size = i;
  for (int i = size + 3; size >= 0 && i < size + 12 && thread < 0; i++)
    if (w[i] == 4 && w[i + 1] == 4) thread = i;
  if (size < 0 || thread < 0 || w[size + 3] != 1) refuse("unknown layout of parameters");
  w[size] = batch * ((tokens + most + 2 + 255) / 256 * 256);  // then n_batch, n_ubatch, n_seq_max
  w[size + 1] = w[size + 2] = chunk;
  w[size + 3] = batch;
  w[thread] = w[thread + 1] = threads;
  void* context = function<void* (*)(void*, Params)>("llama_init_from_model")(model, params);
  if (!context) refuse("the context does not start");
  vocabulary = function<int (*)(void*)>("llama_vocab_n_tokens")(function<void* (*)(void*)>("llama_model_get_vocab")(model));
  auto decode = function<int (*)(void*, Batch)>("llama_decode");
  auto wait = function<void (*)(void*)>("llama_synchronize");
  auto logitsOf = function<float* (*)(void*, int)>("llama_get_logits_ith");
  void* memory = function<void* (*)(void*)>("llama_get_memory")(context);
  auto cut = function<bool (*)(void*, int, int, int)>("llama_memory_seq_rm");

  std::vector<int32_t> ids(chunk), positions(chunk), counts(chunk, 1), sequence(chunk);
  std::vector<int32_t*> sequences(chunk);
  std::vector<int8_t> wanted(chunk);
  for (int i = 0; i < chunk; i++) sequences[(size_t)i] = &sequence[(size_t)i];
  auto run = [&](int n) {
    if (decode(context, {n, ids.data(), nullptr, positions.data(), counts.data(), sequences.data(), wanted.data()}) != 0)
      refuse("a batch failed");
    wait(context);
  };
  auto prompt = [&](int s, int length, bool random) {
    cut(memory, s, -1, -1);
    for (int done = 0; done < length;) {
      const int n = length - done < chunk ? length - done : chunk;
      for (int i = 0; i < n; i++) {
        ids[(size_t)i] = random ? randomToken() : 300 + 7 * (done + i);
        positions[(size_t)i] = done + i;
        sequence[(size_t)i] = s;
        wanted[(size_t)i] = done + i == length - 1;
      }
      run(n);
      done += n;
    }
  };
  auto step = [&](int position) {
    for (int s = 0; s < batch; s++) {
      ids[(size_t)s] = randomToken();
      positions[(size_t)s] = position;
      sequence[(size_t)s] = s;
      wanted[(size_t)s] = 1;
    }
    run(batch);
  };

  prompt(0, probe, false);
  const float* logits = logitsOf(context, -1);
  std::printf("{\"name\":\"llama.cpp\",\"check\":[],\"cpu\":%.3f,\"details\":{\"threads\":%d,\"logits\":[", processorSeconds(), threads);
  for (int i = 0; i < 1024; i++) std::printf("%s%.5g", i ? "," : "", (double)logits[i]);
  std::printf("]}}\n");
  std::fflush(stdout);
  cut(memory, 0, -1, -1);
  if (decoding)
    for (int s = 0; s < batch; s++) prompt(s, tokens, true);
  char line[256];
  while (std::fgets(line, sizeof line, stdin)) {
    int calls = 0;
    if (std::sscanf(line, "{\"calls\":%d", &calls) != 1) refuse("expected calls");
    double seconds = 0;
    for (int i = 0; i < calls; i++) {
      if (decoding && i % most == 0) {
        for (int s = 0; s < batch; s++) cut(memory, s, tokens, -1);
        step(tokens);
      }
      const double start = now();
      if (decoding) step(tokens + 1 + i % most);
      else prompt(0, tokens, true);
      seconds += now() - start;
    }
    std::printf("{\"seconds\":%.6f,\"megabytes\":%.1f,\"resident\":%.1f,\"cpu\":%.3f}\n", seconds, megabytes("VmHWM:"),
                megabytes("VmRSS:"), processorSeconds());
    std::fflush(stdout);
  }
  std::_Exit(0);
}
