// The K-step sampler of S policies on a CUDA device. Every call is one launch, or a few copies and one launch, on the
// given stream; it neither waits nor allocates, so it can be captured in a CUDA graph.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "policy.hpp"
#include "cuda/plan.hpp"

namespace gtp {

struct CudaArguments;

// Why the current device cannot run the sampler, in CUDA's own text; empty if it can.
std::string cuda_unavailable();

struct DeviceFree {
  void operator()(void* memory) const;
};

class CudaSampler {
 public:
  // Allocates on the current device. Throws std::invalid_argument when the sizes do not fit its shared memory and
  // std::runtime_error with CUDA's own text when CUDA fails.
  CudaSampler(const Shape& shape, Precision precision);
  ~CudaSampler();
  CudaSampler(const CudaSampler&) = delete;
  CudaSampler& operator=(const CudaSampler&) = delete;

  // Copy a flat policy (FlatLayout) from device memory or pinned host memory, which must stay valid until the stream
  // has passed the copy. A captured graph keeps its initial scale.
  void load(const float* flat, float initial_scale, void* stream);

  // Read a policy in place in device memory, which must stay valid: a FlatLayout with padded rows, the padding zero.
  // For batches of `rows` only: weights that they do not read are not packed. units: its weights as tensor cores read
  // them, likewise; null where they have to be packed.
  void take(const float* padded, float initial_scale, int64_t rows, void* stream, const void* units);
  // Bytes of the weights as tensor cores read them; 0 for a sampler that does not use them.
  size_t packed() const;
  const FlatLayout& padded() const;
  // Columns of a row of hidden width and of one of actions.
  std::pair<int, int> padded_rows() const;

  // observation [S, B, O], noise [S, B, A] or, if stochastic, [S, K, B, A] -> out [S, B, A], all on the device, by the
  // plan for the batch or any other of `plans`.
  void sample(const float* observation, const float* noise, float* out, int64_t rows, void* stream,
              const CudaPlan& plan) const;

  CudaPlan plan(int64_t rows) const;
  // All plans that this device can run.
  std::vector<CudaPlan> plans() const;
  // The choice for a batch in words.
  std::string describe(int64_t rows) const;
  const Shape& shape() const { return shape_; }
  const FlatLayout& flat() const { return flat_; }

 private:
  void prepare(const CudaPlan& plan) const;
  void pack(void* stream);
  int resident_clusters(const CudaPlan& plan) const;

  Shape shape_;
  FlatLayout flat_;
  Precision asked_;  // that of the arguments is fp32 where the one asked for does not fit
  std::unique_ptr<CudaArguments> arguments_;
  CudaDevice limits_{};
  std::unique_ptr<void, DeviceFree> policy_, units_;
  bool loaded_ = false;
  int device_ = 0;
};

}  // namespace gtp
