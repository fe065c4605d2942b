// The columns kernel, for hundreds of rows: C blocks, a cluster if C > 1, take R rows through all K steps. A thread owns
// four columns of every layer for all R rows, and one slice of the inputs, so that a weight goes from L2 to one thread,
// once, and an activation is a broadcast. The sums of the slices are added in shared memory in a fixed order. A thread
// copies its own weights ahead through all layers: it waits for no other thread to get them, and barriers do not stop
// them. The blocks of a cluster share the columns and send each other their results; each computes the last layer.
#pragma once

#include "cuda/columns_stream.cuh"
#include "cuda/products.cuh"

namespace gtp {

constexpr int kColumnsWarps = kColumnsThreads / 32;
constexpr int kPairBlocks = 2;

// Widest layer of `blocks` blocks.
inline int columns_width(int blocks) { return 4 * kColumnsThreads * blocks; }

// Rows of activations lie in shared memory as [chunks, R + 1, kInputs], the last place of a chunk unused: a thread reads
// R rows at fixed distances, and the lanes of a warp, which write neighbouring chunks, meet different banks.
template <int R>
__host__ __device__ constexpr int columns_room(int inputs) {
  return (inputs + kInputs - 1) / kInputs * (R + 1);  // in float4
}

template <int R>
__device__ __forceinline__ float& columns_at(float4* x, int r, int input) {
  return reinterpret_cast<float*>(x + input / kInputs * (R + 1) + r)[input % kInputs];
}

// Writes partial[slice][r][group] of x W, with the bias (or null) in the first slice. x has zeros from depth to the next
// multiple of kInputs.
template <int R>
__device__ __forceinline__ void columns_product(ColumnsStream& weights, const ColumnsPart& part, const float4* x,
                                                int depth, const float* bias, float4* partial) {
  float4 start = make_float4(0.0f, 0.0f, 0.0f, 0.0f), sum[R];
  if (bias != nullptr && part.slice == 0) start = reinterpret_cast<const float4*>(bias)[part.group];
#pragma unroll
  for (int r = 0; r < R; ++r) sum[r] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  const float4* const end = x + columns_room<R>(depth);
  for (const float4* at = x + part.slice * (R + 1); at < end; at += part.slices * (R + 1)) {
    float4 w[kInputs];
    weights.take(w);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const float4 v = at[r];
      multiply_add(sum[r], v.x, w[0]);
      multiply_add(sum[r], v.y, w[1]);
      multiply_add(sum[r], v.z, w[2]);
      multiply_add(sum[r], v.w, w[3]);
    }
  }
#pragma unroll
  for (int r = 0; r < R; ++r) partial[(part.slice * R + r) * part.groups + part.own] = add(sum[r], start);
}

// A barrier of all threads of C blocks.
template <int C>
__device__ __forceinline__ void columns_barrier() {
#if GTP_CLUSTERS
  if constexpr (C > 1) return cluster_barrier();
#endif
  __syncthreads();
}

// Writes the group's four columns of a row to every block's copy of y.
template <int C>
__device__ __forceinline__ void columns_store(float4* y, const float4& value) {
#if GTP_CLUSTERS
  if constexpr (C > 1) {
#pragma unroll
    for (int block = 0; block < C; ++block) *cluster_peer(y, block) = value;
    return;
  }
#endif
  *y = value;
}

