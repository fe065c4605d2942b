// What one instruction set offers, and the packed layout its inner loops read.
#pragma once

#include <cstddef>
#include <cstdint>

#include "policy.hpp"

namespace gtp {

// Rows that go through all K steps together: their activations fit a second-level cache.
constexpr int kBlockRows = 48;

// What the hidden layers' products read: weights as they are; rounded to bfloat16, and their inputs too where the
// instruction set multiplies pairs of them; or weights of 8 bits and inputs of 16, as layers_int8.hpp has it.
enum class Products { kFloat32, kBfloat16, kInt8 };

// One seed's packed policy, offsets in floats. Weights lie in panels of two vectors' width, [out / panel][in][panel],
// so that the inner loop reads memory in order; columns are padded with zeros.
struct PackedLayout {
  Shape shape;
  Products products;
  int lanes, panel, last_lanes;
  int width;   // H padded to a panel
  int action;  // A padded to a vector of the last layer
  int stride;  // between rows of activations: off the power of two, so that rows do not share a cache set
  size_t zeros;  // a bias of nothing
  size_t first_action, first_observation, step_bias, hidden_weight, hidden_bias, last_weight, last_bias;
  size_t hidden_weight_size, seed_size, scratch;
};

struct Schedule {
  const float* steps;  // [7, K], the fields of Step
  float initial_scale;
};

// Where the noise of a block comes from: draws that lie `stride` floats apart, or, where `rows` is null, the counter:
// draw k of row b of a batch of B rows has row k B + b of the stream.
struct Noise {
  const float* rows;
  int64_t stride;
  uint64_t key;
  uint32_t step;
  int64_t first, batch;
};
constexpr uint32_t kActStream = 6;

struct Kernels {
  const char* name;
  int lanes, last_lanes;
  // Map rows (at most kBlockRows) of observation and noise to clipped actions, through all K steps.
  void (*sample)(const PackedLayout&, const float* packed, const Schedule&, const float* observation,
                 const Noise&, float* out, int rows, float* scratch);
  // Pack one hidden weight [inputs, outputs] as bfloat16; `to` holds zeros.
  void (*pack_bfloat16)(const float* weight, int inputs, int outputs, float* to);
  // The same as int8, its columns padded to `width`.
  void (*pack_int8)(const float* weight, int inputs, int outputs, int width, float* to);
  void (*normals)(uint64_t key, uint32_t step, uint32_t stream, uint32_t first, int64_t rows, int columns, float* out);
  void (*integers)(uint64_t key, uint32_t step, uint32_t stream, int64_t rows, uint32_t bound,
                   int64_t* out);
};

extern const Kernels kPortableKernels;
#if defined(__x86_64__) || defined(_M_X64)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAvx512Bf16Kernels;
#elif defined(__aarch64__)
extern const Kernels kNeonKernels;
#endif

// The kernels named "portable", "avx2", "avx512", "avx512bf16" or "neon"; the widest this machine runs when the name is
// empty (then the environment's GTP_FAST_ISA may name one). Throws std::invalid_argument for one that is unknown or not
// supported.
const Kernels& select_kernels(const char* name);

constexpr int kMostKernels = 4;

// How many of `all_kernels` this machine runs, narrowest first.
int supported_kernels(const Kernels* (&all)[kMostKernels]);

}  // namespace gtp
