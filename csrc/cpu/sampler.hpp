// The K-step sampler of S policies on the CPU.
#pragma once

#include <memory>
#include <vector>

#include "cpu/sampler_kernels.hpp"
#include "cpu/versions.hpp"

namespace gtp {

struct AlignedDelete {
  void operator()(float* p) const;
};
using AlignedFloats = std::unique_ptr<float[], AlignedDelete>;
AlignedFloats reserve_floats(size_t count);   // not initialised: the system gives memory on first use
AlignedFloats allocate_floats(size_t count);  // zeros

// One field of every seed's policy; seeds lie `stride` floats apart.
struct PolicyField {
  const float* data;
  size_t stride;
};

// The numbers of S policies in separate arrays; the fields of FlatLayout, the schedule [7, K].
struct PolicyParts {
  PolicyField first_action, first_observation, step_bias, last_weight, last_bias;
  std::vector<PolicyField> hidden_weight, hidden_bias;
  const float* schedule;
};

class Sampler {
 public:
  // precision: fp32, bf16 or int8 products of the hidden layers; bf16 halves the weights that an action reads from the
  // cache, int8 quarters them. Throws std::invalid_argument for sizes out of range.
  Sampler(const Shape& shape, Precision precision);

  // Pack a flat policy (FlatLayout), or one in separate arrays. A call that samples meanwhile ends with the weights it
  // began with. Allocates only where every packed policy is in use: the first two times, and while others sample.
  void load(const float* flat, float initial_scale);
  void load(const PolicyParts& parts, float initial_scale);

  // observation [S, B, O], noise [S, B, A] ([S, K, B, A] where noise is added after a step) -> out [S, B, A]; the bits
  // do not depend on B or on threads.
  void sample(const float* observation, const float* noise, float* out, int64_t rows, int threads) const;

  // One policy, noise drawn by counter: key = seed, stream ACT, row = k B + row for draw k of a batch of B rows.
  void act(const float* observation, float* out, int64_t rows, uint64_t seed, uint32_t step, int threads) const;

  const Shape& shape() const { return layout_.shape; }
  const FlatLayout& flat() const { return flat_; }
  // Name of the instruction set.
  const char* isa() const { return kernels_.name; }

 private:
  struct Task {
    const float *observation, *noise;  // noise null: drawn by counter
    float* out;
    int64_t rows;
    uint64_t key;
    uint32_t step;
    int64_t blocks;
  };
  struct Policy {
    AlignedFloats packed, schedule;
    float initial_scale;
  };
  void run(const Task& task, int threads) const;
  void run_blocks(const Task& task, const Policy& policy, int64_t first, int64_t last) const;
  void pack(const PolicyParts& parts, Policy& policy) const;
  void pack_panels(const float* weight, int inputs, int outputs, int panel, float* to) const;

  const SamplerKernels& kernels_;
  PackedLayout layout_;
  FlatLayout flat_;
  Versions<Policy> policies_;
};

}  // namespace gtp
