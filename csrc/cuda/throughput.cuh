// The throughput kernel, for many rows: a block of 8 warps owns 8 T rows through all K steps. Activations stay in
// shared memory, weights stream through it in double-buffered chunks, and a thread keeps T rows by 8 columns of sums
// in registers: the lanes of a warp have the same T rows, so that reading an activation is one broadcast.
#pragma once

#include "cuda/common.cuh"

namespace gtp {

constexpr int kWarps = 8;
constexpr int kThroughputThreads = 32 * kWarps;
constexpr int kTileColumns = 256;
constexpr int kChunk = 8;  // inputs in a chunk of weights

// Starts the copy of weights [begin, begin + kChunk) x [column, column + kTileColumns) into `stage`.
__device__ __forceinline__ void fetch_weights(const float* w, int columns, int depth, int begin, int column,
                                              float* stage) {
  constexpr int kVectors = kTileColumns / 4;
#pragma unroll
  for (int n = 0; n < kChunk * kVectors / kThroughputThreads; ++n) {
    const int i = n * kThroughputThreads + threadIdx.x;
    const int k = begin + i / kVectors, j = column + 4 * (i % kVectors);
    if (j < columns) {
      // Rows past the end repeat the first: they are multiplied by zeros, so they must be finite.
      const float* from = w + static_cast<size_t>(k < depth ? k : 0) * columns + j;
      copy_async(stage + (i / kVectors) * kTileColumns + 4 * (i % kVectors), from);
    }
  }
  commit_copies();
}

// sum[r] += x W for a warp's T rows and the lane's columns 4 lane.. and 128 + 4 lane.. of the tile at `column`.
// x rows hold zeros from depth to the next multiple of four.
template <int T>
__device__ __forceinline__ void throughput_product(const float* x, int stride, int depth, const float* w,
                                                   int columns, int column, float* stage, float4 (&low)[T],
                                                   float4 (&high)[T]) {
  const int lane = threadIdx.x % 32;
  const float* mine = x + (threadIdx.x / 32) * T * stride;
#pragma unroll
  for (int r = 0; r < T; ++r) low[r] = high[r] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  fetch_weights(w, columns, depth, 0, column, stage);
  for (int begin = 0; begin < depth; begin += kChunk) {
    const float* now = stage + (begin / kChunk % 2) * kChunk * kTileColumns;
    wait_copies<0>();
    __syncthreads();
    if (begin + kChunk < depth)
      fetch_weights(w, columns, depth, begin + kChunk, column,
                    stage + ((begin / kChunk + 1) % 2) * kChunk * kTileColumns);
    const int size = depth - begin < kChunk ? depth - begin : kChunk;
    for (int k = 0; k < size; k += 4) {
      float4 v[T];
#pragma unroll
      for (int r = 0; r < T; ++r) v[r] = *reinterpret_cast<const float4*>(mine + r * stride + begin + k);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float4 w0 = *reinterpret_cast<const float4*>(now + (k + i) * kTileColumns + 4 * lane);
        const float4 w1 = *reinterpret_cast<const float4*>(now + (k + i) * kTileColumns + 128 + 4 * lane);
#pragma unroll
        for (int r = 0; r < T; ++r) {
          const float one = i == 0 ? v[r].x : i == 1 ? v[r].y : i == 2 ? v[r].z : v[r].w;
          multiply_add(low[r], one, w0);
          multiply_add(high[r], one, w1);
        }
      }
    }
  }
  // All have read x and the stage; both may be overwritten.
  __syncthreads();
}

// Write act(sum + bias + rows) of four columns; bias and rows may be null.
template <bool kActivate>
__device__ __forceinline__ void finish(float4 sum, const float* bias, const float* rows, float* y,
                                       Activation kind) {
  if (bias != nullptr) sum = add(sum, *reinterpret_cast<const float4*>(bias));
  if (rows != nullptr) sum = add(sum, *reinterpret_cast<const float4*>(rows));
  if (kActivate) sum = activate(sum, kind);
  *reinterpret_cast<float4*>(y) = sum;
}

// y = act(x W + bias + rows), rows [8 T, columns] or null; y may be x when `columns` is at most one tile.
template <int T, bool kActivate>
__device__ __forceinline__ void throughput_layer(const float* x, int stride, int depth, const float* w, int columns,
                                                 const float* bias, const float* rows, float* stage, float* y,
                                                 int y_stride, Activation kind) {
  const int lane = threadIdx.x % 32, first = (threadIdx.x / 32) * T;
  for (int column = 0; column < columns; column += kTileColumns) {
    float4 low[T], high[T];
    throughput_product<T>(x, stride, depth, w, columns, column, stage, low, high);
#pragma unroll
    for (int r = 0; r < T; ++r) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int j = column + 128 * half + 4 * lane;
        if (j < columns)
          finish<kActivate>(half ? high[r] : low[r], bias ? bias + j : nullptr,
                            rows ? rows + (first + r) * columns + j : nullptr, y + (first + r) * y_stride + j, kind);
      }
    }
  }
  __syncthreads();
}

