// The cluster kernel, for a few rows: eight blocks hold the whole policy in their shared memory, each an eighth of the
// columns of every layer, and take kRows rows through all K steps. A layer's results go straight to every block's copy
// of the activations (cluster_exchange.cuh). Every block computes the last layer, which has few columns.
//
// A cluster reads the weights once and exchanges results K L times: in bf16 at width 256 with three layers 37 kB of
// units a block, the last layer aside, and for K = 5 fifteen times 8 kB.
#pragma once

#include "cuda/cluster_exchange.cuh"

namespace gtp {

// The layout of a block's shared memory.
template <class P>
struct ClusterMemory {
  using Number = typename P::Number;
  int groups, columns;          // of one block
  int stride, input_stride;     // of rows of activations, of first-layer inputs
  size_t units, last;           // weights, in bytes from the start, like all below
  size_t x[2], input;           // Numbers
  size_t arrivals;
  size_t a, before, bias, last_bias, schedule;  // floats
  size_t bytes;

  __host__ __device__ explicit ClusterMemory(const CudaArguments& p) {
    const UnitLayout& u = p.units_layout;
    groups = u.groups / kClusterBlocks;
    columns = groups * P::kUnit.columns;
    stride = u.widest() + P::kPad;
    input_stride = u.first_rows * P::kUnit.depth + P::kPad;
    const size_t unit = P::kUnit.vectors * sizeof(uint4);
    const size_t floats = sizeof(float), numbers = sizeof(Number) * P::kRows;
    units = 0;
    last = units + u.stream_rows * groups * unit;
    x[0] = last + u.hidden_rows * u.last_groups * unit;
    x[1] = x[0] + stride * numbers;
    input = x[1] + stride * numbers;
    arrivals = input + input_stride * numbers;
    a = arrivals + cluster_counts(p.shape.layers) * sizeof(Arrivals);
    before = a + P::kRows * p.action * floats;
    bias = before + P::kRows * p.action * floats;
    last_bias = bias + (p.shape.steps + p.shape.layers - 1) * columns * floats;
    schedule = last_bias + p.action * floats;
    bytes = schedule + StepSchedule::kFields * p.shape.steps * floats;
  }
};

// Loads the block's weights: its groups of every row of units, and the whole last layer.
template <class P>
__device__ __forceinline__ void load_units(const CudaArguments& p, const ClusterMemory<P>& m, int seed, int rank,
                                           uint4* units, uint4* last) {
  const UnitLayout& u = p.units_layout;
  const uint4* from = p.units + seed * u.seed_size;
  const int own = m.groups * P::kUnit.vectors, row = u.groups * P::kUnit.vectors;
  for (int i = threadIdx.x; i < u.stream_rows * own; i += kClusterThreads)
    copy_async(units + i, from + static_cast<size_t>(i / own) * row + rank * own + i % own);
  const int tail = u.hidden_rows * u.last_groups * P::kUnit.vectors;
  for (int i = threadIdx.x; i < tail; i += kClusterThreads) copy_async(last + i, from + u.last + i);
  commit_copies();
}

// Loads the block's columns of the biases [K + L - 1], those of the steps first; the last bias; the schedule.
template <class P>
__device__ __forceinline__ void load_biases(const CudaArguments& p, const ClusterMemory<P>& m, int seed, int rank,
                                            float* bias, float* last_bias, float* schedule) {
  const CudaPolicy policy(p, seed);
  const int K = p.shape.steps;
  for (int i = threadIdx.x; i < (K + p.shape.layers - 1) * m.columns; i += kClusterThreads) {
    const int row = i / m.columns, column = rank * m.columns + i % m.columns;
    const float* from = row < K ? policy.step_bias + row * p.width : policy.hidden_bias + (row - K) * policy.next_bias;
    bias[i] = column < p.width ? from[column] : 0.0f;
  }
  for (int i = threadIdx.x; i < p.action; i += kClusterThreads) last_bias[i] = policy.last_bias[i];
  for (int i = threadIdx.x; i < StepSchedule::kFields * K; i += kClusterThreads)
    schedule[i] = p.policy[p.layout.schedule + i];
}

// Blocks that a multiprocessor's registers have to hold: as many as its shared memory, in bf16 at width 256.
template <class P>
constexpr int cluster_blocks_at_once() {
  return sizeof(typename P::Number) == 2 ? 3 : 1;
}

template <class Exchange>
__global__ void __launch_bounds__(kClusterThreads, cluster_blocks_at_once<typename Exchange::P>()) cluster_kernel(
    const __grid_constant__ CudaArguments p) {
#if GTP_CLUSTERS
  using P = typename Exchange::P;
  using Number = typename P::Number;
  char* const shared = shared_memory<char>();
  const ClusterMemory<P> m(p);
  uint4* const units = reinterpret_cast<uint4*>(shared + m.units);
  uint4* const last = reinterpret_cast<uint4*>(shared + m.last);
  Number* x = reinterpret_cast<Number*>(shared + m.x[0]);
  Number* next = reinterpret_cast<Number*>(shared + m.x[1]);
  Number* const input = reinterpret_cast<Number*>(shared + m.input);
  float* const a = reinterpret_cast<float*>(shared + m.a);
  float* const before = reinterpret_cast<float*>(shared + m.before);
  float* const bias = reinterpret_cast<float*>(shared + m.bias);
  float* const last_bias = reinterpret_cast<float*>(shared + m.last_bias);
  float* const schedule = reinterpret_cast<float*>(shared + m.schedule);
  const int rank = cluster_rank(), seed = blockIdx.y, warp = threadIdx.x / 32;
  const RowTile<P> tile(p, seed, static_cast<int64_t>(blockIdx.x / kClusterBlocks) * P::kRows, a, before, input,
                        m.input_stride);
  const UnitLayout& u = p.units_layout;
  const int row_size = m.groups * P::kUnit.vectors, K = p.shape.steps;
  Exchange exchange(reinterpret_cast<Arrivals*>(shared + m.arrivals), p.shape.layers, m.groups, rank);

  load_units<P>(p, m, seed, rank, units, last);
  load_biases<P>(p, m, seed, rank, bias, last_bias, schedule);
  // Inputs beyond a layer's width are multiplied by zero weights, so they must be finite.
  for (int i = threadIdx.x; i < 2 * P::kRows * m.stride; i += kClusterThreads) x[i] = P::number(0.0f);
  tile.load(p.policy[p.layout.schedule], P::kRows);
  wait_copies<0>();
  // From here on other blocks may write to this one's memory.
  cluster_barrier();

  // to = act(from W + bias) in every block.
  const auto layer = [&](const Number* from, int stride, const uint4* weights, int rows, const float* at, Number* to) {
    for (int g = warp; g < m.groups; g += kClusterWarps) {
      const float* const bias_of = at + g * P::kUnit.columns;
      Number* const mine = to + rank * m.columns + g * P::kUnit.columns;
      P::multiply(from, stride, weights + g * P::kUnit.vectors, rows, row_size,
                  [&](int r, int j, float v0, float v1, int copy, int copies) {
                    v0 += bias_of[j];
                    v1 += bias_of[j + 1];
                    P::activate_two(v0, v1, p.shape.form.activation);
                    exchange.take(mine, m.stride, r, j, v0, v1, copy, copies);
                  });
      exchange.send(mine, m.stride);
    }
    exchange.wait();
  };

  for (int k = 0; k < K; ++k) {
    layer(input, m.input_stride, units, u.first_rows, bias + k * m.columns, x);
    for (int l = 0; l + 1 < p.shape.layers; ++l) {
      layer(x, m.stride, units + (u.first_rows + l * u.hidden_rows) * row_size, u.hidden_rows,
            bias + (K + l) * m.columns, next);
      Number* const swap = x;
      x = next;
      next = swap;
    }
    const StepCoefficients step = coefficients_of({schedule, K}, k);
    const float next_scale = k + 1 < K ? input_scale_of({schedule, K}, k + 1) : 0.0f;
    for (int g = warp; g < u.last_groups; g += kClusterWarps)
      P::multiply(x, m.stride, last + g * P::kUnit.vectors, u.hidden_rows, u.last_groups * P::kUnit.vectors,
                  [&](int r, int j, float v0, float v1, int copy, int) {
                    if (copy == 0) tile.step(step, k, next_scale, r, g * P::kUnit.columns + j, v0, v1, last_bias);
                  });
    __syncthreads();
    // Layers write to both copies by turns, across steps too.
    Number* const swap = x;
    x = next;
    next = swap;
  }
  if (rank == 0) tile.store(P::kRows);
#endif
}

}  // namespace gtp
