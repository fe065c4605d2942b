// The rows of a batch in one block or cluster: their memory, and the sampler step that updates them.
#pragma once

#include <type_traits>

#include "cuda/common.cuh"

namespace gtp {

// x <- act(x) for two numbers with one division: act(x) = x top / bottom, and both reciprocals follow from that of the
// product of the bottoms, which is finite: below e^81 by the limit on the exponent.
template <Activation kKind>
__device__ __forceinline__ void fast_activate(float& u, float& v) {
  if constexpr (kKind == Activation::kRelu) {
    u = u < 0.0f ? 0.0f : u;
    v = v < 0.0f ? 0.0f : v;
  } else {
    constexpr bool kMish = kKind == Activation::kMish;
    const float e = fast_exp(fminf(kMish ? u : gelu_exponent(u), kExpLimit));
    const float f = fast_exp(fminf(kMish ? v : gelu_exponent(v), kExpLimit));
    const float u_top = kMish ? e * (e + 2.0f) : e, u_bottom = u_top + (kMish ? 2.0f : 1.0f);
    const float v_top = kMish ? f * (f + 2.0f) : f, v_bottom = v_top + (kMish ? 2.0f : 1.0f);
    const float inverse = fast_reciprocal(u_bottom * v_bottom);
    u *= u_top * (inverse * v_bottom);
    v *= v_top * (inverse * u_bottom);
  }
}

// Calls work(kind) with the activation as a compile-time constant, after one branch.
template <class Work>
__device__ __forceinline__ void with_activation(Activation kind, Work&& work) {
  switch (kind) {
    case Activation::kMish: return work(std::integral_constant<Activation, Activation::kMish>());
    case Activation::kGelu: return work(std::integral_constant<Activation, Activation::kGelu>());
    case Activation::kRelu: return work(std::integral_constant<Activation, Activation::kRelu>());
  }
}

// P: the product that reads the first layer's input (products.cuh).
template <class P>
struct RowTile {
  using Number = typename P::Number;
  const CudaArguments& p;
  const float *observation, *noise;  // of the seed, whole
  float* out;
  int64_t first;
  // In shared memory: the action and the phi before, [rows, p.action]; the first layer's input, [rows, stride]: c_in a,
  // then the observation, then zeros.
  float *a, *before;
  Number* input;
  int stride;

  __device__ RowTile(const CudaArguments& arguments, int seed, int64_t first_row, float* action, float* phi_before,
                     Number* first_input, int input_stride)
      : p(arguments), first(first_row), a(action), before(phi_before), input(first_input), stride(input_stride) {
    const int64_t offset = seed * p.rows;
    observation = p.observation + offset * p.shape.observation;
    noise = p.noise + offset * draws_of(p.shape) * p.shape.action;
    out = p.out + offset * p.shape.action;
  }

  // Sets a = initial_scale z_0 and the input of the first step; missing rows get zeros.
  __device__ __forceinline__ void load(float input_scale, int rows) const {
    const int A = p.shape.action, O = p.shape.observation;
    for (int i = threadIdx.x; i < rows * p.action; i += blockDim.x) {
      const int64_t row = first + i / p.action;
      const int j = i % p.action;
      a[i] = row < p.rows && j < A ? p.initial_scale * noise[row * A + j] : 0.0f;
      before[i] = 0.0f;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < rows * stride; i += blockDim.x) {
      const int r = i / stride, j = i % stride;
      float x = 0.0f;
      if (j < A)
        x = input_scale * a[r * p.action + j];
      else if (j < A + O && first + r < p.rows)
        x = observation[(first + r) * O + j - A];
      input[i] = P::number(x);
    }
  }

  // Step k of row r and columns j and j + 1 (if they exist): from the network's outputs u and v without bias to the
  // action and the next step's input.
  __device__ __forceinline__ void step(const StepCoefficients& s, int k, float next_scale, int r, int j, float u,
                                       float v, const float* bias) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if (j + i >= p.shape.action) return;
      const int at = r * p.action + j + i;
      a[at] = device_step(p, s, noise, k, first + r, j + i, a[at], (i ? v : u) + bias[j + i], before[at]);
      input[r * stride + j + i] = P::number(next_scale * a[at]);
    }
  }

  __device__ __forceinline__ void store(int rows) const { store_actions(p, out, first, a, rows); }
};

}  // namespace gtp
