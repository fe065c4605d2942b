// The K-step sampler of S policies on a CUDA device. Every call is one launch or one set of copies on the stream
// that it is given, waits for nothing and allocates nothing, so it can be captured in a CUDA graph.
#pragma once

#include <memory>

#include "flow_map.hpp"

namespace gtp {

struct CudaArguments;

// How a batch is run: the kernel and its rows a block.
struct CudaPlan {
  bool latency;
  int rows_per_block;
};

class CudaSampler {
 public:
  // Allocates on the current device. Throws std::invalid_argument when the sizes do not fit its shared memory and
  // std::runtime_error with CUDA's own text when CUDA fails.
  explicit CudaSampler(const Shape& shape);
  ~CudaSampler();
  CudaSampler(const CudaSampler&) = delete;
  CudaSampler& operator=(const CudaSampler&) = delete;

  // Copy a flat policy (FlatLayout) from device memory or pinned host memory, which must stay until the stream has
  // passed. A captured graph keeps the initial scale it was captured with.
  void load(const float* flat, float initial_scale, void* stream);

  // observation [S, B, O], noise [S, B, A] or, where noise is added, [S, K, B, A] -> out [S, B, A], all on the device.
  void sample(const float* observation, const float* noise, float* out, int64_t rows, void* stream) const;

  CudaPlan plan(int64_t rows) const;
  const Shape& shape() const { return shape_; }
  const FlatLayout& flat() const { return flat_; }
  int device() const { return device_; }

 private:
  size_t shared_bytes(const CudaPlan& plan) const;

  Shape shape_;
  FlatLayout flat_;
  std::unique_ptr<CudaArguments> arguments_;
  float* policy_ = nullptr;
  bool loaded_ = false;
  int device_ = 0, multiprocessors_ = 0;
  size_t shared_limit_ = 0;
};

}  // namespace gtp
