// The matrix product of one warp by bf16 weights in the order of the parameters, without packing.
#pragma once

#include "cuda/products.cuh"

namespace gtp {

// Multiplies 16 rows of x in shared memory by eight columns; `each` as in products.cuh. kByInput: the weights of an
// input are neighbours, [depth, 8]; otherwise those of a column are, [8, w_stride]. depth: a multiple of 32.
template <bool kByInput, class Each>
__device__ __forceinline__ void multiply_plain(const uint16_t* x, int stride, const uint16_t* w, int w_stride,
                                               int depth, Each&& each) {
  using P = TensorProduct<Bf16>;
  const int lane = threadIdx.x % 32;
  const uint16_t* row = kByInput ? w + 8 * lane : w + lane % 8 * w_stride + lane / 8 * 8;
  // Two chains of products hide half of their latency.
  float even[4] = {}, odd[4] = {};
#pragma unroll 4
  for (int k = 0; k < depth; k += 32) {
    uint32_t a[4], b[4];
    if constexpr (kByInput)
      load_transposed(b, row);
    else
      load_matrices(b, row);
    row += kByInput ? 32 * 8 : 32;
    P::load(a, x + k, stride);
    multiply_bf16(even, a, b[0], b[1]);
    P::load(a, x + k + 16, stride);
    multiply_bf16(odd, a, b[2], b[3]);
  }
  const int r = lane / 4, j = 2 * (lane % 4);
  each(r, j, even[0] + odd[0], even[1] + odd[1]);
  each(r + 8, j, even[2] + odd[2], even[3] + odd[3]);
}

}  // namespace gtp
