// What all kernels share: their arguments, the policy's pointers, activation and step.
#pragma once

#if defined(__CUDACC__)
#include "cuda/device.cuh"
#else
#include "emulation/device.hpp"
#endif
#include "cuda/plan.hpp"
#include "cuda/units.hpp"

namespace gtp {

struct CudaArguments {
  Shape shape;
  FlatLayout layout;  // padded: rows of `width` and `action` columns, multiples of four, the padding zero
  int width, action;
  int wide;  // floats in a row of activations: the widest layer input
  UnitLayout units_layout;
  Precision precision;
  const float* policy;
  const uint4* units;
  float initial_scale;
  const float *observation, *noise;
  float* out;
  int64_t rows;
};

// One seed's weights.
struct CudaPolicy {
  const float *first_action, *first_observation, *step_bias, *hidden_weight, *hidden_bias, *last_weight, *last_bias;
  size_t next_weight, next_bias;  // from one hidden layer to the next

  __device__ CudaPolicy(const CudaArguments& p, int seed) {
    const size_t s = seed, W = p.width, H = p.shape.width;
    first_action = p.policy + p.layout.first_action + s * p.shape.action * W;
    first_observation = p.policy + p.layout.first_observation + s * p.shape.observation * W;
    step_bias = p.policy + p.layout.step_bias + s * p.shape.steps * W;
    hidden_weight = p.policy + p.layout.hidden_weight + s * H * W;
    hidden_bias = p.policy + p.layout.hidden_bias + s * W;
    last_weight = p.policy + p.layout.last_weight + s * H * p.action;
    last_bias = p.policy + p.layout.last_bias + s * p.action;
    next_weight = p.shape.seeds * H * W;
    next_bias = p.shape.seeds * W;
  }
};

// The policy's activation; every thread takes the same branch.
__device__ __forceinline__ float activate(float x, Activation kind) {
  if (kind == Activation::kRelu) return x < 0.0f ? 0.0f : x;
  const float e = expf(fminf(kind == Activation::kGelu ? gelu_exponent(x) : x, kExpLimit));
  return kind == Activation::kGelu ? gelu_of_exp(x, e) : mish_of_exp(x, e);
}

__device__ __forceinline__ float4 activate(const float4& x, Activation kind) {
  return make_float4(activate(x.x, kind), activate(x.y, kind), activate(x.z, kind), activate(x.w, kind));
}

__device__ __forceinline__ float4 add(const float4& a, const float4& b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

struct DeviceMath {
  static __device__ __forceinline__ float fma(float a, float b, float c) { return fmaf(a, b, c); }
  static __device__ __forceinline__ float fill(float x) { return x; }
  static __device__ __forceinline__ float clip(float x) { return clip_action(x); }
  static __device__ __forceinline__ float tanh(float x) { return tanhf(x); }
};

// One number of the action after step k; noise: the draws of this seed, [K, B, A]; row: within the batch.
__device__ __forceinline__ float device_step(const CudaArguments& p, const StepCoefficients& step, const float* noise,
                                             int k, int64_t row, int j, float a, float output, float& before) {
  a = flow_step<DeviceMath>(a, output, before, step, p.shape.form);
  if (p.shape.form.stochastic && k + 1 < p.shape.steps && row < p.rows && j < p.shape.action)
    a = fmaf(step.spread, noise[((k + 1) * p.rows + row) * p.shape.action + j], a);
  return a;
}

__device__ __forceinline__ void multiply_add(float4& sum, float x, const float4& w) {
  sum.x = fmaf(x, w.x, sum.x);
  sum.y = fmaf(x, w.y, sum.y);
  sum.z = fmaf(x, w.z, sum.z);
  sum.w = fmaf(x, w.w, sum.w);
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int mask = 16; mask > 0; mask >>= 1) x += __shfl_xor_sync(0xffffffffu, x, mask);
  return x;
}

// Copies `count` rows of a [B, columns] array from `first` on into shared memory, scaled; missing ones become zero.
__device__ __forceinline__ void load_rows(const float* from, int64_t first, int64_t rows, int columns, float scale,
                                          float* to, int stride, int padded, int count) {
  for (int i = threadIdx.x; i < count * padded; i += blockDim.x) {
    const int r = i / padded, j = i % padded;
    const bool there = first + r < rows && j < columns;
    to[r * stride + j] = there ? scale * from[(first + r) * columns + j] : 0.0f;
  }
}

__device__ __forceinline__ void store_actions(const CudaArguments& p, float* out, int64_t first, const float* a,
                                              int count) {
  for (int i = threadIdx.x; i < count * p.shape.action; i += blockDim.x) {
    const int r = i / p.shape.action, j = i % p.shape.action;
    if (first + r < p.rows) out[(first + r) * p.shape.action + j] = clip_action(a[r * p.action + j]);
  }
}

}  // namespace gtp
