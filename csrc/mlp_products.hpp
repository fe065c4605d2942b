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

// Values and slopes of N vectors by an exponential each and one division: 1/a and 1/b are b/(a b) and a/(a b), and the
// limit of the exponential keeps a b finite. A NaN in a unit is one in its neighbour too, of the same row.
template <int N>
inline __attribute__((always_inline)) void mish(const V* x, V* y, V* slope) {
  V e[N], n[N], inverse[N];
  for (int i = 0; i < N; ++i) e[i] = x[i];
  limited_exponentials(e);
  for (int i = 0; i < N; ++i) {
    n[i] = e[i] * (e[i] + 2.0f);
    inverse[i] = n[i] + 2.0f;
  }
  if constexpr (N % 2 == 0) {
    for (int i = 0; i < N; i += 2) {
      const V both = 1.0f / (inverse[i] * inverse[i + 1]), first = inverse[i];
      inverse[i] = inverse[i + 1] * both;
      inverse[i + 1] = first * both;
    }
  } else {
    inverse[0] = 1.0f / inverse[0];
  }
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
      y[i] = x[i] > 0.0f ? x[i] : x[i] * 0.0f;
      slope[i] = x[i] >= 0.0f ? broadcast(1.0f) : broadcast(0.0f);
    }
  }
}

// R rows of N vectors.
template <Activation kKind, int R, int N, bool kSlope>
inline __attribute__((always_inline)) void activate_some(float* y, float* slope, const V* bias) {
  V x[R * N], value[R * N], derivative[R * N];
  const auto at = [](int i) { return i / N * kPanel + i % N * GTP_LANES; };
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
  // Two rows by two vectors at a time hide each other's latency; of one vector the pairs of mish would cross rows.
  if constexpr (N == 2)
    for (; r + 2 <= rows; r += 2) activate_some<kKind, 2, N, kSlope>(y + r * kPanel, slope + r * kPanel, bias);
  for (; r < rows; ++r) activate_some<kKind, 1, N, kSlope>(y + r * kPanel, slope + r * kPanel, bias);
}

template <Activation kKind, int N>
void activate_rows(float* y, float* slope, const V* bias, int rows) {
  if (slope != nullptr) return activate_tile<kKind, N, true>(y, slope, bias, rows);
  activate_tile<kKind, N, false>(y, y, bias, rows);  // the slope is not touched
}

template <int N>
void finish_tile(const Epilogue& epilogue, float* y, size_t at, size_t column, int rows) {
  V bias[N] = {};
  if (epilogue.bias != nullptr)
    for (int n = 0; n < N; ++n) bias[n] = load(epilogue.bias + column + n * GTP_LANES);
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

// The share of a tile of `height` rows in fetching the next panel of weights.
inline void fetch_next(const Epilogue& epilogue, int row, int height, int rows) {
  const int count = epilogue.next_rows;
  for (int i = count * row / rows; i < count * (row + height) / rows; ++i)
    for (int j = 0; j < kPanel; j += 64 / sizeof(float)) __builtin_prefetch(epilogue.next + i * epilogue.next_stride + j);
}

template <int N>
void product_panel(const float* a, size_t a_plane, int rows, int depth, const float* w, float* y, size_t at,
                   size_t column, const Epilogue& epilogue) {
  each_tile(rows, [&](auto height, int r) {
    constexpr int kRows = decltype(height)::value;
    const size_t place = at + static_cast<size_t>(r) * kPanel;
    accumulate<kRows, N>(a + static_cast<size_t>(r) * kPanel, a_plane, depth, w, y + place);
    fetch_next(epilogue, r, kRows, rows);
    finish_tile<N>(epilogue, y + place, place, column, kRows);
  });
}

// One column: each row's own sum in lanes, for a tile of one column would leave most of every vector idle.
void product_column(const float* a, size_t a_plane, int rows, int depth, const float* w, float bias, float* y,
                    size_t stride) {
  for (int r = 0; r < rows; ++r, a += kPanel) {
    V low = {}, high = {};
    for (int k = 0; k < depth; k += kPanel) {
      const float* from = a + k / kPanel * a_plane;
      low += load(from) * load(w + k);
      // What pads a panel beyond its first vector was never written.
      if (depth - k > GTP_LANES) high += load(from + GTP_LANES) * load(w + k + GTP_LANES);
    }
    float lanes[GTP_LANES];
    store(lanes, low + high);
#pragma GCC unroll 4
    for (int width = GTP_LANES / 2; width > 0; width /= 2)
      for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
    y[r * stride] = lanes[0] + bias;
  }
}

void product(const float* a, size_t a_plane, int rows, int depth, const float* w, int columns, float* y,
             size_t y_plane, const Epilogue& epilogue) {
  // Panels outside: one panel of weights stays near while the rows pass under it.
  for (int column = 0, p = 0; column < columns; column += kPanel, ++p, w += static_cast<size_t>(depth) * kPanel) {
    if (columns - column > GTP_LANES)
      product_panel<2>(a, a_plane, rows, depth, w, y, p * y_plane, column, epilogue);
    else
      product_panel<1>(a, a_plane, rows, depth, w, y, p * y_plane, column, epilogue);
  }
}
