// The sinusoids that embed a time.
// Included by mlp.cpp inside its anonymous namespace.

// sin and cos of |x| < 2000, reduced to [-pi/4, pi/4] by three parts of pi/2; only the last product with n is inexact.
inline __attribute__((always_inline)) void sine_cosine(float x, float& sine, float& cosine) {
  const float shift = 12582912.0f;
  const float n = (x * 0.636619772f + shift) - shift;
  const float r = ((x - n * 1.5703125f) - n * 4.837512969970703125e-4f) - n * 7.54978995489188216e-8f;
  const float z = r * r;
  const float s = r + r * z * (-1.0f / 6 + z * (1.0f / 120 + z * (-1.0f / 5040 + z * (1.0f / 362880))));
  const float c =
      1.0f - z * (1.0f / 2 - z * (1.0f / 24 - z * (1.0f / 720 - z * (1.0f / 40320 - z * (1.0f / 3628800)))));
  const int32_t quadrant = static_cast<int32_t>(n);
  const bool odd = (quadrant & 1) != 0;
  const float sine_base = odd ? c : s, cosine_base = odd ? s : c;
  sine = (quadrant & 2) != 0 ? -sine_base : sine_base;
  cosine = ((quadrant + 1) & 2) != 0 ? -cosine_base : cosine_base;
}

void sinusoid(const float* x, size_t count, const float* rates, int half, float* out) {
  for (size_t i = 0; i < count; ++i, out += 2 * half) {
    const float scaled = kTimeScale * x[2 * i];
    for (int j = 0; j < half; ++j) sine_cosine(scaled * rates[j], out[j], out[half + j]);
  }
}
