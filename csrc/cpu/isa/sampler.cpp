// The sampler and the random draws of one instruction set: compiled once for each, named by GTP_ISA.
#include "cpu/isa/set.hpp"
#include "cpu/sampler_kernels.hpp"

namespace gtp {
namespace {

#include "cpu/isa/simd.hpp"
#include "cpu/isa/random.hpp"
#include "cpu/isa/layers.hpp"
#include "cpu/isa/products_int8.hpp"
#include "cpu/isa/layers_int8.hpp"
#include "cpu/isa/steps.hpp"

}  // namespace

namespace GTP_ISA {

extern const SamplerKernels kSampler;
const SamplerKernels kSampler = {kOwn.name, kLanes,    kLastLanes, sample_rows, pack_bfloat16,
                                 pack_int8, normals, integers};

}  // namespace GTP_ISA
}  // namespace gtp
