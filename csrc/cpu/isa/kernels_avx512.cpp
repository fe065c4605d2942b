// The kernels of one instruction set: avx512, 16 floats a vector.
#include <immintrin.h>

#include "cpu/dispatch.hpp"

#define GTP_AVX512
#define GTP_LANES 16
#define GTP_LAST_LANES 8
#define GTP_ROWS 12

namespace gtp {
namespace {

#include "cpu/isa/simd.hpp"
#include "cpu/isa/random.hpp"
#include "cpu/isa/layers.hpp"
#include "cpu/isa/products_int8.hpp"
#include "cpu/isa/layers_int8.hpp"
#include "cpu/isa/steps.hpp"

}  // namespace

const Kernels kAvx512Kernels = {"avx512", GTP_LANES, GTP_LAST_LANES, sample_rows, pack_bfloat16,
                                pack_int8, normals_array, integers_array};

}  // namespace gtp