// The block's columns of x W, of a whole layer: after a barrier, each(r, sum) gets the sums of the group.
template <int R, class Each>
__device__ __forceinline__ void columns_sums(ColumnsStream& weights, const ColumnsPart& part, const float4* x,
                                             int depth, const float* bias, float4* partial, Each&& each) {
  if (!part.none) columns_product<R>(weights, part, x, depth, bias, partial);
  __syncthreads();
  for (int r = part.slice; r < R && !part.none; r += part.slices) {
    float4 sum = partial[r * part.groups + part.own];
    for (int s = 1; s < part.slices; ++s) sum = add(sum, partial[(s * R + r) * part.groups + part.own]);
    each(r, sum);
  }
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
  const StepSchedule schedule{p.policy + p.layout.schedule, K};
  const StepCoefficients step = coefficients_of(schedule, k);
  const float next_scale = k + 1 < K ? input_scale_of(schedule, k + 1) : 0.0f;
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

// The layout of a block's shared memory, in float4 from the start; the ring of weights is first. One block reads and
// writes x in place; one of a cluster writes what the others read later.
template <int R, int C>
struct ColumnsMemory {
  int partial, x, next, state, scaled, a, before, size;

  __host__ __device__ explicit ColumnsMemory(const CudaArguments& p) {
    const int groups = (p.width / 4 + C - 1) / C, slices = kColumnsThreads / groups;
    const int layer = slices * groups * R, last = kColumnsWarps * p.action;
    partial = kAhead * kInputs * kColumnsThreads;
    x = partial + (layer > last ? layer : last);
    state = x + columns_room<R>(p.wide);
    next = C > 1 ? state + columns_room<R>(4 * groups) : x;
    scaled = C > 1 ? next + columns_room<R>(p.width) : state + columns_room<R>(4 * groups);
    a = scaled + columns_room<R>(p.action);
    before = a + R * p.action / 4;
    size = before + R * p.action / 4;
  }
};

template <int R, int C>
__global__ void __launch_bounds__(kColumnsThreads, 1) columns_kernel(const __grid_constant__ CudaArguments p) {
#if GTP_CLUSTERS
  const int rank = C > 1 ? cluster_rank() : 0;
#else
  if constexpr (C > 1) return;
  const int rank = 0;
#endif
  float4* const shared = shared_memory<float4>();
  const ColumnsMemory<R, C> m(p);
  const CudaPolicy policy(p, blockIdx.y);
  const ColumnsPart part(p.width, C, rank);
  const int A = p.shape.action, K = p.shape.steps;
  const int64_t offset = static_cast<int64_t>(blockIdx.y) * p.rows;
  float4 *const partial = shared + m.partial, *const state = shared + m.state + part.own * (R + 1);
  ColumnsRows rows{shared + m.x,
                   shared + m.scaled,
                   reinterpret_cast<float*>(shared + m.a),
                   reinterpret_cast<float*>(shared + m.before),
                   p.noise + offset * draws_of(p.shape) * A,
                   static_cast<int64_t>(blockIdx.x / C) * R};
  float4* next = shared + m.next;
  const Activation kind = p.shape.form.activation;

  ColumnsStream weights(p, policy, part, shared);
  columns_load<R>(p, rows, p.observation + offset * p.shape.observation,
                  input_scale_of({p.policy + p.layout.schedule, K}, 0));
  columns_sums<R>(weights, part, rows.x, p.shape.observation, nullptr, partial,
                  [&](int r, const float4& sum) { state[r] = sum; });
  // From here on the other blocks may write to this one's memory.
  columns_barrier<C>();
  const auto layer = [&](const float4* from, int depth, const float* bias, bool first) {
    columns_sums<R>(weights, part, from, depth, bias, partial, [&](int r, const float4& sum) {
      columns_store<C>(next + part.group * (R + 1) + r, activate(first ? add(sum, state[r]) : sum, kind));
    });
    columns_barrier<C>();
    float4* const swap = rows.x;
    rows.x = next;
    next = swap;
  };
  for (int k = 0; k < K; ++k) {
    layer(rows.scaled, A, policy.step_bias + static_cast<size_t>(k) * p.width, true);
    for (int l = 0; l + 1 < p.shape.layers; ++l)
      layer(rows.x, p.shape.width, policy.hidden_bias + l * policy.next_bias, false);
    columns_step<R>(p, policy, rows, k, reinterpret_cast<float*>(partial));
  }
  if (rank == 0) store_actions(p, p.out + offset * A, rows.first, rows.a, R);
}

}  // namespace gtp
