// The rows of a block of the columns kernel (columns.cuh): their place in shared memory, the last layer and the step.
#pragma once

#include "cuda/columns_stream.cuh"
#include "cuda/products.cuh"

namespace gtp {

constexpr int kColumnsWarps = kColumnsThreads / 32;

// Rows of activations lie in shared memory as [chunks, R + 1, kInputs], the last place of a chunk unused: a thread
// reads R rows at fixed distances, and the lanes of a warp, which write neighbouring chunks, meet different banks.
template <int R>
__host__ __device__ constexpr int columns_room(int inputs) {
  return (inputs + kInputs - 1) / kInputs * (R + 1);  // in float4
}

template <int R>
__device__ __forceinline__ float& columns_at(float4* x, int r, int input) {
  return reinterpret_cast<float*>(x + input / kInputs * (R + 1) + r)[input % kInputs];
}

// The rows of a block: in shared memory the last hidden layer x, the action and the phi before [R, p.action], the next
// step's input c_in a.
struct ColumnsRows {
  float4 *x, *scaled;
  float *a, *before;
  const float* noise;  // of the seed, whole
  int64_t first;
};

// The last layer and the step. A thread has four rows, four columns at a time, and a part of the inputs.
template <int R>
__device__ __forceinline__ void columns_step(const CudaArguments& p, const CudaPolicy& policy, const ColumnsRows& rows,
                                             int k, float* partial) {
  constexpr int kRows = 4, kSums = 4 * kRows, kWarps = kColumnsWarps * kRows / R;  // warps that share rows
  const int warp = threadIdx.x / 32, first = warp / kWarps * kRows, A = p.shape.action, K = p.shape.steps;
  for (int j = 0; j < p.action; j += 4) {
    float sum[kSums] = {};
    for (int i = threadIdx.x % (32 * kWarps); i < p.shape.width; i += 32 * kWarps) {
      const float4 w = *reinterpret_cast<const float4*>(policy.last_weight + static_cast<size_t>(i) * p.action + j);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float v = columns_at<R>(rows.x, first + r, i);
        sum[4 * r] = fmaf(v, w.x, sum[4 * r]);
        sum[4 * r + 1] = fmaf(v, w.y, sum[4 * r + 1]);
        sum[4 * r + 2] = fmaf(v, w.z, sum[4 * r + 2]);
        sum[4 * r + 3] = fmaf(v, w.w, sum[4 * r + 3]);
      }
    }
    int at = 0;
    scatter_sums<kSums, 16>(sum, at);
    // Four lanes have the same two sums.
    if (threadIdx.x % 4 == 0)
      *reinterpret_cast<float2*>(partial + warp * 4 * p.action + 4 * j + at) = make_float2(sum[0], sum[1]);
  }
  __syncthreads();
  const StepSchedule schedule{p.policy + p.layout.schedule, K};
  const StepCoefficients step = coefficients_of(schedule, k);
  const float next_scale = k + 1 < K ? input_scale_of(schedule, k + 1) : 0.0f;
  for (int i = threadIdx.x; i < R * A; i += kColumnsThreads) {
    const int r = i / A, j = i % A;
    const float* const mine = partial + r / kRows * kWarps * 4 * p.action + j / 4 * kSums + r % kRows * 4 + j % 4;
    float sum = policy.last_bias[j];
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += mine[w * 4 * p.action];
    float& a = rows.a[r * p.action + j];
    a = device_step(p, step, rows.noise, k, rows.first + r, j, a, sum, rows.before[r * p.action + j]);
    columns_at<R>(rows.scaled, r, j) = next_scale * a;
  }
  __syncthreads();
}

// Loads the observation into x and the scaled noise into the action; missing rows and inputs get zeros.
template <int R>
__device__ __forceinline__ void columns_load(const CudaArguments& p, const ColumnsRows& rows, const float* observation,
                                             float input_scale) {
  const int A = p.shape.action, O = p.shape.observation, padded = (O + kInputs - 1) / kInputs * kInputs;
  for (int i = threadIdx.x; i < R * padded; i += kColumnsThreads) {
    const int r = i / padded, j = i % padded;
    const int64_t row = rows.first + r;
    columns_at<R>(rows.x, r, j) = row < p.rows && j < O ? observation[row * O + j] : 0.0f;
  }
  for (int i = threadIdx.x; i < R * p.action; i += kColumnsThreads) {
    const int r = i / p.action, j = i % p.action;
    const int64_t row = rows.first + r;
    rows.a[i] = row < p.rows && j < A ? p.initial_scale * rows.noise[row * A + j] : 0.0f;
    rows.before[i] = 0.0f;
    columns_at<R>(rows.scaled, r, j) = input_scale * rows.a[i];
  }
  __syncthreads();
}

}  // namespace gtp
