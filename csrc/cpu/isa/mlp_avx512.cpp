// The kernels for training small networks, of one instruction set: avx512, 16 floats a vector.
#include <immintrin.h>

#include <type_traits>

#include "policy.hpp"
#include "cpu/mlp_kernels.hpp"

#define GTP_AVX512
#define GTP_LANES 16
#define GTP_MLP_ROWS 12

namespace gtp {
namespace {

#include "cpu/isa/simd.hpp"
#include "cpu/isa/mlp_epilogue.hpp"
#include "cpu/isa/mlp_products.hpp"
#include "cpu/isa/mlp_gradients.hpp"

}  // namespace

const MlpKernels kAvx512Mlp = {GTP_LANES, pack, unpack, pack_transposed, product, gradient, product_column,
                            gradient_column, column_sums, sinusoid, square_sum, adam};

}  // namespace gtp
