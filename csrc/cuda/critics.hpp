// The TD step of twin critics in one launch of clusters, up to the deltas that weight gradients read (critics.cuh).
#pragma once

#include <array>
#include <cstdint>

namespace gtp {

// Sizes of twin critics: O observation, A action, H width, D hidden layers; M next actions of each row.
struct CriticsShape {
  int observation, action, width, depth, repeats;
};

// Contiguous rows of each seed; seed: numbers from one to the next.
struct SeedRows {
  const float* at;
  int64_t seed;
};

// Parameters [2 S, P] of twin critics: the biases are read from float32, the weights from a bf16 copy.
struct TwinParameters {
  const float* full;
  const uint16_t* copy;
};

struct CriticsArguments {
  CriticsShape shape;
  int seeds;
  int64_t rows;  // B
  float discount;
  SeedRows observation, action;            // [S, B, .]
  SeedRows next_observation, next_action;  // [S, M B, .], row m B + b for action m of row b
  const float *reward, *mask;              // [S, B]
  TwinParameters online, target;
  int64_t stride, copy_stride;  // of their rows
  float *hidden, *deltas;       // [D, 2 S, B, H], of the online critics
  float *gradient, *losses;     // [2 S, B]; [S, 2, n], n blocks of kCriticRows rows
};

// Addresses in the order of CriticsArguments, the copies after the parameters that they are of; then its strides.
using CriticsAddresses = std::array<uintptr_t, 14>;
using CriticsStrides = std::array<int64_t, 6>;

// The arguments of a call, but the shape.
inline CriticsArguments critics_arguments(int seeds, int64_t rows, float discount, const CriticsAddresses& at,
                                          const CriticsStrides& stride) {
  const auto read = [&](int i) { return reinterpret_cast<const float*>(at[i]); };
  const auto copy = [&](int i) { return reinterpret_cast<const uint16_t*>(at[i]); };
  const auto write = [&](int i) { return reinterpret_cast<float*>(at[i]); };
  return {{},
          seeds,
          rows,
          discount,
          {read(0), stride[0]},
          {read(1), stride[1]},
          {read(2), stride[2]},
          {read(3), stride[3]},
          read(4),
          read(5),
          {read(6), copy(7)},
          {read(8), copy(9)},
          stride[4],
          stride[5],
          write(10),
          write(11),
          write(12),
          write(13)};
}

// Ready for critics of one shape on the current device. A call neither waits nor allocates, so it can be captured.
class CudaCritics {
 public:
  // Throws std::invalid_argument with the reason why the device cannot hold such critics, and std::runtime_error with
  // CUDA's own text when CUDA fails.
  explicit CudaCritics(const CriticsShape& shape);

  // Launches on a stream; the shape is that of the constructor, all addresses are on the device. Throws
  // std::invalid_argument for copies of weights that are not aligned.
  void run(CriticsArguments arguments, void* stream) const;

  // The clusters that the device holds at once.
  int clusters() const { return clusters_; }

 private:
  CriticsShape shape_;
  int device_ = 0, clusters_ = 0;
};

}  // namespace gtp
