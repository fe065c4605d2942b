// Products of matrices in panels: register tiles over rows, one chain of multiply-adds for each element.
// Included by mlp.cpp inside its anonymous namespace, after mlp_epilogue.hpp.
constexpr int kSumRows = 256;  // rows that one chain of a gradient spans; partial sums are added in order

// sum[r][n] = sum over k of a(r, k) w(k, n): rows of `a` lie kPanel apart, its panels `plane` apart.
template <int R, int N>
inline __attribute__((always_inline)) void accumulate(const float* a, size_t plane, int depth, const float* w,
                                                      float* y) {
  V sum[R][N] = {};
  for (int first = 0; first < depth; first += kPanel, a += plane) {
    const int count = depth - first < kPanel ? depth - first : kPanel;
    for (int k = 0; k < count; ++k, w += kPanel) {
      V weight[N];
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) weight[n] = load(w + n * kLanes);
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
    for (int n = 0; n < N; ++n) store(y + r * kPanel + n * kLanes, sum[r][n]);
}

// Calls work with `size`, 1..R, as a compile-time constant.
template <int R = kTileRows, class Work>
inline void with_rows(int size, const Work& work) {
  if constexpr (R > 1) {
    if (size < R) return with_rows<R - 1>(size, work);
  }
  work(std::integral_constant<int, R>{});
}

// Splits rows 0..count-1 into the fewest tiles of nearly equal height: work(constant rows, first row).
template <class Work>
inline void each_tile(int count, const Work& work) {
  const int64_t all = count;  // its product with the number of tiles is beyond an int from some 100,000 rows on
  const int64_t tiles = (all + kTileRows - 1) / kTileRows;
  for (int64_t t = 0; t < tiles; ++t) {
    const int first = static_cast<int>(all * t / tiles);
    with_rows(static_cast<int>(all * (t + 1) / tiles) - first, [&](auto rows) { work(rows, first); });
  }
}

// Prefetches the part of the next panel of weights that falls to a tile of `height` rows.
inline void fetch_next(const Epilogue& epilogue, int row, int height, int rows) {
  const int count = epilogue.next_rows;
  for (int i = count * row / rows; i < count * (row + height) / rows; ++i)
    for (int j = 0; j < kPanel; j += 64 / sizeof(float))
      __builtin_prefetch(epilogue.next + i * epilogue.next_stride + j);
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

// The sum of a vector's numbers, by halves.
GTP_INLINE float lane_sum(V x) {
  float lanes[kLanes];
  store(lanes, x);
#pragma GCC unroll 4
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

// One column: each row's sum is spread over lanes, because a tile of one column would leave most of a vector idle.
void product_column(const float* a, size_t a_plane, int rows, int depth, const float* w, float bias, float* y,
                    size_t stride) {
  for (int r = 0; r < rows; ++r, a += kPanel) {
    V low = {}, high = {};
    for (int k = 0; k < depth; k += kPanel) {
      const float* from = a + k / kPanel * a_plane;
      low += load(from) * load(w + k);
      // The padding beyond a panel's first vector is not initialised.
      if (depth - k > kLanes) high += load(from + kLanes) * load(w + k + kLanes);
    }
    y[r * stride] = lane_sum(low + high) + bias;
  }
}

void product(const float* a, size_t a_plane, int rows, int depth, const float* w, int columns, float* y,
             size_t y_plane, const Epilogue& epilogue) {
  // Panels outside: one panel of weights stays in cache for all rows.
  for (int column = 0, p = 0; column < columns; column += kPanel, ++p, w += static_cast<size_t>(depth) * kPanel) {
    if (columns - column > kLanes)
      product_panel<2>(a, a_plane, rows, depth, w, y, p * y_plane, column, epilogue);
    else
      product_panel<1>(a, a_plane, rows, depth, w, y, p * y_plane, column, epilogue);
  }
}
