// The TD step of twin critics up to the deltas in one kernel: the target critics at the next actions, the online ones
// at the batch's, TD targets and losses, the deltas back through all layers; what kernels/mlp_pair.py and
// kernels/critic_backward.py do in two launches. Eight blocks hold all four networks in their shared memory, in bf16,
// each an eighth of the columns, and take 16 rows through them. The results of a layer go to all blocks, which count
// them (cluster_exchange.cuh). Each block computes the values and the TD error itself.
#pragma once

#include "cuda/critics_load.cuh"
#include "cuda/plain_product.cuh"

namespace gtp {

// z <- mish(z); returns its slope.
__device__ __forceinline__ float mish_with_slope(float& z) {
  const float e = fast_exp(fminf(z, kExpLimit));
  const float n = e * (e + 2.0f), inverse = fast_reciprocal(n + 2.0f);
  const float share = n * inverse, slope = share + (4.0f * z * inverse) * (e * (e + 1.0f) * inverse);
  z *= share;
  return slope;
}

// Unlike fminf and fmaxf they keep a NaN.
__device__ __forceinline__ float smaller(float a, float b) { return a < b || a != a ? a : b; }
__device__ __forceinline__ float larger(float a, float b) { return a > b || a != a ? a : b; }

class CriticsTile {
 public:
  using Number = CriticsMemory::Number;

  __device__ CriticsTile(const CriticsLoader& loader)
      : p_(loader.p), m_(loader.m), warp_(threadIdx.x / 32), rank_(loader.rank), seed_(loader.seed),
        first_(loader.first), x_(loader.at<Number>(m_.x[0])), next_(loader.at<Number>(m_.x[1])),
        slopes_(loader.at<float>(m_.slopes)), bias_(loader.at<float>(m_.bias)), last_(loader.at<float>(m_.last)),
        last_bias_(loader.at<float>(m_.last_bias)), values_(loader.at<float>(m_.values)),
        reward_(loader.at<float>(m_.reward)), mask_(loader.at<float>(m_.mask)),
        exchange_(loader.at<Arrivals>(m_.arrivals), m_.exchanges, 2 * m_.groups, rank_) {}

  // Takes both twins of the targets (network 0) or online critics (network 2) through all hidden layers.
  template <bool kOnline>
  __device__ __forceinline__ void forward(const Number* input, const Number* weights) {
    constexpr int kNetwork = kOnline ? 2 : 0;
    const CriticsShape& s = p_.shape;
    for (int l = 0; l < s.depth; ++l) {
      const int row = l == 0 ? 0 : m_.inputs + (l - 1) * s.width, stride = l == 0 ? m_.input_stride : m_.stride;
      layer([&](int twin, int g, Number* to) {
        const float* const bias = bias_ + ((kNetwork + twin) * s.depth + l) * m_.columns + g * kCriticColumns;
        const Number* const from = l == 0 ? input : x_ + twin * kCriticRows * m_.stride;
        multiply_plain<true>(from, stride, weights + twin * m_.forward + (g * m_.group_rows + row) * kCriticColumns, 0,
                             l == 0 ? m_.inputs : s.width, [&](int r, int j, float u, float v) {
                               u += bias[j];
                               v += bias[j + 1];
                               const float u_slope = mish_with_slope(u), v_slope = mish_with_slope(v);
                               if constexpr (kOnline) {
                                 store(slope_at(l, twin, r, g, j), u_slope, v_slope);
                                 write(p_.hidden, l, twin, r, g, j, u, v);
                               }
                               exchange_.take(to, m_.stride, r, j, u, v, 0, 1);
                             });
        exchange_.send(to, m_.stride);
      });
    }
  }

  // Q of both twins in every row, [2, kCriticRows]; of the targets the best of all passes so far.
  template <bool kOnline>
  __device__ __forceinline__ void values(bool first_pass) {
    constexpr int kNetwork = kOnline ? 2 : 0;
    const int lane = threadIdx.x % 32, H = p_.shape.width;
    float* const to = values_ + kNetwork * kCriticRows;
    for (int i = warp_; i < 2 * kCriticRows; i += kClusterWarps) {
      const int twin = kNetwork + i / kCriticRows;
      float sum = 0.0f;
      for (int k = lane; k < H; k += 32) sum = fmaf(float_of_bf16(x_[i * m_.stride + k]), last_[twin * H + k], sum);
      sum = warp_sum(sum) + last_bias_[twin];
      if (lane == 0) to[i] = first_pass ? sum : larger(to[i], sum);
    }
    // Nobody sends to where a slower warp still reads.
    __syncthreads();
  }

  // TD targets, losses, and the values' gradient, which replaces the values of the online critics.
  __device__ __forceinline__ void differentiate() {
    const int t = threadIdx.x, r = t % kCriticRows, twin = t / kCriticRows;
    if (t < 2 * kCriticRows) {
      const float best = smaller(values_[r], values_[kCriticRows + r]);
      const float target = reward_[r] + p_.discount * mask_[r] * best;
      float* const value = values_ + 2 * kCriticRows + t;
      const float d = *value - target, gradient = 2.0f / static_cast<float>(p_.rows) * d;
      *value = gradient;
      const bool live = first_ + r < p_.rows;
      float loss = live ? d * d : 0.0f;
#pragma unroll
      for (int mask = kCriticRows / 2; mask > 0; mask >>= 1) loss += __shfl_xor_sync(0xffffffffu, loss, mask);
      if (rank_ == 0) {
        const int64_t tiles = (p_.rows + kCriticRows - 1) / kCriticRows;
        if (live) p_.gradient[(2 * seed_ + twin) * p_.rows + first_ + r] = gradient;
        if (r == 0)
          p_.losses[(2 * seed_ + twin) * tiles + first_ / kCriticRows] = loss / static_cast<float>(p_.rows);
      }
    }
    __syncthreads();
  }

