// The tensor kernel, for many rows in tf32 or bf16: a block of 8 warps takes 16 M rows through all K steps. Their
// activations stay in shared memory, in place; a warp has 8 N columns of every layer, their sums in registers. The
// weights, one stream of units through all layers and steps, come from L2; each lane copies its own part a few rows of
// units ahead, so that barriers are needed only between layers.
//
// A block reads all weights K times: in bf16 at width 256 with three layers 300 kB of units a step. It has two barriers
// a layer and one more a step.
#pragma once

#include "cuda/products.cuh"

namespace gtp {

constexpr int kTensorWarps = 8;
constexpr int kTensorThreads = 32 * kTensorWarps;

// Rows of weights in a lane's ring. The smallest tile is for what does not fit otherwise: it does with one row ahead.
__host__ __device__ constexpr int stages_of(int rows) { return rows == 16 ? 2 : 3; }

// The layout of a block's shared memory.
template <class P>
struct TensorMemory {
  int stride, input_stride;  // Numbers in a row of activations, of first-layer inputs
  size_t x, input;           // in bytes; the ring of weights is first
  size_t a, before, bytes;

  __host__ __device__ TensorMemory(const CudaArguments& p, int rows, int tiles) {
    const UnitLayout& u = p.units_layout;
    stride = u.widest() + P::kPad;
    input_stride = u.first_rows * P::kUnit.depth + P::kPad;
    const size_t numbers = rows * sizeof(typename P::Number), floats = rows * sizeof(float);
    x = static_cast<size_t>(kTensorWarps) * stages_of(rows) * tiles * P::kUnit.vectors * sizeof(uint4);
    input = x + stride * numbers;
    a = input + input_stride * numbers;
    before = a + p.action * floats;
    bytes = before + p.action * floats;
  }
};

// One lane's part of its warp's N units of every row of units, from the first to the last layer and around again.
template <int N, int kStages>
class WeightStream {
 public:
  __device__ __forceinline__ WeightStream(const uint4* units, const UnitLayout& layout, uint4* ring)
      : units_(units), ring_(ring), size_(layout.groups * layout.unit.vectors), rows_(layout.stream_rows) {
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) fetch();
  }

  // Returns the next row's weights and refills the slot of the last call.
  __device__ __forceinline__ void take(uint4 (&weights)[N]) {
    wait_copies<kStages - 2>();
#pragma unroll
    for (int n = 0; n < N; ++n) weights[n] = ring_[(taken_ * N + n) * 32];
    taken_ = taken_ + 1 == kStages ? 0 : taken_ + 1;
    fetch();
  }

 private:
  __device__ __forceinline__ void fetch() {
    const uint4* from = units_ + static_cast<size_t>(row_) * size_;
#pragma unroll
    for (int n = 0; n < N; ++n) copy_async(ring_ + (fetched_ * N + n) * 32, from + n * 32);
    commit_copies();
    row_ = row_ + 1 == rows_ ? 0 : row_ + 1;
    fetched_ = fetched_ + 1 == kStages ? 0 : fetched_ + 1;
  }

  const uint4* units_;
  uint4* ring_;
  int size_, rows_, row_ = 0, fetched_ = 0, taken_ = 0;
};

// sum = bias + x W for the warp's columns; W has `rows` rows of units.
template <class Format, int M, int N, int kStages>
__device__ __forceinline__ void tensor_product(const typename Format::Number* x, int stride, int rows,
                                               const float* bias, int column, int width,
                                               WeightStream<N, kStages>& stream, float (&sum)[M][N][4]) {
  using P = TensorProduct<Format>;
#pragma unroll
  for (int n = 0; n < N; ++n) {
    const int j = column + 8 * n;
    const float2 b = j < width ? *reinterpret_cast<const float2*>(bias + j) : make_float2(0.0f, 0.0f);
#pragma unroll
    for (int m = 0; m < M; ++m) {
      sum[m][n][0] = sum[m][n][2] = b.x;
      sum[m][n][1] = sum[m][n][3] = b.y;
    }
  }
  for (int u = 0; u < rows; ++u) {
    uint4 w[N];
    stream.take(w);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int m = 0; m < M; ++m) {
        uint32_t a[4];
        P::load(a, x + 16 * m * stride + u * P::kUnit.depth + half * (P::kUnit.depth / 2), stride);
#pragma unroll
        for (int n = 0; n < N; ++n)
          Format::multiply(sum[m][n], a, half ? w[n].z : w[n].x, half ? w[n].w : w[n].y);
      }
    }
  }
}

