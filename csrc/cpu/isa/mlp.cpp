// The training of small networks in one instruction set: compiled once for each width of vectors, named by GTP_ISA.
#include <type_traits>

#include "cpu/isa/set.hpp"
#include "cpu/mlp_kernels.hpp"

namespace gtp {
namespace {

#include "cpu/isa/simd.hpp"
#include "cpu/isa/mlp_epilogue.hpp"
#include "cpu/isa/mlp_products.hpp"
#include "cpu/isa/mlp_gradients.hpp"
#include "cpu/isa/mlp_norm.hpp"
#include "cpu/isa/mlp_packing.hpp"
#include "cpu/isa/embed.hpp"
#include "cpu/isa/adam.hpp"

}  // namespace

namespace GTP_ISA {

extern const MlpKernels kMlp;
const MlpKernels kMlp = {kLanes,   pack,           unpack,          pack_transposed, product,
                         gradient, product_column, gradient_column, column_sums,     normalise,
                         normalise_backward,       sinusoid,        square_sum,      adam};

}  // namespace GTP_ISA
}  // namespace gtp
