// A thread's part of a layer in the columns kernel (columns.cuh), and the stream of its weights.
#pragma once

#include "cuda/common.cuh"

namespace gtp {

constexpr int kColumnsThreads = 256;
constexpr int kInputs = 4;  // of a layer in a chunk
constexpr int kAhead = 3;   // chunks of a thread under way

// A thread has a group of four columns for one slice of a layer's inputs: every chunk in `slices`. A block has `groups`
// groups of a layer. Threads beyond the last slice or column have no part.
struct ColumnsPart {
  int groups, own, group, slice, slices;  // own: the group's number in the block, group: in the layer
  int others;                             // groups of the other blocks

  __device__ ColumnsPart(int width, int blocks, int rank) {
    const int all = width / 4;
    groups = (all + blocks - 1) / blocks;
    own = static_cast<int>(threadIdx.x) % groups;
    group = rank * groups + own;
    slice = static_cast<int>(threadIdx.x) / groups;
    slices = kColumnsThreads / groups;
    if (group >= all) slice = slices;
    const int rest = all - rank * groups;
    others = rest < groups ? all - rest : all - groups;
  }
  __device__ bool none() const { return slice >= slices; }
};

// A thread's weights in the order of their use: the observation's, then those of each step's layers but the last. Each
// thread has its own places in the ring [kAhead, kInputs, threads].
class ColumnsStream {
 public:
  __device__ ColumnsStream(const CudaArguments& p, const CudaPolicy& policy, const ColumnsPart& part, float4* ring)
      : p_(p), policy_(policy), part_(part), ring_(ring + threadIdx.x), row_(p.width),
        step_(part.slices * kInputs * row_), hidden_(p.shape.layers - 1), steps_(p.shape.steps) {
    begin(policy.first_observation, p.shape.observation);
    for (int i = 0; i < kAhead && !part.none(); ++i) fetch();
  }

  // Returns the next chunk's weights; their place takes the copy of a later chunk.
  __device__ __forceinline__ void take(float4 (&weights)[kInputs]) {
    wait_copies<kAhead - 1>();
#pragma unroll
    for (int i = 0; i < kInputs; ++i) weights[i] = ring_[place_ + i * kColumnsThreads];
    fetch();
  }

 private:
  __device__ __forceinline__ void fetch() {
    // A short layer has no chunk for some slices.
    while (left_ <= 0 && steps_ >= 0) next_layer();
    if (left_ >= kInputs) {
#pragma unroll
      for (int i = 0; i < kInputs; ++i) copy_async(ring_ + place_ + i * kColumnsThreads, at_ + i * row_);
    } else if (left_ > 0) {
      // Absent inputs repeat the first: they are multiplied by zeros, so they must be finite.
      for (int i = 0; i < kInputs; ++i)
        copy_async(ring_ + place_ + i * kColumnsThreads, at_ + (i < left_ ? i * row_ : 0));
    }
    commit_copies();
    at_ += step_;
    left_ -= part_.slices * kInputs;
    place_ = place_ == (kAhead - 1) * kInputs * kColumnsThreads ? 0 : place_ + kInputs * kColumnsThreads;
  }

  __device__ __forceinline__ void begin(const float* weights, int depth) {
    at_ = weights + kInputs * part_.slice * row_ + 4 * part_.group;
    left_ = depth - kInputs * part_.slice;
  }

  __device__ __forceinline__ void next_layer() {
    if (hidden_ + 1 < p_.shape.layers) {
      begin(policy_.hidden_weight + hidden_++ * policy_.next_weight, p_.shape.width);
    } else {
      hidden_ = 0;
      begin(policy_.first_action, --steps_ < 0 ? 0 : p_.shape.action);
    }
  }

  const CudaArguments& p_;
  const CudaPolicy& policy_;
  const ColumnsPart& part_;
  float4* const ring_;
  const int row_, step_;  // floats from an input's weights to the next one's, from a chunk's to the next one's
  const float* at_;          // the next chunk's weights
  int left_;                 // inputs from that chunk to the layer's end
  int hidden_, steps_;       // hidden layers begun in this step; steps to begin
  int place_ = 0;
};

}  // namespace gtp
