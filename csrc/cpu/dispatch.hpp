// Chooses the instruction set of every kernel by the features of the processor, each feature by itself.
//
// GTP_FAST_ISA, read once, names a row of kInstructionSets that this machine runs: the choice is then limited to the
// features that the row allows. Unset, it uses all that the machine has, AMX too.
#pragma once

#include <string>

#include "policy.hpp"

namespace gtp {

struct SamplerKernels;
struct MlpKernels;
struct Bf16Kernels;

// kAvx2: with FMA. kAvx512: F, VL, BW and DQ. kAmx: tiles that multiply bf16.
enum Feature : unsigned { kNeon = 1, kAvx2 = 2, kAvx512 = 4, kVnni = 8, kBf16 = 16, kAmx = 32 };

// The instruction sets that cpu/isa/sampler.cpp is compiled for, narrow to wide; the rows of kInstructionSets.
enum class Isa { kPortable, kNeon, kAvx2, kAvx512, kAvx512Vnni, kAvx512Bf16 };

struct InstructionSet {
  const char* name;
  unsigned needs, allows;  // features that its code needs; features that its name allows
  int lanes, last_lanes;   // floats in a vector, and in a vector of the sampler's last layer
  int rows;                // of a register tile
};

constexpr unsigned kWideVectors = kAvx2 | kAvx512;
constexpr InstructionSet kInstructionSets[] = {
    {"portable", 0, 0, 4, 4, 4},
    {"neon", kNeon, kNeon, 4, 4, 10},
    {"avx2", kAvx2, kAvx2, 8, 8, 6},
    {"avx512", kWideVectors, kWideVectors, 16, 8, 12},
    {"avx512vnni", kWideVectors | kVnni, kWideVectors | kVnni, 16, 8, 12},
    {"avx512bf16", kWideVectors | kBf16, kWideVectors | kVnni | kBf16, 16, 8, 12},
};

constexpr const InstructionSet& set_of(Isa isa) { return kInstructionSets[static_cast<int>(isa)]; }

constexpr bool runs(const InstructionSet& set, unsigned features) { return (features & set.needs) == set.needs; }

// What multiplies bf16 in training; kNone: nothing.
enum class Bf16Layers { kNone, kAvx512, kAmx };

struct Choice {
  Isa fp32, bf16, int8;  // the sampler, by what its hidden layers read
  Isa training;          // networks and optimiser
  Bf16Layers bf16_layers;
};

constexpr Choice choose(unsigned features) {
  Isa widest = Isa::kPortable;
  for (const Isa isa : {Isa::kNeon, Isa::kAvx2, Isa::kAvx512})
    if (runs(set_of(isa), features)) widest = isa;
  const bool bf16 = runs(set_of(Isa::kAvx512Bf16), features), vnni = runs(set_of(Isa::kAvx512Vnni), features);
  return {widest, bf16 ? Isa::kAvx512Bf16 : widest, vnni ? Isa::kAvx512Vnni : widest,
          widest == Isa::kNeon ? Isa::kPortable : widest,
          !bf16 ? Bf16Layers::kNone : (features & kAmx) != 0 ? Bf16Layers::kAmx : Bf16Layers::kAvx512};
}

// The kernels that serve this process; std::invalid_argument if GTP_FAST_ISA names none that this machine runs.
// A sampler's by the precision of its hidden layers; random draws come from those of fp32.
const SamplerKernels& select_sampler(Precision precision);
const MlpKernels& select_mlp();
// Null where nothing multiplies bf16.
const Bf16Kernels* select_bf16();
// Name of the widest instruction set in use.
const char* isa_in_use();
// Puts `name` in the place of GTP_FAST_ISA and returns what was there. Only tests do so: no other call may be running,
// and what was built before, but a Sampler, must not be used while another name is in place.
std::string limit_isa(std::string name);

}  // namespace gtp
