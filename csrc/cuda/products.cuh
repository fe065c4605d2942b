// The matrix product of one warp: rows of x in shared memory by one group of columns of units. Each class has the type
// of x (Number), the place of a weight in a unit, and `multiply`, which passes the results to
// `each(row, column, u, v, copy, copies)`: the sums of two neighbouring columns, which `copies` lanes hold.
#pragma once

#include "cuda/rows.cuh"

namespace gtp {

// Sums 2^n numbers of each lane over all lanes until two are left: in every round a lane gives half of its numbers to
// the lane `kMask` away and adds the other's half to its own. `first` becomes the index of the two.
template <int kCount, int kMask>
__device__ __forceinline__ void scatter_sums(float* sum, int& first) {
  if constexpr (kCount > 2) {
    constexpr int kHalf = kCount / 2;
    const bool upper = (threadIdx.x & kMask) != 0;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const float give = upper ? sum[i] : sum[i + kHalf];
      const float keep = upper ? sum[i + kHalf] : sum[i];
      sum[i] = keep + __shfl_xor_sync(0xffffffffu, give, kMask);
    }
    if (upper) first += kHalf;
    scatter_sums<kHalf, kMask / 2>(sum, first);
  } else if constexpr (kMask > 0) {
    sum[0] += __shfl_xor_sync(0xffffffffu, sum[0], kMask);
    sum[1] += __shfl_xor_sync(0xffffffffu, sum[1], kMask);
    scatter_sums<kCount, kMask / 2>(sum, first);
  }
}

// fp32 on the CUDA cores: the lanes split the inputs of R rows and four columns.
template <int R>
struct Fp32Product {
  using Number = float;
  static constexpr int kRows = R, kPad = 0;
  static constexpr UnitSize kUnit{128, 4, 128};

  // The place in a unit of the weight of input k and column j, in Numbers.
  static __host__ __device__ int place(int k, int j) { return j * kUnit.depth + k; }
  static __device__ __forceinline__ Number number(float x) { return x; }
  static __device__ __forceinline__ void store(Number* at, float u, float v) {
    *reinterpret_cast<float2*>(at) = make_float2(u, v);
  }
  static __device__ __forceinline__ void activate_two(float& u, float& v, Activation kind) {
    u = activate(u, kind);
    v = activate(v, kind);
  }

  template <class Each>
  static __device__ __forceinline__ void multiply(const Number* x, int stride, const uint4* units, int rows, int next,
                                                  Each&& each) {
    const int lane = threadIdx.x % 32;
    float sum[4 * R];
#pragma unroll
    for (int i = 0; i < 4 * R; ++i) sum[i] = 0.0f;
    for (int u = 0; u < rows; ++u) {
      const float4* weights = reinterpret_cast<const float4*>(units + u * next) + lane;
      const float4 w[4] = {weights[0], weights[32], weights[64], weights[96]};
#pragma unroll
      for (int r = 0; r < R; ++r) {
        const float4 v = *reinterpret_cast<const float4*>(x + r * stride + u * kUnit.depth + 4 * lane);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          float& s = sum[4 * r + j];
          s = fmaf(v.x, w[j].x, fmaf(v.y, w[j].y, fmaf(v.z, w[j].z, fmaf(v.w, w[j].w, s))));
        }
      }
    }
    constexpr int kCopies = R >= 16 ? 1 : 16 / R;
    int first = 0;
    scatter_sums<4 * R, 16>(sum, first);
    each(first / 4, first % 4, sum[0], sum[1], lane % kCopies, kCopies);
  }
};

// On the tensor cores: 16 rows by 8 columns. Format rounds and multiplies. The places depend only on the size of a
// Number: a lane always has words 4 i + lane % 4 of the inputs, column lane / 4.
template <class Format>
struct TensorProduct {
  using Number = typename Format::Number;
  static constexpr int kPack = 4 / sizeof(Number);  // Numbers in a word
  static constexpr int kRows = 16, kPad = 4 * kPack;  // 16 bytes more a row put eight rows in different banks
  static constexpr UnitSize kUnit{16 * kPack, 8, 32};

  static __host__ __device__ int place(int k, int j) {
    const int word = k / kPack;
    return (16 * j + 4 * (word % 4) + word / 4) * kPack + k % kPack;
  }
  static __device__ __forceinline__ Number number(float x) { return Format::number(x); }
  static __device__ __forceinline__ void store(Number* at, float u, float v) { Format::store(at, u, v); }
  static __device__ __forceinline__ void activate_two(float& u, float& v, Activation kind) {
    with_activation(kind, [&](auto constant) { fast_activate<constant.value>(u, v); });
  }

  // Loads this lane's part of 16 rows of inputs for half a unit: 32 bytes a row from `x` on.
  static __device__ __forceinline__ void load(uint32_t (&a)[4], const Number* x, int stride) {
    const int lane = threadIdx.x % 32;
    load_matrices(a, x + (lane % 16) * stride + (lane / 16) * 4 * kPack);
  }

  template <class Each>
  static __device__ __forceinline__ void multiply(const Number* x, int stride, const uint4* units, int rows, int next,
                                                  Each&& each) {
    const int lane = threadIdx.x % 32;
    // Two chains of products hide half of their latency.
    float even[4] = {}, odd[4] = {};
#pragma unroll 4
    for (int u = 0; u < rows; ++u) {
      const uint4 b = units[u * next + lane];
      uint32_t a[4];
      load(a, x + u * kUnit.depth, stride);
      Format::multiply(even, a, b.x, b.y);
      load(a, x + u * kUnit.depth + kUnit.depth / 2, stride);
      Format::multiply(odd, a, b.z, b.w);
    }
    const int row = lane / 4, column = 2 * (lane % 4);
    each(row, column, even[0] + odd[0], even[1] + odd[1], 0, 1);
    each(row + 8, column, even[2] + odd[2], even[3] + odd[3], 0, 1);
  }
};

struct Bf16 {
  using Number = uint16_t;
  static __device__ __forceinline__ Number number(float x) { return static_cast<Number>(pack_bf16(x, 0.0f)); }
  static __device__ __forceinline__ void store(Number* at, float u, float v) {
    *reinterpret_cast<uint32_t*>(at) = pack_bf16(u, v);
  }
  static __device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    multiply_bf16(c, a, b0, b1);
  }
};

struct Tf32 {
  using Number = float;
  static __device__ __forceinline__ Number number(float x) { return round_tf32(x); }
  static __device__ __forceinline__ void store(Number* at, float u, float v) {
    *reinterpret_cast<float2*>(at) = make_float2(round_tf32(u), round_tf32(v));
  }
  static __device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    multiply_tf32(c, a, b0, b1);
  }
};

}  // namespace gtp
