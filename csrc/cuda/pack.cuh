// Packs a policy's weights in units (units.hpp), from the padded layout that the fp32 kernels read.
#pragma once

#include "cuda/products.cuh"

namespace gtp {

constexpr int kPackThreads = 256;

// Packs weights [rows, columns] of one layer and seed, rows `stride` floats apart, into units from input `first` on;
// a row has `groups` units.
template <class P>
__device__ __forceinline__ void pack_layer(const float* from, int rows, int columns, int stride, int first, int groups,
                                           uint4* units) {
  using Number = typename P::Number;
  constexpr int kSize = P::kUnit.vectors * 16 / sizeof(Number);
  Number* const to = reinterpret_cast<Number*>(units);
  for (int i = blockIdx.x * kPackThreads + threadIdx.x; i < rows * columns; i += gridDim.x * kPackThreads) {
    const int k = first + i / columns, j = i % columns;
    const size_t unit = static_cast<size_t>(k / P::kUnit.depth) * groups + j / P::kUnit.columns;
    to[unit * kSize + P::place(k % P::kUnit.depth, j % P::kUnit.columns)] =
        P::number(from[static_cast<size_t>(i / columns) * stride + j]);
  }
}

// blockIdx.y is the seed. Places outside the weights are not written: they stay zero.
template <class P>
__global__ void __launch_bounds__(kPackThreads) pack_kernel(const __grid_constant__ CudaArguments p, uint4* units) {
  const UnitLayout& u = p.units_layout;
  const CudaPolicy policy(p, blockIdx.y);
  const int A = p.shape.action, H = p.shape.width;
  uint4* const to = units + blockIdx.y * u.seed_size;
  const size_t row = static_cast<size_t>(u.groups) * P::kUnit.vectors;
  pack_layer<P>(policy.first_action, A, H, p.width, 0, u.groups, to);
  pack_layer<P>(policy.first_observation, p.shape.observation, H, p.width, A, u.groups, to);
  for (int l = 0; l + 1 < p.shape.layers; ++l)
    pack_layer<P>(policy.hidden_weight + l * policy.next_weight, H, H, p.width, 0, u.groups,
                  to + (u.first_rows + l * u.hidden_rows) * row);
  pack_layer<P>(policy.last_weight, H, A, p.action, 0, u.last_groups, to + u.last);
}

}  // namespace gtp