  // Takes the gradient of the values back to the deltas of all hidden layers; weights: of the layers after them.
  __device__ __forceinline__ void backward(const Number* weights) {
    const CriticsShape& s = p_.shape;
    const int top = s.depth - 1;
    const auto finish = [&](int l, int twin, int g, int r, int j, float u, float v, Number* to) {
      const float* const slope = slope_at(l, twin, r, g, j);
      u *= slope[0];
      v *= slope[1];
      write(p_.deltas, l, twin, r, g, j, u, v);
      exchange_.take(to, m_.stride, r, j, u, v, 0, 1);
    };
    layer([&](int twin, int g, Number* to) {
      const int r = threadIdx.x % 32 / 4, j = 2 * (threadIdx.x % 4);
      const float* const last = last_ + (2 + twin) * s.width + rank_ * m_.columns + g * kCriticColumns + j;
      const float* const gradient = values_ + (2 + twin) * kCriticRows;
#pragma unroll
      for (int row = r; row < kCriticRows; row += 8) {
        const float d = float_of_bf16(Bf16::number(gradient[row]));
        finish(top, twin, g, row, j, d * last[0], d * last[1], to);
      }
      if (top > 0) exchange_.send(to, m_.stride);
    }, top > 0);
    for (int l = top; l > 0; --l)
      layer([&](int twin, int g, Number* to) {
        const Number* const rows = weights + twin * m_.backward +
                                   ((l - 1) * m_.columns + g * kCriticColumns) * m_.stride;
        multiply_plain<false>(x_ + twin * kCriticRows * m_.stride, m_.stride, rows, m_.stride, s.width,
                              [&](int r, int j, float u, float v) { finish(l - 1, twin, g, r, j, u, v, to); });
        if (l > 1) exchange_.send(to, m_.stride);
      }, l > 1);
  }

 private:
  // Calls work(twin, group, where its results go) for each group; sent: then waits for those of all blocks.
  template <class Work>
  __device__ __forceinline__ void layer(Work&& work, bool sent = true) {
    for (int i = warp_; i < 2 * m_.groups; i += kClusterWarps) {
      const int twin = i / m_.groups, g = i % m_.groups;
      work(twin, g, next_ + twin * kCriticRows * m_.stride + rank_ * m_.columns + g * kCriticColumns);
    }
    if (!sent) return;
    exchange_.wait();
    Number* const swap = x_;
    x_ = next_;
    next_ = swap;
  }

  static __device__ __forceinline__ void store(float* at, float u, float v) {
    *reinterpret_cast<float2*>(at) = make_float2(u, v);
  }

  __device__ __forceinline__ float* slope_at(int l, int twin, int r, int g, int j) const {
    return slopes_ + ((l * 2 + twin) * kCriticRows + r) * m_.columns + g * kCriticColumns + j;
  }

  // Writes two numbers of the block's columns to [D, 2 S, B, H].
  __device__ __forceinline__ void write(float* to, int l, int twin, int r, int g, int j, float u, float v) const {
    if (first_ + r >= p_.rows) return;
    const int64_t row = (static_cast<int64_t>(l) * 2 * p_.seeds + 2 * seed_ + twin) * p_.rows + first_ + r;
    store(to + row * p_.shape.width + rank_ * m_.columns + g * kCriticColumns + j, u, v);
  }

  const CriticsArguments& p_;
  const CriticsMemory& m_;
  const int warp_, rank_, seed_;
  const int64_t first_;
  Number *x_, *next_;  // activations, then deltas, of both twins: of the layer before, of this one
  float *slopes_, *bias_, *last_, *last_bias_, *values_, *reward_, *mask_;
  CountedExchange exchange_;
};

// Grid: eight blocks for each 16 rows, then the seeds. Compiled from 9.0 on (cuda.cmake).
__global__ void __launch_bounds__(kClusterThreads, 1) critics_kernel(const __grid_constant__ CriticsArguments p) {
  using Number = CriticsMemory::Number;
  const CriticsMemory m(p.shape);
  const int64_t first = static_cast<int64_t>(blockIdx.x / kClusterBlocks) * kCriticRows;
  const CriticsLoader load{p, m, shared_memory<char>(), static_cast<int>(blockIdx.y),
                           static_cast<int>(cluster_rank()), first};
  Number* const target = load.at<Number>(m.target);
  Number* const online = load.at<Number>(m.online);
  const Number* const input = load.at<Number>(m.input);
  const int tile = kCriticRows * m.input_stride, M = p.shape.repeats;
  CriticsTile critics(load);
  load.forward_weights(p.target, target);
  load.forward_weights(p.online, online);
  load.all_small();
  wait_copies<1>();
  // From here on other blocks may write to this one's memory.
  cluster_barrier();
  for (int i = 0; i < M; ++i) {
    critics.forward<false>(input + i * tile, target);
    critics.values<false>(i == 0);
  }
  // Nobody reads the targets any more: before the last values their last layer had come from all warps.
  load.backward_weights(target);
  wait_copies<1>();
  __syncthreads();
  critics.forward<true>(input + M * tile, online);
  critics.values<true>(true);
  wait_copies<0>();
  critics.differentiate();
  critics.backward(target);
}

}  // namespace gtp
