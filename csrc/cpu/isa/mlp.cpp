// The kernels for training small networks, of one instruction set: what every machine runs, 4 floats a vector.
#include <type_traits>

#include "policy.hpp"
#include "cpu/mlp_kernels.hpp"

#define GTP_LANES 4
#define GTP_MLP_ROWS 4

namespace gtp {
namespace {

#include "cpu/isa/simd.hpp"
#include "cpu/isa/mlp_epilogue.hpp"
#include "cpu/isa/mlp_products.hpp"
#include "cpu/isa/mlp_gradients.hpp"

}  // namespace

const MlpKernels kPortableMlp = {GTP_LANES, pack, unpack, pack_transposed, product, gradient, product_column,
                            gradient_column, column_sums, sinusoid, square_sum, adam};

}  // namespace gtp
