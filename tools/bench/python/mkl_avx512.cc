// Preloaded into a Python peer, this lets MKL, PyTorch's matrix library, take its AVX-512 kernels on an AMD processor
// too, where it stays at AVX2 by itself: PyTorch as it would be on an Intel processor of the same speed.
extern "C" int mkl_serv_intel_cpu_true() { return 1; }
