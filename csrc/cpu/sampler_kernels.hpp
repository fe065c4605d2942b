// The sampler's inner loops, compiled once for each instruction set, and the packed layout that they read.
#pragma once

#include <cstddef>
#include <cstdint>

#include "policy.hpp"

namespace gtp {

// Rows that go through all K steps together: their activations fit a second-level cache.
constexpr int kBlockRows = 48;

// One seed's packed policy, offsets in floats. Weights lie in panels of two vectors' width, [out / panel][in][panel],
// so that the inner loop reads memory in order; columns are padded with zeros. The hidden layers' weights are float32;
// or bf16, and their inputs too where the instruction set multiplies pairs of them; or int8 (isa/layers_int8.hpp).
struct PackedLayout {
  Shape shape;
  Precision precision;  // of the hidden layers
  int lanes, panel, last_lanes;
  int width;   // H padded to a panel
  int action;  // A padded to a vector of the last layer
  int stride;  // between rows of activations: off the power of two, so that rows do not share a cache set
  size_t zeros;  // a bias of zeros
  size_t first_action, first_observation, step_bias, hidden_weight, hidden_bias, last_weight, last_bias;
  size_t hidden_weight_size, seed_size, scratch;
};

// The noise of a block of rows: draws that lie `stride` floats apart, or, where `rows` is null, numbers drawn by
// counter: draw k of row b of a batch of B rows has row k B + b of the stream.
struct Noise {
  const float* rows;
  int64_t stride;
  uint64_t key;
  uint32_t step;
  int64_t first, batch;
};
constexpr uint32_t kActStream = 6;

struct SamplerKernels {
  const char* name;  // of the instruction set
  int lanes, last_lanes;
  // Map rows (at most kBlockRows) of observation and noise to clipped actions, through all K steps.
  void (*sample)(const PackedLayout&, const float* packed, const StepSchedule&, float initial_scale,
                 const float* observation, const Noise&, float* out, int rows, float* scratch);
  // Pack one hidden weight [inputs, outputs] as bf16; `to` holds zeros.
  void (*pack_bfloat16)(const float* weight, int inputs, int outputs, float* to);
  // The same as int8, its columns padded to `width`.
  void (*pack_int8)(const float* weight, int inputs, int outputs, int width, float* to);
  // Normals and integers by counter, of one key.
  void (*normals)(uint64_t key, uint32_t step, uint32_t stream, uint32_t first, int64_t rows, int columns, float* out);
  void (*integers)(uint64_t key, uint32_t step, uint32_t stream, int64_t rows, uint32_t bound, int64_t* out);
};

}  // namespace gtp
