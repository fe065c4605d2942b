// What a tile of a product goes through after its sums: bias, activation and its slope, or a factor.
// Included by the files of one instruction set, inside their anonymous namespace, after simd.hpp.


// N reciprocals of numbers from 2 to 1e18.
template <int N>
inline __attribute__((always_inline)) void reciprocals(V (&x)[N]) {
#if GTP_AVX512
  // An estimate of 14 bits and one Newton iteration: a division stalls what follows for longer.
  for (int i = 0; i < N; ++i) {
    const V estimate = _mm512_maskz_rcp14_ps(static_cast<__mmask16>(-1), x[i]);
    x[i] = fma(estimate, fma(-x[i], estimate, broadcast(1.0f)), estimate);
  }
#else
  // 1/a and 1/b are b/(a b) and a/(a b): one division for two. A NaN spreads to its neighbour, in the same row.
  if constexpr (N % 2 == 0) {
    for (int i = 0; i < N; i += 2) {
      const V both = 1.0f / (x[i] * x[i + 1]), first = x[i];
      x[i] = x[i + 1] * both;
      x[i + 1] = first * both;
    }
  } else {
    x[0] = 1.0f / x[0];
  }
#endif
}

// Values and slopes of N vectors: one exponential and one reciprocal each.
template <int N>
inline __attribute__((always_inline)) void mish(const V* x, V* y, V* slope) {
  V e[N], n[N], inverse[N];
  for (int i = 0; i < N; ++i) e[i] = x[i];
  limited_exponentials(e);
  for (int i = 0; i < N; ++i) {
    n[i] = e[i] * (e[i] + 2.0f);
    inverse[i] = n[i] + 2.0f;
  }
  reciprocals(inverse);
  for (int i = 0; i < N; ++i) {
    const V t = n[i] * inverse[i];
    y[i] = x[i] * t;
    slope[i] = t + 4.0f * x[i] * (e[i] * (e[i] + 1.0f)) * (inverse[i] * inverse[i]);
  }
}

// The tanh form: x s(2 u) with u = 0.79788456 (x + 0.044715 x^3) and s the logistic function.
inline __attribute__((always_inline)) void gelu(V x, V& y, V& slope) {
  const V square = x * x;
  const V twice = 1.5957691216f * x * (1.0f + 0.044715f * square);
  const V e = exponential(larger(smaller(-twice, broadcast(87.0f)), broadcast(-87.0f)));
  const V s = 1.0f / (1.0f + e);
  y = x * s;
  slope = s + x * (s * (e * s)) * (1.5957691216f * (1.0f + 0.134145f * square));
}

template <Activation kKind, int N>
inline __attribute__((always_inline)) void activate(const V* x, V* y, V* slope) {
  if constexpr (kKind == Activation::kMish) return mish<N>(x, y, slope);
  for (int i = 0; i < N; ++i) {
    if constexpr (kKind == Activation::kGelu) gelu(x[i], y[i], slope[i]);
    if constexpr (kKind == Activation::kRelu) {
      // As PyTorch: slope 0 at 0; for a NaN `larger` returns its second operand, the NaN, and the slope is 1.
      y[i] = larger(V{}, x[i]);
      slope[i] = x[i] <= 0.0f ? broadcast(0.0f) : broadcast(1.0f);
    }
  }
}

// R rows of N vectors.
template <Activation kKind, int R, int N, bool kSlope>
inline __attribute__((always_inline)) void activate_some(float* y, float* slope, const V* bias) {
  V x[R * N], value[R * N], derivative[R * N];
  const auto at = [](int i) { return i / N * kPanel + i % N * kLanes; };
#pragma GCC unroll 4
  for (int i = 0; i < R * N; ++i) x[i] = load(y + at(i)) + bias[i % N];
  activate<kKind, R * N>(x, value, derivative);
#pragma GCC unroll 4
  for (int i = 0; i < R * N; ++i) store(y + at(i), value[i]);
  if constexpr (kSlope)
#pragma GCC unroll 4
    for (int i = 0; i < R * N; ++i) store(slope + at(i), derivative[i]);
}

template <Activation kKind, int N, bool kSlope>
void activate_tile(float* y, float* slope, const V* bias, int rows) {
  int r = 0;
  // Two rows by two vectors hide each other's latency. With one vector a row, the pairs of mish would mix two rows.
  if constexpr (N == 2)
    for (; r + 2 <= rows; r += 2) activate_some<kKind, 2, N, kSlope>(y + r * kPanel, slope + r * kPanel, bias);
  for (; r < rows; ++r) activate_some<kKind, 1, N, kSlope>(y + r * kPanel, slope + r * kPanel, bias);
}

template <Activation kKind, int N>
void activate_rows(float* y, float* slope, const V* bias, int rows) {
  if (slope != nullptr) return activate_tile<kKind, N, true>(y, slope, bias, rows);
  activate_tile<kKind, N, false>(y, y, bias, rows);  // writes no slope
}

template <int N>
void finish_tile(const Epilogue& epilogue, float* y, size_t at, size_t column, int rows) {
  V bias[N] = {};
  if (epilogue.bias != nullptr)
    for (int n = 0; n < N; ++n) bias[n] = load(epilogue.bias + column + n * kLanes);
  if (epilogue.activate) {
    float* slope = epilogue.slope ? epilogue.slope + at : nullptr;
    switch (epilogue.activation) {
      case Activation::kMish: return activate_rows<Activation::kMish, N>(y, slope, bias, rows);
      case Activation::kRelu: return activate_rows<Activation::kRelu, N>(y, slope, bias, rows);
      case Activation::kGelu: return activate_rows<Activation::kGelu, N>(y, slope, bias, rows);
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int n = 0; n < N; ++n) {
      const int i = r * kPanel + n * kLanes;
      V value = load(y + i) + bias[n];
      if (epilogue.factor != nullptr) value *= load(epilogue.factor + at + i);
      store(y + i, value);
    }
}
