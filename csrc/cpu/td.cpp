#include "cpu/td.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace gtp {
namespace {

bool above(float x, float y) { return x > y || std::isnan(x); }
bool below(float x, float y) { return x < y || std::isnan(x); }

// The least of the twins' values [twins, stride] at a row.
float least(const float* values, int twins, size_t stride) {
  float q = values[0];
  for (int j = 1; j < twins; ++j)
    if (below(values[j * stride], q)) q = values[j * stride];
  return q;
}

// The median of numbers that are changed in order; of an even count the lower middle one.
float median(std::vector<float>& x) {
  const auto middle = x.begin() + (x.size() - 1) / 2;
  std::nth_element(x.begin(), middle, x.end());
  return *middle;
}

// 1.4826 times the median absolute deviation from the median; NaN if a value is, or if the median is infinite, from
// which infinite values deviate by NaN.
float robust_scale(const float* values, size_t count) {
  std::vector<float> x(values, values + count);
  // Each by itself: the mean of infinities of both signs is NaN too.
  if (std::any_of(x.begin(), x.end(), [](float v) { return std::isnan(v); })) return NAN;
  const float middle = median(x);
  if (std::isinf(middle)) return NAN;
  for (float& v : x) v = std::abs(v - middle);
  return 1.4826f * median(x);
}

float deviation_of(const float* values, size_t count, double mean) {
  double squares = 0.0;
  for (size_t b = 0; b < count; ++b) squares += (values[b] - mean) * (values[b] - mean);
  return static_cast<float>(std::sqrt(squares / static_cast<double>(count)));
}

}  // namespace

void td_loss(const TwinShape& shape, const TdInputs& in, float* loss, float* gradient) {
  const size_t B = shape.rows, T = shape.twins, m = in.actions;
  const float slope = 2.0f / static_cast<float>(shape.rows);
  for (int s = 0; s < shape.seeds; ++s) {
    const float *values = in.values + s * T * B, *next_values = in.next_values + s * T * m * B;
    double total = 0.0;
    for (size_t b = 0; b < B; ++b) {
      float next = 0.0f;
      for (size_t j = 0; j < T; ++j) {
        float best = next_values[j * m * B + b];
        for (size_t i = 1; i < m; ++i)
          if (const float q = next_values[(j * m + i) * B + b]; above(q, best)) best = q;
        if (j == 0 || below(best, next)) next = best;
      }
      const float target = in.reward[s * B + b] + in.discount * in.mask[s * B + b] * next;
      for (size_t j = 0; j < T; ++j) {
        const float d = values[j * B + b] - target;
        total += static_cast<double>(d) * d;
        gradient[(s * T + j) * B + b] = slope * d;
      }
    }
    loss[s] = static_cast<float>(total / static_cast<double>(B));
  }
}

void weigh(const TwinShape& shape, const float* values, int actions, const float* eta, float maximum,
           AdvantageScale scale, float* w, float* statistics) {
  const size_t B = shape.rows, S = shape.seeds, stride = (1 + actions) * B;
  const float ceiling = std::log(maximum);
  for (size_t s = 0; s < S; ++s) {
    const float* of_seed = values + s * shape.twins * stride;
    float* const to = w + s * B;
    double total_q = 0.0, total = 0.0, total_w = 0.0;
    for (size_t b = 0; b < B; ++b) {
      const float q = least(of_seed + b, shape.twins, stride);
      double v = 0.0;
      for (int i = 1; i <= actions; ++i) v += least(of_seed + i * B + b, shape.twins, stride);
      to[b] = q - static_cast<float>(v / actions);
      total_q += q;
      total += to[b];
    }
    const double mean = total / static_cast<double>(B);
    const float deviation = scale == AdvantageScale::kMad ? robust_scale(to, B) : deviation_of(to, B, mean);
    float largest = 0.0f;
    for (size_t b = 0; b < B; ++b) {
      const float exponent = eta[s] * (to[b] < 0.0f ? 0.0f : to[b]) / (deviation + 1e-6f);
      to[b] = std::exp(exponent > ceiling ? ceiling : exponent);
      total_w += to[b];
      if (above(to[b], largest)) largest = to[b];
    }
    statistics[s] = static_cast<float>(total_q / static_cast<double>(B));
    statistics[S + s] = deviation;
    statistics[2 * S + s] = static_cast<float>(total_w / static_cast<double>(B));
    statistics[3 * S + s] = largest;
  }
}

}  // namespace gtp
