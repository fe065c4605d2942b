// The kernels for training small networks, of one instruction set: what every machine runs, 4 floats a vector.
#include <type_traits>

#include "flow_map.hpp"
#include "mlp_kernels.hpp"

#define GTP_LANES 4
#define GTP_MLP_ROWS 4

namespace gtp {
namespace {

#include "simd.hpp"
#include "mlp_epilogue.hpp"
#include "mlp_products.hpp"
#include "mlp_gradients.hpp"

}  // namespace

const MlpKernels kPortableMlp = {GTP_LANES, pack, unpack, pack_transposed, product, gradient, product_column,
                            gradient_column, column_sums, sinusoid, square_sum, adam};

}  // namespace gtp
