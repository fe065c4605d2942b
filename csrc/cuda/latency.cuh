// The latency kernel, for a few rows: a block of 512 threads takes R rows through all K steps. Every layer is split
// over columns (four a thread, loaded as one float4) and over slices of its inputs, so that all threads read weights
// at once; the slices' sums are added in shared memory in a fixed order.
#pragma once

#include "cuda/common.cuh"

namespace gtp {

constexpr int kLatencyThreads = 512;

// Writes partial[slice][r][column] of x W; returns the number of slices. The caller synchronises.
template <int R>
__device__ __forceinline__ int latency_product(const float* x, int stride, int depth, const float* __restrict__ w,
                                               int columns, float* partial) {
  const int groups = columns / 4;
  const int slices = groups < kLatencyThreads ? kLatencyThreads / groups : 1;
  const int slice = groups < kLatencyThreads ? static_cast<int>(threadIdx.x) / groups : 0;
  if (slice < slices) {
    for (int c = groups < kLatencyThreads ? threadIdx.x % groups : threadIdx.x; c < groups; c += kLatencyThreads) {
      float4 sum[R];
#pragma unroll
      for (int r = 0; r < R; ++r) sum[r] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 8
      for (int k = slice; k < depth; k += slices) {
        const float4 weight = *reinterpret_cast<const float4*>(w + static_cast<size_t>(k) * columns + 4 * c);
#pragma unroll
        for (int r = 0; r < R; ++r) multiply_add(sum[r], x[r * stride + k], weight);
      }
#pragma unroll
      for (int r = 0; r < R; ++r)
        *reinterpret_cast<float4*>(partial + static_cast<size_t>(slice * R + r) * columns + 4 * c) = sum[r];
    }
  }
  return slices;
}

template <int R>
__device__ __forceinline__ float latency_sum(const float* partial, int slices, int columns, int i) {
  float sum = 0.0f;
  for (int s = 0; s < slices; ++s) sum += partial[s * R * columns + i];
  return sum;
}

// y = act(x W + bias + rows), `rows` [R, columns] or null; x and y may be the same.
template <int R>
__device__ __forceinline__ void latency_layer(const float* x, int stride, int depth, const float* w,
                                              const float* bias, const float* rows, int columns, float* partial,
                                              float* y, int y_stride, Activation kind) {
  const int slices = latency_product<R>(x, stride, depth, w, columns, partial);
  __syncthreads();
  for (int i = threadIdx.x; i < R * columns; i += kLatencyThreads) {
    const int r = i / columns, j = i % columns;
    const float start = rows == nullptr ? bias[j] : bias[j] + rows[i];
    y[r * y_stride + j] = activate(start + latency_sum<R>(partial, slices, columns, i), kind);
  }
  __syncthreads();
}

template <int R>
__global__ void __launch_bounds__(kLatencyThreads, 1) latency_kernel(const __grid_constant__ CudaArguments p) {
  float* const shared = shared_memory<float>();
  const int seed = blockIdx.y, lane = threadIdx.x % 32;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * R;
  const CudaPolicy policy(p, seed);
  const int W = p.width, A = p.shape.action, K = p.shape.steps;
  float* x = shared;
  float* state = x + R * p.wide;
  float* a = state + R * W;
  float* scaled = a + R * p.action;
  float* before = scaled + R * p.action;
  float* partial = before + R * p.action;

  const int64_t offset = static_cast<int64_t>(seed) * p.rows;
  const float* noise = p.noise + offset * draws_of(p.shape) * A;
  const Activation kind = p.shape.form.activation;
  load_rows(p.observation + offset * p.shape.observation, first, p.rows, p.shape.observation, 1.0f, x, p.wide,
            p.shape.observation, R);
  load_rows(noise, first, p.rows, A, p.initial_scale, a, p.action, p.action, R);
  __syncthreads();
  const int slices = latency_product<R>(x, p.wide, p.shape.observation, policy.first_observation, W, partial);
  __syncthreads();
  for (int i = threadIdx.x; i < R * W; i += kLatencyThreads) state[i] = latency_sum<R>(partial, slices, W, i);
  for (int i = threadIdx.x; i < R * p.action; i += kLatencyThreads) before[i] = 0.0f;

  for (int k = 0; k < K; ++k) {
    const StepCoefficients step = coefficients_of({p.policy + p.layout.schedule, K}, k);
    for (int i = threadIdx.x; i < R * p.action; i += kLatencyThreads) scaled[i] = step.input_scale * a[i];
    __syncthreads();
    latency_layer<R>(scaled, p.action, A, policy.first_action, policy.step_bias + static_cast<size_t>(k) * W, state,
                     W, partial, x, p.wide, kind);
    for (int l = 0; l + 1 < p.shape.layers; ++l)
      latency_layer<R>(x, p.wide, p.shape.width, policy.hidden_weight + l * policy.next_weight,
                       policy.hidden_bias + l * policy.next_bias, nullptr, W, partial, x, p.wide, kind);
    // The last layer has few columns: a warp for each number, its lanes over the inputs.
    for (int o = threadIdx.x / 32; o < R * A; o += kLatencyThreads / 32) {
      const int r = o / A, j = o % A;
      float sum = 0.0f;
      for (int i = lane; i < p.shape.width; i += 32)
        sum = fmaf(x[r * p.wide + i], policy.last_weight[static_cast<size_t>(i) * p.action + j], sum);
      sum = warp_sum(sum) + policy.last_bias[j];
      if (lane == 0) {
        float& at = a[r * p.action + j];
        at = device_step(p, step, noise, k, first + r, j, at, sum, before[r * p.action + j]);
      }
    }
    __syncthreads();
  }
  store_actions(p, p.out + offset * A, first, a, R);
}

// Shared memory of a block, in floats.
inline size_t latency_floats(int rows, int wide, int width, int action) {
  const int groups = width / 4;
  const int slices = groups < kLatencyThreads ? kLatencyThreads / groups : 1;
  return static_cast<size_t>(rows) * (wide + width + 3 * action + static_cast<size_t>(slices) * width);
}

}  // namespace gtp
