// Small multilayer perceptrons of G groups on the CPU: forward, every gradient, and the optimiser's pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/mlp_kernels.hpp"

namespace gtp {

// Parameters of one layer of every group, or their gradients: weight [G, in, out], rows contiguous, and bias [G, out].
struct LayerPointers {
  float *weight, *bias;
  size_t weight_stride, bias_stride;  // between groups
};

// Part of the input, [groups, rows, width]: one with fewer groups serves neighbours, one with fewer rows repeats them.
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

// `sizes` are those of input, hidden layers and output. Activation after every layer but the last.
struct MlpShape {
  int groups = 0, rows = 0;
  std::vector<int> sizes;
  Activation activation = Activation::kMish;
  // Whether products read bfloat16 (bf16_kernels.hpp); those of a single output read float32 all the same.
  bool rounds = false;

  int layers() const { return static_cast<int>(sizes.size()) - 1; }
};

// The shape itself; throws std::invalid_argument that names what is out of range.
const MlpShape& checked(const MlpShape& shape);

// How many floats `forward` keeps for `backward`.
size_t saved_size(const MlpShape& shape);

// y of the pieces of x side by side; keeps in `saved`, unless null, what `backward` needs. Every element is one chain of
// multiply-adds, so its bits do not depend on the number of threads.
void mlp_forward(const MlpShape& shape, const std::vector<Piece>& x, const std::vector<LayerPointers>& layers,
                 const Output<float>& y, float* saved, int threads);

// From dy the gradients of weights and biases, unless `gradients` is empty, and of each piece of x whose dx [G, B, width]
// is not null.
void mlp_backward(const MlpShape& shape, const Output<const float>& dy, const std::vector<LayerPointers>& layers,
                  const float* saved, const std::vector<Piece>& x, const std::vector<float*>& dx,
                  const std::vector<LayerPointers>& gradients, int threads);

struct AdamArrays {
  float *parameter, *first, *second, *average;
  const float* gradient;
  int seeds;
  size_t count;  // of each seed
};

// What says which seeds learn: the loss [S], the largest that counts, and the update [S] at which a seed diverged, -1
// for one that has not.
struct Health {
  const float* loss;
  double limit;
  int64_t* diverged;
};

// One step of Adam and of the moving average for each seed, after its gradient's norm [S] has been taken and clipped to
// max_norm. A seed whose loss is beyond the limit or whose norm is not finite is left as it is, from then on.
void adam_step(const AdamArrays& arrays, const float* rate, double updates, double first_beta, double second_beta,
               double epsilon, double average_rate, double max_norm, const Health& health, float* norm, int threads);

// Add metrics [rows, S] to total, and note in bad_step [losses, S], -1 before, the step at which a loss, which the first
// rows are, is first not finite or beyond its limit [losses].
void account(const float* metrics, int rows, int losses, int seeds, const float* limits, int64_t step, float* total,
             int64_t* bad_step);

}  // namespace gtp
