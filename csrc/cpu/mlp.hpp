// Small multilayer perceptrons of G groups on the CPU: forward, and every gradient.
#pragma once

#include <cstddef>
#include <vector>

#include "policy.hpp"

namespace gtp {

// Parameters of one layer of every group, or their gradients: weight [G, in, out], rows contiguous, and bias [G, out].
struct LayerPointers {
  float *weight, *bias;
  size_t weight_stride, bias_stride;  // between groups
  // Of the layer norm that follows the activation, [G, out] each; null where there is none.
  float *scale = nullptr, *shift = nullptr;
  size_t scale_stride = 0, shift_stride = 0;
};

// Part of the input, [groups, rows, width]. Where it has fewer groups than the network, neighbours share one; where it
// has fewer rows, they repeat.
struct Piece {
  const float* data;
  int width, groups, rows;
};

// Values [G, B, out] or their gradients, `stride` apart from row to row.
template <class T>
struct Output {
  T* data;
  size_t stride;
};

// `sizes`: input, hidden layers, output. Every layer but the last has the activation.
struct MlpShape {
  int groups = 0, rows = 0;
  std::vector<int> sizes;
  Activation activation = Activation::kMish;
  // Whether products read bf16 (bf16_kernels.hpp); a layer with one output reads float32 all the same.
  bool bf16 = false;
  bool norm = false;  // whether a layer norm follows every activation

  int layers() const { return static_cast<int>(sizes.size()) - 1; }
};

// Returns the shape; throws std::invalid_argument that names what is out of range.
const MlpShape& checked(const MlpShape& shape);

// How many floats `mlp_forward` saves for `mlp_backward`.
size_t saved_size(const MlpShape& shape);

// y of the pieces of x side by side; unless `saved` is null, writes there what `mlp_backward` needs. Every element is
// one chain of multiply-adds, so its bits do not depend on the number of threads.
void mlp_forward(const MlpShape& shape, const std::vector<Piece>& x, const std::vector<LayerPointers>& layers,
                 const Output<float>& y, float* saved, int threads);

// From dy: the gradients of all parameters, unless `gradients` is empty, and dx [G, B, width] of each piece of x,
// unless null.
void mlp_backward(const MlpShape& shape, const Output<const float>& dy, const std::vector<LayerPointers>& layers,
                  const float* saved, const std::vector<Piece>& x, const std::vector<float*>& dx,
                  const std::vector<LayerPointers>& gradients, int threads);

}  // namespace gtp
