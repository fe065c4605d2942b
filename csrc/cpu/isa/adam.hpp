// Adam with its moving average in one pass, and the sum of squares behind the gradient's norm.
// Included by mlp.cpp inside its anonymous namespace.

// In float64, one chain for each lane.
double square_sum(const float* x, size_t count) {
  double lanes[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int j = 0; j < kLanes; ++j) lanes[j] += static_cast<double>(x[i + j]) * x[i + j];
  for (int j = 0; i < count; ++i, ++j) lanes[j] += static_cast<double>(x[i]) * x[i];
  double total = 0.0;
  for (const double lane : lanes) total += lane;
  return total;
}

void adam(float* __restrict parameter, const float* __restrict gradient, float* __restrict first,
          float* __restrict second, float* __restrict average, size_t count, const AdamScalars& scalars) {
  const AdamScalars s = scalars;
  for (size_t i = 0; i < count; ++i) {
    const float g = s.gradient_scale * gradient[i];
    const float m = first[i] + s.first_decay * (g - first[i]);
    const float v = second[i] + s.second_decay * (g * g - second[i]);
    const float p = s.kept * parameter[i] - s.rate * m / (__builtin_sqrtf(v) * s.second_correction + s.epsilon);
    first[i] = m;
    second[i] = v;
    parameter[i] = p;
    average[i] += s.average_rate * (p - average[i]);
  }
}
