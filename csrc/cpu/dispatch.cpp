// Chooses the instruction set at run time.
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

#include "cpu/bf16_kernels.hpp"
#include "cpu/dispatch.hpp"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace gtp {
#if defined(__x86_64__) || defined(_M_X64)
namespace {

// Whether the processor has AMX with bfloat16 and the system lets this process use its tiles.
bool has_amx() {
#if defined(__linux__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kBf16 = 1u << 22, kTiles = 1u << 24;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kBf16) == 0 || (d & kTiles) == 0) return false;
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace
#endif

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

const Bf16Kernels* select_bf16() {
#if defined(__x86_64__) || defined(_M_X64)
  const char* const wish = std::getenv("GTP_FAST_ISA");
  if (&select_kernels("") != &kAvx512Bf16Kernels) return nullptr;
  static const bool amx = has_amx();
  return amx && (wish == nullptr || *wish == '\0') ? &kAmxLayers : &kAvx512Bf16Layers;
#else
  return nullptr;
#endif
}

}  // namespace gtp
