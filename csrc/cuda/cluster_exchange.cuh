// How the blocks of a cluster share a layer's results: each has all columns in its own copy. Both ways compute the same
// bits. A layer's results go where those of the layer before last were.
#pragma once

#include "cuda/products.cuh"

namespace gtp {

constexpr int kClusterBlocks = 8;
constexpr int kClusterWarps = 8;  // of a block
constexpr int kClusterThreads = 32 * kClusterWarps;

// Counts of arrivals that a block's shared memory has room for.
inline __host__ __device__ int cluster_counts(int layers) { return layers < 2 ? 2 : layers; }

// Stores to every block, then a barrier of the cluster, which fences the whole GPU's memory too.
template <class Product>
class BarrierExchange {
 public:
  using P = Product;
  using Number = typename P::Number;

#if GTP_CLUSTERS
  __device__ BarrierExchange(Arrivals*, int, int, int) {}

  // Takes the results in row r and columns j and j + 1 of the group at `to`, which `copies` lanes hold.
  __device__ __forceinline__ void take(Number* to, int stride, int r, int j, float u, float v, int copy, int copies) {
    for (int block = copy; block < kClusterBlocks; block += copies)
      P::store(cluster_peer(to + r * stride + j, block), u, v);
  }

  // Sends what the warp has taken of a group.
  __device__ __forceinline__ void send(Number*, int) {}

  // Waits for all groups of all blocks.
  __device__ __forceinline__ void wait() { cluster_barrier(); }
#endif
};

// Stores that the receiving block counts: a block waits for what it lacks, and for nothing else. In bf16 16 bytes are a
// row of a group.
//
// A count serves each layer of a step, by turns, at least two. So a block that is a layer ahead counts elsewhere; it
// cannot be two ahead, as it waits for the results of the layer between. And a warp that has no group, which nobody
// waits for, does not miss a phase: the next of the same count ends after the step does, with a barrier of the block.
// For the same reason nobody writes over what another block has yet to read: who sends a layer has all of the layer
// before, and with it the word of every warp that it has read the one before that.
class CountedExchange {
 public:
  using P = TensorProduct<Bf16>;
  using Number = P::Number;
  static_assert(P::kUnit.columns * sizeof(Number) == sizeof(float4), "a row of a group is one store");

#if GTP_CLUSTERS
  __device__ CountedExchange(Arrivals* arrivals, int layers, int groups, int rank)
      : arrivals_(arrivals), counts_(cluster_counts(layers)), rank_(rank) {
    // A warp arrives with each of its groups.
    for (int i = threadIdx.x; i < counts_; i += blockDim.x) start_arrivals(arrivals + i, groups);
  }

  __device__ __forceinline__ void take(Number*, int, int r, int, float u, float v, int, int) {
    if (r < 8)
      upper_ = pack_bf16(u, v);
    else
      lower_ = pack_bf16(u, v);
  }

  __device__ __forceinline__ void send(Number* to, int stride) {
    // Lane 4 r + t has columns 2 t and 2 t + 1 of rows r and r + 8. It gathers row r if t is even, r + 8 if t is odd,
    // and sends it to half of the blocks.
    const int lane = threadIdx.x % 32;
    const bool odd = lane % 2 == 1, right = lane / 2 % 2 == 1;
    const uint32_t own = odd ? lower_ : upper_, other = __shfl_xor_sync(0xffffffffu, odd ? upper_ : lower_, 1);
    const uint32_t a = odd ? other : own, b = odd ? own : other;
    const uint32_t c = __shfl_xor_sync(0xffffffffu, a, 2), d = __shfl_xor_sync(0xffffffffu, b, 2);
    const float4 row = make_float4(__uint_as_float(right ? c : a), __uint_as_float(right ? d : b),
                                   __uint_as_float(right ? a : c), __uint_as_float(right ? b : d));
    float4* const at = reinterpret_cast<float4*>(to + (lane / 4 + (odd ? 8 : 0)) * stride);
    Arrivals* const count = arrivals_ + count_;
    constexpr int kHalf = kClusterBlocks / 2;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      if (i == 0 && !right)
        *at = row;
      else
        store_remote(at, row, count, (rank_ + i + (right ? kHalf : 0)) % kClusterBlocks);
    }
    __syncwarp();
    // As many bytes come of the same group of each other block as this one has kept.
    constexpr int kBytes = P::kRows * P::kUnit.columns * static_cast<int>(sizeof(Number));
    if (lane == 0) expect_arrivals(count, (kClusterBlocks - 1) * kBytes);
  }

  __device__ __forceinline__ void wait() {
    await_arrivals(arrivals_ + count_, parity_);
    if (++count_ < counts_) return;
    count_ = 0;
    parity_ ^= 1;
  }

 private:
  Arrivals* arrivals_;
  int counts_, rank_, count_ = 0, parity_ = 0;
  uint32_t upper_ = 0, lower_ = 0;
#endif
};

}  // namespace gtp