// x = act(sum) in the warp's columns.
template <class Format, Activation kKind, int M, int N>
__device__ __forceinline__ void tensor_activate(float (&sum)[M][N][4], int column, typename Format::Number* x,
                                                int stride) {
  const int row = threadIdx.x % 32 / 4;
#pragma unroll
  for (int m = 0; m < M; ++m) {
#pragma unroll
    for (int n = 0; n < N; ++n) {
      float(&s)[4] = sum[m][n];
      typename Format::Number* at = x + (16 * m + row) * stride + column + 8 * n;
      fast_activate<kKind>(s[0], s[1]);
      fast_activate<kKind>(s[2], s[3]);
      Format::store(at, s[0], s[1]);
      Format::store(at + 8 * stride, s[2], s[3]);
    }
  }
}

template <class Format, int M, int N>
__global__ void __launch_bounds__(kTensorThreads, 1) tensor_kernel(const __grid_constant__ CudaArguments p) {
  using P = TensorProduct<Format>;
  using Number = typename Format::Number;
  constexpr int kRows = 16 * M, kStages = stages_of(kRows);
  char* const shared = shared_memory<char>();
  const TensorMemory<P> memory(p, kRows, N);
  Number* const x = reinterpret_cast<Number*>(shared + memory.x);
  Number* const input = reinterpret_cast<Number*>(shared + memory.input);
  float* const a = reinterpret_cast<float*>(shared + memory.a);
  float* const before = reinterpret_cast<float*>(shared + memory.before);
  const int seed = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const CudaPolicy policy(p, seed);
  const RowTile<P> tile(p, seed, static_cast<int64_t>(blockIdx.x) * kRows, a, before, input, memory.input_stride);
  const UnitLayout& u = p.units_layout;
  const uint4* const units = p.units + seed * u.seed_size;
  const int K = p.shape.steps, column = 8 * N * warp + 2 * (lane % 4);
  const StepSchedule schedule{p.policy + p.layout.schedule, K};

  WeightStream<N, kStages> stream(units + warp * N * 32 + lane, u,
                         reinterpret_cast<uint4*>(shared) + warp * kStages * N * 32 + lane);
  tile.load(input_scale_of(schedule, 0), kRows);
  __syncthreads();

  // x = act(from W + bias); from may be x.
  const auto layer = [&](const Number* from, int stride, int rows, const float* bias) {
    float sum[M][N][4];
    tensor_product<Format>(from, stride, rows, bias, column, p.width, stream, sum);
    __syncthreads();
    with_activation(p.shape.form.activation, [&](auto kind) {
      tensor_activate<Format, kind.value>(sum, column, x, memory.stride);
    });
    __syncthreads();
  };

  for (int k = 0; k < K; ++k) {
    layer(input, memory.input_stride, u.first_rows, policy.step_bias + static_cast<size_t>(k) * p.width);
    for (int l = 0; l + 1 < p.shape.layers; ++l)
      layer(x, memory.stride, u.hidden_rows, policy.hidden_bias + l * policy.next_bias);
    // The last layer has few columns: a warp takes 16 rows and reads the weights directly from L2.
    const StepCoefficients step = coefficients_of(schedule, k);
    const float next_scale = k + 1 < K ? input_scale_of(schedule, k + 1) : 0.0f;
    for (int i = warp; i < M * u.last_groups; i += kTensorWarps) {
      const int m = i % M, group = i / M;
      P::multiply(x + 16 * m * memory.stride, memory.stride, units + u.last + group * 32, u.hidden_rows,
                  u.last_groups * 32, [&](int r, int j, float v0, float v1, int, int) {
                    tile.step(step, k, next_scale, 16 * m + r, 8 * group + j, v0, v1, policy.last_bias);
                  });
    }
    __syncthreads();
  }
  wait_copies<0>();
  tile.store(kRows);
}

}  // namespace gtp
