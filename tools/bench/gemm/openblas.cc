// OpenBLAS's side of the gemm benchmark: `openblas M N K`, a process that answers JSON lines as those of
// tools/bench/harness/serve.mjs do. Link with -lopenblas; OPENBLAS_NUM_THREADS sets its threads. Its result is
// held to the rounding bound of a sum of K products, as the other sides' are.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

extern "C" {
void cblas_sgemm(int order, int transA, int transB, int m, int n, int k, float alpha, const float* a, int lda,
                 const float* b, int ldb, float beta, float* c, int ldc);
char* openblas_get_config(void);
char* openblas_get_corename(void);
}
constexpr int rowMajor = 101, noTranspose = 111;

static double cpu_seconds() { return (double)std::clock() / CLOCKS_PER_SEC; }

int main(int count, char** words) {
  if (count != 4) return 2;
  const int m = std::atoi(words[1]), n = std::atoi(words[2]), k = std::atoi(words[3]);
  std::vector<float> a((size_t)m * k), b((size_t)k * n), c((size_t)m * n);
  unsigned state = 1;
  auto draw = [&] { return (float)((state = state * 1664525u + 1013904223u) >> 8) / (1 << 24) - 0.5f; };
  for (float& x : a) x = draw();
  for (float& x : b) x = draw();
  auto product = [&] {
    cblas_sgemm(rowMajor, noTranspose, noTranspose, m, n, k, 1, a.data(), k, b.data(), n, 0, c.data(), n);
  };
  product();
  for (int spot = 0; spot < 64; spot++) {
    const size_t i = (size_t)((draw() + 0.5f) * m), j = (size_t)((draw() + 0.5f) * n);
    double sum = 0, size = 0;
    for (size_t p = 0; p < (size_t)k; p++) {
      const double term = (double)a[i * k + p] * b[p * n + j];
      sum += term;
      size += std::fabs(term);
    }
    if (!(std::fabs(c[i * n + j] - sum) <= k * std::ldexp(1, -24) * size)) {
      std::printf("{\"why\":\"OpenBLAS gave %g where %g was expected\"}\n", c[i * n + j], sum);
      return 0;
    }
  }
  char version[64] = "OpenBLAS";
  std::sscanf(openblas_get_config(), "%63[^ ] %20[^ ]", version, version + 9);
  version[8] = ' ';
  std::printf("{\"name\":\"%s %s\",\"cpu\":%g}\n", version, openblas_get_corename(), cpu_seconds());
  std::fflush(stdout);
  char line[256];
  int calls = 0;
  while (std::fgets(line, sizeof line, stdin) && std::sscanf(line, "{\"calls\":%d}", &calls) == 1) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; i++) product();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    std::printf("{\"seconds\":%.9g,\"cpu\":%g}\n", taken.count(), cpu_seconds());
    std::fflush(stdout);
  }
}
