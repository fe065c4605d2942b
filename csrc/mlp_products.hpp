// Products of matrices in panels: register tiles over rows, one chain of multiply-adds for each element.
// Included by one mlp_*.cpp for each instruction set, inside that file's own anonymous namespace.
constexpr int kPanel = 2 * GTP_LANES;
constexpr int kSumRows = 256;  // rows that one chain of a gradient spans; partial sums are added in order

// sum[r][n] = sum over k of a(r, k) w(k, n): rows of `a` lie kPanel apart, its panels `plane` apart.
template <int R, int N>
inline __attribute__((always_inline)) void accumulate(const float* a, size_t plane, int depth, const float* w, float* y) {
  V sum[R][N] = {};
  for (int first = 0; first < depth; first += kPanel, a += plane) {
    const int count = depth - first < kPanel ? depth - first : kPanel;
    for (int k = 0; k < count; ++k, w += kPanel) {
      V weight[N];
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) weight[n] = load(w + n * GTP_LANES);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const V v = broadcast(a[r * kPanel + k]);
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) sum[r][n] += v * weight[n];
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) store(y + r * kPanel + n * GTP_LANES, sum[r][n]);
}

// Value and slope by one exponential and one division.
inline __attribute__((always_inline)) void mish_pair(V x, V& y, V& slope) {
  const V e = limited_exponential(x);
  const V n = e * (e + 2.0f);
  const V inverse = 1.0f / (n + 2.0f);
  const V t = n * inverse;
  y = x * t;
  slope = t + 4.0f * x * (e * (e + 1.0f)) * (inverse * inverse);
}

// The tanh form: x s(2 u) with u = 0.79788456 (x + 0.044715 x^3) and s the logistic function.
inline __attribute__((always_inline)) void gelu_pair(V x, V& y, V& slope) {
  const V square = x * x;
  const V twice = 1.5957691216f * x * (1.0f + 0.044715f * square);
  const V e = exponential(larger(smaller(-twice, broadcast(87.0f)), broadcast(-87.0f)));
  const V s = 1.0f / (1.0f + e);
  y = x * s;
  slope = s + x * (s * (e * s)) * (1.5957691216f * (1.0f + 0.134145f * square));
}

template <Activation kKind>
inline __attribute__((always_inline)) void activate(V x, V& y, V& slope) {
  if constexpr (kKind == Activation::kMish) mish_pair(x, y, slope);
  if constexpr (kKind == Activation::kGelu) gelu_pair(x, y, slope);
  if constexpr (kKind == Activation::kRelu) {
    y = x > 0.0f ? x : x * 0.0f;
    slope = x >= 0.0f ? broadcast(1.0f) : broadcast(0.0f);
  }
}

template <Activation kKind, bool kSlope>
void activate_tile(float* y, float* slope, const V* bias, int rows, int vectors) {
  for (int r = 0; r < rows; ++r)
    for (int n = 0; n < vectors; ++n) {
      const int at = r * kPanel + n * GTP_LANES;
      V value, derivative;
      activate<kKind>(load(y + at) + bias[n], value, derivative);
      store(y + at, value);
      if constexpr (kSlope) store(slope + at, derivative);
    }
}

template <Activation kKind>
void activate_rows(float* y, float* slope, const V* bias, int rows, int vectors) {
  if (slope != nullptr) return activate_tile<kKind, true>(y, slope, bias, rows, vectors);
  activate_tile<kKind, false>(y, slope, bias, rows, vectors);
}

void finish_tile(const Epilogue& epilogue, float* y, size_t at, size_t column, int rows, int vectors) {
  V bias[2] = {};
  if (epilogue.bias != nullptr)
    for (int n = 0; n < vectors; ++n) bias[n] = load(epilogue.bias + column + n * GTP_LANES);
  if (epilogue.activate) {
    float* slope = epilogue.slope ? epilogue.slope + at : nullptr;
    switch (epilogue.activation) {
      case Activation::kMish: return activate_rows<Activation::kMish>(y, slope, bias, rows, vectors);
      case Activation::kRelu: return activate_rows<Activation::kRelu>(y, slope, bias, rows, vectors);
      case Activation::kGelu: return activate_rows<Activation::kGelu>(y, slope, bias, rows, vectors);
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int n = 0; n < vectors; ++n) {
      const int i = r * kPanel + n * GTP_LANES;
      V value = load(y + i) + bias[n];
      if (epilogue.factor != nullptr) value *= load(epilogue.factor + at + i);
      store(y + i, value);
    }
}

// Calls work with `size`, 1..R, as a constant.
template <int R = GTP_MLP_ROWS, class Work>
inline void with_rows(int size, const Work& work) {
  if constexpr (R > 1) {
    if (size < R) return with_rows<R - 1>(size, work);
  }
  work(std::integral_constant<int, R>{});
}

// Rows 0..count-1 in as few tiles as can be, of nearly equal height: work(constant rows, first row).
template <class Work>
inline void each_tile(int count, const Work& work) {
  const int tiles = (count + GTP_MLP_ROWS - 1) / GTP_MLP_ROWS;
  for (int t = 0; t < tiles; ++t) {
    const int first = count * t / tiles;
    with_rows(count * (t + 1) / tiles - first, [&](auto rows) { work(rows, first); });
  }
}

void product(const float* a, size_t a_plane, int rows, int depth, const float* w, int columns, float* y,
             size_t y_plane, const Epilogue& epilogue) {
  // Panels outside: one panel of weights stays near while the rows pass under it.
  for (int column = 0, p = 0; column < columns; column += kPanel, ++p, w += static_cast<size_t>(depth) * kPanel) {
    const int vectors = columns - column > GTP_LANES ? 2 : 1;
    each_tile(rows, [&](auto height, int r) {
      constexpr int kRows = decltype(height)::value;
      const size_t at = p * y_plane + static_cast<size_t>(r) * kPanel;
      const float* from = a + static_cast<size_t>(r) * kPanel;
      if (vectors == 2)
        accumulate<kRows, 2>(from, a_plane, depth, w, y + at);
      else
        accumulate<kRows, 1>(from, a_plane, depth, w, y + at);
      finish_tile(epilogue, y + at, at, column, kRows, vectors);
    });
  }
}
