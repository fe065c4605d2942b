// Chooses the instruction set at run time.
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels.hpp"

namespace gtp {

int supported_kernels(const Kernels* (&all)[kMostKernels]) {
  int count = 0;
  all[count++] = &kPortableKernels;
#if defined(__x86_64__) || defined(_M_X64)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    all[count++] = &kAvx2Kernels;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")) {
      all[count++] = &kAvx512Kernels;
      if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni"))
        all[count++] = &kAvx512Bf16Kernels;
    }
  }
#elif defined(__aarch64__)
  all[count++] = &kNeonKernels;
#endif
  return count;
}

const Kernels& select_kernels(const char* name) {
  const Kernels* all[kMostKernels];
  const int count = supported_kernels(all);
  if (*name == '\0') {
    const char* wish = std::getenv("GTP_FAST_ISA");
    if (wish == nullptr || *wish == '\0') return *all[count - 1];
    name = wish;
  }
  std::string offered;
  for (int i = 0; i < count; ++i) {
    if (std::strcmp(all[i]->name, name) == 0) return *all[i];
    offered += (i ? ", " : "") + std::string(all[i]->name);
  }
  throw std::invalid_argument("instruction set '" + std::string(name) + "' is not one of those this machine runs: " +
                              offered);
}

}  // namespace gtp
