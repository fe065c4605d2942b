// A policy: its sizes, the layout of its numbers, and the arithmetic of one element. Host and device share it.
#pragma once

#include <cstddef>
#include <initializer_list>

#include "philox.hpp"

namespace gtp {

// The activations of the hidden layers; Python passes these numbers.
enum class Activation : int { kMish, kRelu, kGelu };

// "mish", "gelu" (tanh form) or "relu"; throws std::invalid_argument for another name.
Activation activation_of(const char* name);

// What matrix products read; sums are always float32. tf32 exists on a GPU only, int8 on a CPU only.
enum class Precision { kFp32, kTf32, kBf16, kInt8 };

// The precision of a name, among those offered; throws std::invalid_argument that lists them.
Precision precision_of(const char* name, std::initializer_list<Precision> offered);
const char* name_of(Precision precision);

// The kind of policy. clamp: every step clips the clean action. stochastic: a step adds noise; then the noise of a call
// is [S, K, B, A], draw 0 first, instead of [S, B, A]. squash: the clean action goes through tanh.
struct Form {
  Activation activation;
  bool clamp, stochastic, squash;
};

// Sizes of a policy: S seeds, O observation, A action, H width, L hidden layers, K sampler steps.
struct Shape {
  int seeds, observation, action, width, layers, steps;
  Form form;
};

// Draws of noise for one row.
GTP_HD int draws_of(const Shape& shape) { return shape.form.stochastic ? shape.steps : 1; }

// Returns the shape; throws std::invalid_argument that names a size out of range.
const Shape& checked(const Shape& shape);

// The coefficients of one sampler step: phi = skip a + out F, a <- keep a + gain phi + carry phi_before + spread z.
// F reads input_scale a; the reference calls input_scale c_in.
struct StepCoefficients {
  float input_scale, skip, out, keep, gain, carry, spread;
};

// The coefficients of all K steps: numbers [7, K], a row for each field of StepCoefficients.
struct StepSchedule {
  static constexpr int kFields = 7;
  const float* numbers;
  int steps;
};

GTP_HD StepCoefficients coefficients_of(const StepSchedule& schedule, int k) {
  const int K = schedule.steps;
  const float* p = schedule.numbers + k;
  return {p[0], p[K], p[2 * K], p[3 * K], p[4 * K], p[5 * K], p[6 * K]};
}

GTP_HD float input_scale_of(const StepSchedule& schedule, int k) { return schedule.numbers[k]; }

// The flat float32 array that `load` takes: the fields one after another, each with its seed axis first,
// weights as [in, out]. All seeds share the schedule.
struct FlatLayout {
  size_t first_action;       // [S, A, H]
  size_t first_observation;  // [S, O, H]
  size_t step_bias;          // [S, K, H]
  size_t hidden_weight;      // L-1 times [S, H, H]
  size_t hidden_bias;        // L-1 times [S, H]
  size_t last_weight;        // [S, H, A]
  size_t last_bias;          // [S, A]
  size_t schedule;           // [7, K]
  size_t total;

  explicit FlatLayout(const Shape& shape) : FlatLayout(shape, shape.width, shape.action) {}

  // The same with padded rows: `width` columns instead of H, and `action` columns where the last axis is A.
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
    schedule = last_bias + S * action;
    total = schedule + StepSchedule::kFields * K;
  }
};

constexpr float kExpLimit = 20.0f;  // above it mish(x) and gelu(x) are x to float rounding, and exp(x)^2 stays finite

// mish(x) = x n / (n + 2), n = e (e + 2), e = exp(min(x, 20)): one exponential, one division. V: float or a vector.
template <class V>
GTP_HD V mish_of_exp(V x, V e) {
  const V n = e * (e + 2.0f);
  return x * (n / (n + 2.0f));
}

// The tanh form of gelu is x e / (e + 1), e = exp(min(u, 20)), u = 2 sqrt(2 / pi) (x + 0.044715 x^3).
template <class V>
GTP_HD V gelu_exponent(V x) {
  return x * (1.5957691216057308f + 0.07135481627f * (x * x));
}

template <class V>
GTP_HD V gelu_of_exp(V x, V e) {
  return x * (e / (e + 1.0f));
}

// One step of the folded sampler without its noise. Math gives fma, clip and tanh for V, a float or a vector.
template <class Math, class V>
GTP_HD V flow_step(V a, V output, V& before, const StepCoefficients& s, const Form& form) {
  V phi = Math::fma(Math::fill(s.out), output, s.skip * a);
  if (form.squash) phi = Math::tanh(phi);
  if (form.clamp) phi = Math::clip(phi);
  a = Math::fma(Math::fill(s.carry), before, Math::fma(Math::fill(s.gain), phi, s.keep * a));
  before = phi;
  return a;
}

GTP_HD float clip_action(float a) {
  // Both comparisons are false for a NaN, which stays one.
  return a > 1.0f ? 1.0f : (a < -1.0f ? -1.0f : a);
}

}  // namespace gtp
