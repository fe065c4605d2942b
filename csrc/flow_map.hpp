// The folded policy: how its numbers lie in memory, and the arithmetic of one element. Host and device share it.
#pragma once

#include <cstddef>

#include "philox.hpp"

namespace gtp {

// Sizes of a policy: S seeds, O observation, A action, H width, L hidden layers, K sampler steps.
struct Shape {
  int seeds, observation, action, width, layers, steps;
};

// The shape itself; throws std::invalid_argument that names a size out of range.
const Shape& checked(const Shape& shape);

// The flat float32 array that `load` takes: the fields one after another, each with its seed axis first,
// weights as [in, out]. The last three are shared by all seeds.
struct FlatLayout {
  size_t first_action;       // [S, A, H]
  size_t first_observation;  // [S, O, H]
  size_t step_bias;          // [S, K, H]
  size_t hidden_weight;      // L-1 times [S, H, H]
  size_t hidden_bias;        // L-1 times [S, H]
  size_t last_weight;        // [S, H, A]
  size_t last_bias;          // [S, A]
  size_t input_scale;        // [K], c_in of the contract
  size_t keep;               // [K]
  size_t gain;               // [K]
  size_t total;

  explicit FlatLayout(const Shape& shape) : FlatLayout(shape, shape.width, shape.action) {}

  // The same with padded rows: `width` columns where H stand above, `action` columns where A are the last axis.
  FlatLayout(const Shape& shape, size_t width, size_t action) {
    const size_t S = shape.seeds, O = shape.observation, A = shape.action, H = shape.width;
    const size_t K = shape.steps, hidden = shape.layers - 1;
    first_action = 0;
    first_observation = first_action + S * A * width;
    step_bias = first_observation + S * O * width;
    hidden_weight = step_bias + S * K * width;
    hidden_bias = hidden_weight + hidden * S * H * width;
    last_weight = hidden_bias + hidden * S * width;
    last_bias = last_weight + S * H * action;
    input_scale = last_bias + S * action;
    keep = input_scale + K;
    gain = keep + K;
    total = gain + K;
  }
};

constexpr float kMishLimit = 20.0f;  // above it mish(x) is x to float rounding, and exp(x)^2 stays finite

// mish(x) = x n / (n + 2), n = e (e + 2), e = exp(min(x, 20)): one exponential, one division. V: float or a vector.
template <class V>
GTP_HD V mish_of_exp(V x, V e) {
  const V n = e * (e + 2.0f);
  return x * (n / (n + 2.0f));
}

// d mish / dx = t + 4 x e (e + 1) / (n + 2)^2 with t = n / (n + 2).
template <class V>
GTP_HD V mish_slope_of_exp(V x, V e) {
  const V n = e * (e + 2.0f);
  const V inverse = 1.0f / (n + 2.0f);
  return n * inverse + 4.0f * x * (e * (e + 1.0f)) * (inverse * inverse);
}

// One step of the folded flow map: a <- keep a + gain F.
template <class V>
GTP_HD V flow_step(V a, V output, float keep, float gain) {
  return keep * a + gain * output;
}

GTP_HD float clip_action(float a) {
  // Written so that a NaN stays one.
  return a > 1.0f ? 1.0f : (a < -1.0f ? -1.0f : a);
}

}  // namespace gtp