// The last layer and the step: a warp's own rows, its lanes over the inputs, four columns at a time.
template <int T>
__device__ __forceinline__ void throughput_step(const CudaArguments& p, const CudaPolicy& policy,
                                                const StepCoefficients& step, const float* x, const float* noise,
                                                int64_t block, int k, float* a, float* before) {
  const int lane = threadIdx.x % 32, first = (threadIdx.x / 32) * T;
  for (int j = 0; j < p.action; j += 4) {
    float4 sum[T];
#pragma unroll
    for (int r = 0; r < T; ++r) sum[r] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int i = lane; i < p.shape.width; i += 32) {
      const float4 weight =
          *reinterpret_cast<const float4*>(policy.last_weight + static_cast<size_t>(i) * p.action + j);
#pragma unroll
      for (int r = 0; r < T; ++r) multiply_add(sum[r], x[(first + r) * p.wide + i], weight);
    }
    const float4 bias = *reinterpret_cast<const float4*>(policy.last_bias + j);
#pragma unroll
    for (int r = 0; r < T; ++r) {
      const float4 output = make_float4(warp_sum(sum[r].x) + bias.x, warp_sum(sum[r].y) + bias.y,
                                        warp_sum(sum[r].z) + bias.z, warp_sum(sum[r].w) + bias.w);
      if (lane == r) {
        float* at = a + (first + r) * p.action + j;
        float* old = before + (first + r) * p.action + j;
        const int64_t row = block + first + r;
        at[0] = device_step(p, step, noise, k, row, j, at[0], output.x, old[0]);
        at[1] = device_step(p, step, noise, k, row, j + 1, at[1], output.y, old[1]);
        at[2] = device_step(p, step, noise, k, row, j + 2, at[2], output.z, old[2]);
        at[3] = device_step(p, step, noise, k, row, j + 3, at[3], output.w, old[3]);
      }
    }
  }
  __syncthreads();
}

template <int T>
__global__ void __launch_bounds__(kThroughputThreads, 1) throughput_kernel(const __grid_constant__ CudaArguments p) {
  float* const shared = shared_memory<float>();
  constexpr int kRows = kWarps * T;
  const int seed = blockIdx.y;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRows;
  const CudaPolicy policy(p, seed);
  const int W = p.width, A = p.shape.action, O = p.shape.observation, K = p.shape.steps;
  const bool in_place = W <= kTileColumns;
  float* stage = shared;
  float* x = stage + 2 * kChunk * kTileColumns;
  float* next = in_place ? x : x + kRows * p.wide;
  float* state = next + kRows * p.wide;
  float* a = state + kRows * W;
  float* scaled = a + kRows * p.action;
  float* before = scaled + kRows * p.action;

  const int64_t offset = static_cast<int64_t>(seed) * p.rows;
  const float* noise = p.noise + offset * draws_of(p.shape) * A;
  const Activation kind = p.shape.form.activation;
  load_rows(p.observation + offset * O, first, p.rows, O, 1.0f, x, p.wide, (O + 3) / 4 * 4, kRows);
  load_rows(noise, first, p.rows, A, p.initial_scale, a, p.action, p.action, kRows);
  for (int i = threadIdx.x; i < kRows * p.action; i += kThroughputThreads) before[i] = 0.0f;
  __syncthreads();
  throughput_layer<T, false>(x, p.wide, O, policy.first_observation, W, nullptr, nullptr, stage, state, W, kind);
  for (int k = 0; k < K; ++k) {
    const StepCoefficients step = coefficients_of({p.policy + p.layout.schedule, K}, k);
    for (int i = threadIdx.x; i < kRows * p.action; i += kThroughputThreads) scaled[i] = step.input_scale * a[i];
    __syncthreads();
    throughput_layer<T, true>(scaled, p.action, A, policy.first_action, W,
                              policy.step_bias + static_cast<size_t>(k) * W, state, stage, x, p.wide, kind);
    for (int l = 0; l + 1 < p.shape.layers; ++l) {
      throughput_layer<T, true>(x, p.wide, p.shape.width, policy.hidden_weight + l * policy.next_weight, W,
                                policy.hidden_bias + l * policy.next_bias, nullptr, stage, next, p.wide, kind);
      float* swap = x;
      x = next;
      next = swap;
    }
    throughput_step<T>(p, policy, step, x, noise, first, k, a, before);
  }
  store_actions(p, p.out + offset * A, first, a, kRows);
}

// Shared memory of a block of `rows` rows, in floats.
inline size_t throughput_floats(int rows, int wide, int width, int action) {
  const int buffers = width <= kTileColumns ? 1 : 2;
  return 2 * kChunk * kTileColumns + static_cast<size_t>(rows) * (buffers * wide + width + 3 * action);
}

}  // namespace gtp
