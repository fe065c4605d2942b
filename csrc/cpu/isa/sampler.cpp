// The kernels of one instruction set: what every machine runs, 4 floats a vector.
#include "cpu/dispatch.hpp"

#define GTP_LANES 4
#define GTP_LAST_LANES 4
#define GTP_ROWS 4

namespace gtp {
namespace {

#include "cpu/isa/simd.hpp"
#include "cpu/isa/random.hpp"
#include "cpu/isa/layers.hpp"
#include "cpu/isa/products_int8.hpp"
#include "cpu/isa/layers_int8.hpp"
#include "cpu/isa/steps.hpp"

}  // namespace

const Kernels kPortableKernels = {"portable", GTP_LANES, GTP_LAST_LANES, sample_rows, pack_bfloat16,
                                  pack_int8, normals_array, integers_array};

}  // namespace gtp
