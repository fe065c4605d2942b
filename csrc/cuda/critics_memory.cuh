// The layout of a block's shared memory in the kernel of the critics.
#pragma once

#include "cuda/cluster_exchange.cuh"
#include "cuda/critics.hpp"

namespace gtp {

inline __host__ __device__ int inputs_of(const CriticsShape& s) { return s.observation + s.action; }

// Where a layer's weights begin in a row of parameters; layer D has one column.
inline __host__ __device__ int weight_of(const CriticsShape& s, int layer) {
  return layer == 0 ? 0 : (inputs_of(s) + 1 + (layer - 1) * (s.width + 1)) * s.width;
}

// Where its biases begin.
inline __host__ __device__ int bias_of(const CriticsShape& s, int layer) {
  return weight_of(s, layer) + (layer == 0 ? inputs_of(s) : layer == s.depth ? 1 : s.width) * s.width;
}

constexpr int kCriticRows = 16;
constexpr int kCriticColumns = 8;                               // of a group, which one warp multiplies
constexpr int kCriticWidths = kClusterBlocks * kCriticColumns;  // a width is a multiple
constexpr int kCriticDepth = 32;                                // inputs that a warp takes at once

// A weight of the forward pass lies at [group][input][column of 8]: eight inputs of a group fill all banks. Two inputs
// more a group spread the copies of neighbouring groups. The backward pass reads its rows as they are.
struct CriticsMemory {
  using Number = uint16_t;
  int groups, columns;                         // of one block and network
  int inputs, input_stride, stride;            // first layer's inputs, padded; rows of inputs, of activations
  int group_rows;                              // inputs of a group
  int forward, backward;                       // numbers of a network
  size_t target, online, x[2], input;          // Numbers, in bytes from the start, like all below
  size_t arrivals;
  size_t slopes, bias, last, last_bias, reward, mask, values;  // floats
  int exchanges;
  size_t bytes;

  __host__ __device__ explicit CriticsMemory(const CriticsShape& s) {
    columns = s.width / kClusterBlocks;
    groups = columns / kCriticColumns;
    inputs = (inputs_of(s) + kCriticDepth - 1) / kCriticDepth * kCriticDepth;
    stride = s.width + kCriticColumns;
    input_stride = inputs + kCriticColumns;
    group_rows = inputs + (s.depth - 1) * s.width + 2;
    forward = groups * group_rows * kCriticColumns;
    backward = (s.depth - 1) * columns * stride;
    exchanges = (s.repeats + 2) * s.depth - 1;
    size_t at = 0;
    const auto take = [&at](size_t count, size_t size) {
      const size_t here = at;
      at += (count * size + 15) / 16 * 16;
      return here;
    };
    const size_t number = sizeof(Number), real = sizeof(float), both = 2 * kCriticRows;
    // The target critics, then the online ones as they are read backward.
    target = take(2 * static_cast<size_t>(forward > backward ? forward : backward), number);
    online = take(2 * static_cast<size_t>(forward), number);
    x[0] = take(both * stride, number);
    x[1] = take(both * stride, number);
    input = take((s.repeats + 1) * kCriticRows * static_cast<size_t>(input_stride), number);
    arrivals = take(cluster_counts(exchanges), sizeof(Arrivals));
    slopes = take(both * s.depth * columns, real);
    bias = take(4 * static_cast<size_t>(s.depth) * columns, real);
    last = take(4 * static_cast<size_t>(s.width), real);
    last_bias = take(4, real);
    reward = take(kCriticRows, real);
    mask = take(kCriticRows, real);
    values = take(2 * both, real);
    bytes = at;
  }
};

}  // namespace gtp
