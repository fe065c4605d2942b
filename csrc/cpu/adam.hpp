// Adam with its moving average on the CPU, on the flat buffers of all seeds.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gtp {

// Buffers [S, count]: parameters, both moments, moving average, gradient.
struct AdamArrays {
  float *parameter, *first, *second, *average;
  const float* gradient;
  int seeds;
  size_t count;
};

// Decides which seeds learn. loss [S]; limit: the largest loss that is sound; diverged [S]: the update at which a seed
// diverged, -1 for a healthy one.
struct Health {
  const float* loss;
  double limit;
  int64_t* diverged;
};

// One step of Adam and of the moving average for each seed. Writes the gradient's norm [S] before it is clipped to
// max_norm. The parameters first shrink by rate * weight_decay. A seed freezes for good when its loss is not sound or its
// norm not finite.
void adam_step(const AdamArrays& arrays, const float* rate, double updates, double first_beta, double second_beta,
               double epsilon, double average_rate, double max_norm, double weight_decay, const Health& health,
               float* norm, int threads);

}  // namespace gtp
