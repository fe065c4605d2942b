// The kernels of one instruction set: what every machine runs, 4 floats a vector.
#include "kernels.hpp"

#define GTP_LANES 4
#define GTP_LAST_LANES 4
#define GTP_ROWS 4

namespace gtp {
namespace {

#include "simd.hpp"
#include "random_cpu.hpp"
#include "layers_cpu.hpp"
#include "products_int8.hpp"
#include "layers_int8.hpp"
#include "rows_cpu.hpp"

}  // namespace

const Kernels kPortableKernels = {"portable", GTP_LANES, GTP_LAST_LANES, sample_rows, pack_bfloat16,
                                  pack_int8, normals_array, integers_array};

}  // namespace gtp
