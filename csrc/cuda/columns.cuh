// The columns kernel, for hundreds of rows: C blocks, a cluster if C > 1, take R rows through all K steps. A thread has
// four columns of every layer for all R rows, and one slice of the inputs, so that a weight goes from L2 to one thread,
// once, and an activation is a broadcast. The sums of the slices are added in shared memory in a fixed order. A thread
// copies its own weights ahead through all layers: it waits for no other thread to get them, and barriers do not stop
// them. The blocks of a cluster share the columns and send each other their results; each computes the last layer.
#pragma once

#include "cuda/columns_rows.cuh"

namespace gtp {

constexpr int kPairBlocks = 2;

// Widest layer of `blocks` blocks.
inline int columns_width(int blocks) { return 4 * kColumnsThreads * blocks; }

// Writes partial[slice][r][group] of x W. x has zeros from depth to the next multiple of kInputs.
template <int R>
__device__ __forceinline__ void columns_product(ColumnsStream& weights, const ColumnsPart& part, const float4* x,
                                                int depth, float4* partial) {
  float4 sum[R];
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
  for (int r = 0; r < R; ++r) partial[(part.slice * R + r) * part.groups + part.own] = sum[r];
}

// What the blocks of a cluster send each other: a layer's results, to the copies of y of all blocks. A block that has
// sent a layer's results has read the layer's input, so the others may overwrite it; two counts take turns, as do the
// copies of y, because another block may be a layer ahead.
template <int C>
class ColumnsExchange {
 public:
  // Ends with a barrier of all blocks: others may write to this one's memory only then.
  __device__ ColumnsExchange(float4* memory, int rank, int bytes) : rank_(rank), bytes_(bytes) {
#if GTP_CLUSTERS
    if constexpr (C > 1) {
      arrivals_ = reinterpret_cast<Arrivals*>(memory);
      if (threadIdx.x < 2) start_arrivals(arrivals_ + threadIdx.x, 1);
      cluster_barrier();
    }
#endif
  }

  __device__ __forceinline__ void send(float4* y, const float4& value) const {
    *y = value;
#if GTP_CLUSTERS
    if constexpr (C > 1)
#pragma unroll
      for (int i = 1; i < C; ++i) store_remote(y, value, arrivals_ + layers_ % 2, (rank_ + i) % C);
#endif
  }

  // Waits until y is whole.
  __device__ __forceinline__ void wait() {
    __syncthreads();
#if GTP_CLUSTERS
    if constexpr (C > 1) {
      if (threadIdx.x == 0) expect_arrivals(arrivals_ + layers_ % 2, bytes_);
      await_arrivals(arrivals_ + layers_ % 2, layers_ / 2 % 2);
      ++layers_;
    }
#endif
  }

 private:
  Arrivals* arrivals_ = nullptr;
  int rank_, bytes_, layers_ = 0;
};

// The block's columns of x W + bias (or null): after a barrier, each(r, sum) gets the sums of the group.
template <int R, class Each>
__device__ __forceinline__ void columns_sums(ColumnsStream& weights, const ColumnsPart& part, const float4* x,
                                             int depth, const float* bias, float4* partial, Each&& each) {
  float4 start = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  if (!part.none()) {
    columns_product<R>(weights, part, x, depth, partial);
    // Loaded before the barrier, which hides its way.
    if (bias != nullptr) start = reinterpret_cast<const float4*>(bias)[part.group];
  }
  __syncthreads();
  for (int r = part.slice; r < R && !part.none(); r += part.slices) {
    float4 sum = add(start, partial[r * part.groups + part.own]);
    for (int s = 1; s < part.slices; ++s) sum = add(sum, partial[(s * R + r) * part.groups + part.own]);
    each(r, sum);
  }
}

// The layout of a block's shared memory, in float4 from the start; the ring of weights is first. One block reads and
// writes x in place; one of a cluster writes what the others read later.
template <int R, int C>
struct ColumnsMemory {
  int partial, x, next, state, scaled, a, before, arrivals, size;

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
    arrivals = before + R * p.action / 4;
    size = arrivals + (C > 1 ? 1 : 0);
  }
};

template <int R, int C>
__device__ __forceinline__ void columns_sample(const CudaArguments& p, int rank) {
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
  __syncthreads();
  ColumnsExchange<C> exchange(shared + m.arrivals, rank, part.others * R * static_cast<int>(sizeof(float4)));
  const auto layer = [&](const float4* from, int depth, const float* bias, bool first) {
    columns_sums<R>(weights, part, from, depth, bias, partial, [&](int r, const float4& sum) {
      exchange.send(next + part.group * (R + 1) + r, activate(first ? add(sum, state[r]) : sum, kind));
    });
    exchange.wait();
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

template <int R, int C>
__global__ void __launch_bounds__(kColumnsThreads, 1) columns_kernel(const __grid_constant__ CudaArguments p) {
#if GTP_CLUSTERS
  columns_sample<R, C>(p, C > 1 ? cluster_rank() : 0);
#else
  if constexpr (C == 1) columns_sample<R, C>(p, 0);
#endif
}

}  // namespace gtp
