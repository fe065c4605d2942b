// The kernels for training small networks, of one instruction set: avx2, 8 floats a vector.
#include <immintrin.h>

#include <type_traits>

#include "policy.hpp"
#include "cpu/mlp_kernels.hpp"

#define GTP_AVX2
#define GTP_LANES 8
#define GTP_MLP_ROWS 6

namespace gtp {
namespace {

#include "cpu/isa/simd.hpp"
#include "cpu/isa/mlp_epilogue.hpp"
#include "cpu/isa/mlp_products.hpp"
#include "cpu/isa/mlp_gradients.hpp"

}  // namespace

const MlpKernels kAvx2Mlp = {GTP_LANES, pack, unpack, pack_transposed, product, gradient, product_column,
                            gradient_column, column_sums, sinusoid, square_sum, adam};

}  // namespace gtp
