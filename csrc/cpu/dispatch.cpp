#include "cpu/dispatch.hpp"

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>

#include "cpu/bf16_kernels.hpp"
#include "cpu/mlp_kernels.hpp"
#include "cpu/sampler_kernels.hpp"

#if defined(__x86_64__) || defined(_M_X64)
#define GTP_X86 1
#elif defined(__aarch64__)
#define GTP_ARM 1
#endif
#if GTP_X86 && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace gtp {

// cpu/isa/sampler.cpp and cpu/isa/mlp.cpp, each compiled for the instruction set of the name.
namespace portable {
extern const SamplerKernels kSampler;
extern const MlpKernels kMlp;
}  // namespace portable
#if GTP_X86
namespace avx2 {
extern const SamplerKernels kSampler;
extern const MlpKernels kMlp;
}  // namespace avx2
namespace avx512 {
extern const SamplerKernels kSampler;
extern const MlpKernels kMlp;
}  // namespace avx512
namespace avx512vnni {
extern const SamplerKernels kSampler;
}
namespace avx512bf16 {
extern const SamplerKernels kSampler;
}
#elif GTP_ARM
namespace neon {
extern const SamplerKernels kSampler;
}
#endif

namespace {

// GTP_FAST_ISA, empty if unset. Read when Python loads this and holds its lock: later another thread may be changing
// the environment, and what was built by one set must not run by another.
std::string limit = [] {
  const char* const name = std::getenv("GTP_FAST_ISA");
  return std::string(name == nullptr ? "" : name);
}();

unsigned features() {
#if GTP_X86
  unsigned found = 0;
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return found;
  found |= kAvx2;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq"))
    found |= kAvx512;
  if (__builtin_cpu_supports("avx512vnni")) found |= kVnni;
  if (__builtin_cpu_supports("avx512bf16")) found |= kBf16;
  return found;
#elif GTP_ARM
  return kNeon;
#else
  return 0;
#endif
}

#if GTP_X86
// kAmx if the processor has AMX with bf16 and the system lets this process use its tiles. Not part of `features`:
// asking reserves room for the tiles in the process, so only bf16 training asks.
unsigned amx() {
#if defined(__linux__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kBf16Tiles = 1u << 22, kTiles = 1u << 24;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kBf16Tiles) == 0 || (d & kTiles) == 0) return 0;
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0 ? unsigned{kAmx} : 0u;
#else
  return 0;
#endif
}
#endif

// The row that GTP_FAST_ISA names; null if it is unset.
const InstructionSet* named() {
  if (limit.empty()) return nullptr;
  const unsigned mine = features();
  std::string offered;
  for (const InstructionSet& set : kInstructionSets) {
    if (!runs(set, mine)) continue;
    if (limit == set.name) return &set;
    offered += (offered.empty() ? "" : ", ") + std::string(set.name);
  }
  throw std::invalid_argument("instruction set '" + limit + "' is not one of those this machine runs: " + offered);
}

unsigned usable() {
  const InstructionSet* const set = named();
  return features() & (set ? set->allows : ~0u);
}

const SamplerKernels& sampler_of(Isa isa) {
  switch (isa) {
#if GTP_X86
    case Isa::kAvx2: return avx2::kSampler;
    case Isa::kAvx512: return avx512::kSampler;
    case Isa::kAvx512Vnni: return avx512vnni::kSampler;
    case Isa::kAvx512Bf16: return avx512bf16::kSampler;
#elif GTP_ARM
    case Isa::kNeon: return neon::kSampler;
#endif
    default: return portable::kSampler;
  }
}

}  // namespace

const SamplerKernels& select_sampler(Precision precision) {
  const Choice choice = choose(usable());
  if (precision == Precision::kInt8) return sampler_of(choice.int8);
  return sampler_of(precision == Precision::kBf16 ? choice.bf16 : choice.fp32);
}

const MlpKernels& select_mlp() {
#if GTP_X86
  const Isa isa = choose(usable()).training;
  if (isa == Isa::kAvx512) return avx512::kMlp;
  if (isa == Isa::kAvx2) return avx2::kMlp;
#endif
  return portable::kMlp;
}

const Bf16Kernels* select_bf16() {
#if GTP_X86
  unsigned found = usable();
  if ((found & kBf16) != 0 && named() == nullptr) {
    static const unsigned tiles = amx();
    found |= tiles;
  }
  switch (choose(found).bf16_layers) {
    case Bf16Layers::kAmx: return &kAmxLayers;
    case Bf16Layers::kAvx512: return &kAvx512Bf16Layers;
    case Bf16Layers::kNone: break;
  }
#endif
  return nullptr;
}

std::string limit_isa(std::string name) { return std::exchange(limit, std::move(name)); }

const char* isa_in_use() {
  const unsigned found = usable();
  const char* name = "";
  for (const InstructionSet& set : kInstructionSets)
    if (runs(set, found)) name = set.name;
  return name;
}

}  // namespace gtp
