// What a block of the critics' kernel copies into its shared memory.
#pragma once

#include "cuda/critics_memory.cuh"

namespace gtp {

__device__ __forceinline__ float float_of_bf16(uint16_t bits) {
  return __uint_as_float(static_cast<uint32_t>(bits) << 16);
}

// One block's part of a cluster: the rows of the tile, the columns of its rank.
struct CriticsLoader {
  using Number = CriticsMemory::Number;
  const CriticsArguments& p;
  const CriticsMemory& m;
  char* shared;
  int seed, rank;
  int64_t first;

  template <class T>
  __device__ __forceinline__ T* at(size_t offset) const {
    return reinterpret_cast<T*>(shared + offset);
  }

  // Starts to copy the block's columns of all hidden layers of both twins.
  __device__ __forceinline__ void forward_weights(const TwinParameters& from, Number* to) const {
    const int H = p.shape.width, inputs = inputs_of(p.shape), real = inputs + (p.shape.depth - 1) * H;
    for (int i = threadIdx.x; i < 2 * real * m.groups; i += kClusterThreads) {
      const int g = i % m.groups, k = i / m.groups % real, twin = i / m.groups / real;
      // Each layer's biases, a row of H numbers, lie between its weights and the next layer's.
      const int row = k < inputs ? k : k + 1 + (k - inputs) / H;
      const int place = k < inputs ? k : k - inputs + m.inputs;
      copy_async(to + twin * m.forward + (g * m.group_rows + place) * kCriticColumns,
                 from.copy + (2 * seed + twin) * p.copy_stride + static_cast<int64_t>(row) * H + rank * m.columns +
                     g * kCriticColumns);
    }
    const int padding = m.inputs - inputs;
    for (int i = threadIdx.x; i < 2 * m.groups * padding; i += kClusterThreads)
      reinterpret_cast<uint4*>(to)[i / padding * m.group_rows + inputs + i % padding] = uint4{0, 0, 0, 0};
    commit_copies();
  }

  // Starts to copy the rows of the online twins' hidden layers that lead back to the block's columns.
  __device__ __forceinline__ void backward_weights(Number* to) const {
    const int H = p.shape.width, chunks = H / kCriticColumns, rows = (p.shape.depth - 1) * m.columns;
    for (int i = threadIdx.x; i < 2 * rows * chunks; i += kClusterThreads) {
      const int chunk = i % chunks, row = i / chunks % rows, twin = i / chunks / rows;
      const int layer = 1 + row / m.columns, k = rank * m.columns + row % m.columns;
      copy_async(to + twin * m.backward + row * m.stride + chunk * kCriticColumns,
                 p.online.copy + (2 * seed + twin) * p.copy_stride + weight_of(p.shape, layer) +
                     static_cast<int64_t>(k) * H + chunk * kCriticColumns);
    }
    commit_copies();
  }

  // Loads the block's columns of the biases, the last layer whole: of the targets, then of the online critics.
  __device__ __forceinline__ void small(const TwinParameters& from, int first_network) const {
    const int H = p.shape.width, D = p.shape.depth;
    for (int twin = 0; twin < 2; ++twin) {
      const float* const full = from.full + (2 * seed + twin) * p.stride;
      const Number* const copy = from.copy + (2 * seed + twin) * p.copy_stride;
      const int network = first_network + twin;
      for (int i = threadIdx.x; i < D * m.columns; i += kClusterThreads)
        at<float>(m.bias)[network * D * m.columns + i] =
            full[bias_of(p.shape, i / m.columns) + rank * m.columns + i % m.columns];
      for (int i = threadIdx.x; i < H; i += kClusterThreads)
        at<float>(m.last)[network * H + i] = float_of_bf16(copy[weight_of(p.shape, D) + i]);
      if (threadIdx.x == 0) at<float>(m.last_bias)[network] = full[bias_of(p.shape, D)];
    }
  }

  // Loads the rows of a first layer's inputs, rounded; missing ones become zero.
  __device__ __forceinline__ void inputs(const SeedRows& observation, const SeedRows& action, int64_t begin,
                                         Number* to) const {
    const int O = p.shape.observation, A = p.shape.action;
    for (int i = threadIdx.x; i < kCriticRows * m.input_stride; i += kClusterThreads) {
      const int64_t row = begin + first + i / m.input_stride;
      const int j = i % m.input_stride;
      float x = 0.0f;
      if (first + i / m.input_stride < p.rows) {
        if (j < O)
          x = observation.at[seed * observation.seed + row * O + j];
        else if (j < O + A)
          x = action.at[seed * action.seed + row * A + j - O];
      }
      to[i] = Bf16::number(x);
    }
  }

  // Loads all that is small: inputs of every pass, rewards, masks, biases, last layers.
  __device__ __forceinline__ void all_small() const {
    Number* const to = at<Number>(m.input);
    const int tile = kCriticRows * m.input_stride, M = p.shape.repeats;
    for (int i = 0; i < M; ++i) inputs(p.next_observation, p.next_action, i * p.rows, to + i * tile);
    inputs(p.observation, p.action, 0, to + M * tile);
    small(p.target, 0);
    small(p.online, 2);
    if (threadIdx.x < kCriticRows) {
      const int64_t row = first + threadIdx.x;
      at<float>(m.reward)[threadIdx.x] = row < p.rows ? p.reward[seed * p.rows + row] : 0.0f;
      at<float>(m.mask)[threadIdx.x] = row < p.rows ? p.mask[seed * p.rows + row] : 0.0f;
    }
  }
};

}  // namespace gtp
