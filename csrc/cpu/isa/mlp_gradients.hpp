// Gradients of a layer's weights and biases.
// Included by mlp.cpp inside its anonymous namespace, after mlp_products.hpp.

// Writes or adds R rows by N vectors of sums to row-major g, which has `columns` columns left.
template <int R, int N>
inline __attribute__((always_inline)) void gradient_tile(const float* a, const float* z, int rows, float* g,
                                                         size_t stride, int columns, bool add) {
  V sum[R][N] = {};
  for (int k = 0; k < rows; ++k, a += kPanel, z += kPanel) {
    V value[N];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) value[n] = load(z + n * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const V v = broadcast(a[r]);
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) sum[r][n] += v * value[n];
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) {
      float* to = g + r * stride + n * kLanes;
      const int left = columns - n * kLanes;
      if (left >= kLanes) {
        store(to, add ? sum[r][n] + load(to) : sum[r][n]);
      } else {
        float part[kLanes];
        store(part, sum[r][n]);
        for (int i = 0; i < left; ++i) to[i] = add ? part[i] + to[i] : part[i];
      }
    }
}

void gradient(const float* a, size_t a_plane, int first, int last, const float* z, size_t z_plane, int columns,
              int rows, float* g) {
  for (int begin = 0; begin < rows; begin += kSumRows) {
    const int count = rows - begin < kSumRows ? rows - begin : kSumRows;
    const size_t offset = static_cast<size_t>(begin) * kPanel;
    const float* from = a + (first / kPanel) * a_plane + offset;
    for (int column = 0, p = 0; column < columns; column += kPanel, ++p) {
      const float* with = z + p * z_plane + offset;
      each_tile(last - first, [&](auto height, int i) {
        constexpr int kRows = decltype(height)::value;
        float* const to = g + static_cast<size_t>(first + i) * columns + column;
        if (columns - column > kLanes)
          gradient_tile<kRows, 2>(from + i, with, count, to, columns, columns - column, begin > 0);
        else
          gradient_tile<kRows, 1>(from + i, with, count, to, columns, columns - column, begin > 0);
      });
    }
  }
}

// The gradient of one column, a sum of rows of `a`: four chains hide the latency of the multiply-add.
void gradient_column(const float* a, size_t a_plane, int depth, const float* z, size_t stride, int rows, float* g) {
  constexpr int kChains = 4;
  for (int first = 0; first < depth; first += kPanel, a += a_plane) {
    V low[kChains] = {}, high[kChains] = {};
    for (int r = 0; r < rows; r += kChains)
#pragma GCC unroll 4
      for (int c = 0; c < kChains; ++c) {
        if (r + c >= rows) break;
        const V value = broadcast(z[(r + c) * stride]);
        const float* row = a + static_cast<size_t>(r + c) * kPanel;
        low[c] += load(row) * value;
        high[c] += load(row + kLanes) * value;
      }
    float sums[kPanel];
    store(sums, (low[0] + low[1]) + (low[2] + low[3]));
    store(sums + kLanes, (high[0] + high[1]) + (high[2] + high[3]));
    __builtin_memcpy(g + first, sums, (depth - first < kPanel ? depth - first : kPanel) * sizeof(float));
  }
}

typedef double D __attribute__((vector_size(8 * kLanes)));

// In float64: terms cancel, and one chain in float32 would lose digits.
void column_sums(const float* z, const float* factor, size_t plane, int columns, int rows, float* sums) {
  for (int column = 0; column < columns; column += kPanel) {
    const size_t first = column / kPanel * plane;
    D half[2] = {};
    for (int r = 0; r < rows; ++r)
      for (int i = 0; i < 2; ++i) {
        const size_t at = first + static_cast<size_t>(r) * kPanel + i * kLanes;
        D value = __builtin_convertvector(load(z + at), D);
        if (factor) value *= __builtin_convertvector(load(factor + at), D);
        half[i] += value;
      }
    const V rounded[2] = {__builtin_convertvector(half[0], V), __builtin_convertvector(half[1], V)};
    __builtin_memcpy(sums + column, rounded, (columns - column < kPanel ? columns - column : kPanel) * sizeof(float));
  }
}
