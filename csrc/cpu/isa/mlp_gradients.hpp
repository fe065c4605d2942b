// Gradients of a layer's weights, the packing of matrices, and Adam with its moving average in one pass.
// Included by one mlp_*.cpp for each instruction set, inside that file's own anonymous namespace.

// Write or add R rows by N vectors of sums to row-major g, of whose last vector only `columns` may be touched.
template <int R, int N>
inline __attribute__((always_inline)) void gradient_tile(const float* a, const float* z, int rows, float* g,
                                                         size_t stride, int columns, bool add) {
  V sum[R][N] = {};
  for (int k = 0; k < rows; ++k, a += kPanel, z += kPanel) {
    V value[N];
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) value[n] = load(z + n * GTP_LANES);
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
      float* to = g + r * stride + n * GTP_LANES;
      const int left = columns - n * GTP_LANES;
      if (left >= GTP_LANES) {
        store(to, add ? sum[r][n] + load(to) : sum[r][n]);
      } else {
        float part[GTP_LANES];
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
        if (columns - column > GTP_LANES)
          gradient_tile<kRows, 2>(from + i, with, count, to, columns, columns - column, begin > 0);
        else
          gradient_tile<kRows, 1>(from + i, with, count, to, columns, columns - column, begin > 0);
      });
    }
  }
}

// One column, whose gradient is a sum of rows of `a`: by four chains, which hide the latency of the multiply-add.
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
        high[c] += load(row + GTP_LANES) * value;
      }
    float sums[kPanel];
    store(sums, (low[0] + low[1]) + (low[2] + low[3]));
    store(sums + GTP_LANES, (high[0] + high[1]) + (high[2] + high[3]));
    __builtin_memcpy(g + first, sums, (depth - first < kPanel ? depth - first : kPanel) * sizeof(float));
  }
}

typedef double D __attribute__((vector_size(8 * GTP_LANES)));

// In float64: terms of either sign cancel, and one chain of float32 would show it.
void column_sums(const float* z, size_t z_plane, int columns, int rows, float* sums) {
  for (int column = 0; column < columns; column += kPanel, z += z_plane) {
    D low = {}, high = {};
    for (int k = 0; k < rows; ++k) {
      low += __builtin_convertvector(load(z + static_cast<size_t>(k) * kPanel), D);
      high += __builtin_convertvector(load(z + static_cast<size_t>(k) * kPanel + GTP_LANES), D);
    }
    const V rounded[2] = {__builtin_convertvector(low, V), __builtin_convertvector(high, V)};
    __builtin_memcpy(sums + column, rounded, (columns - column < kPanel ? columns - column : kPanel) * sizeof(float));
  }
}

void pack(const float* from, int rows, int columns, size_t stride, float* to, size_t plane) {
  // Rows outside: they are read in order, whatever their length.
  for (int r = 0; r < rows; ++r, from += stride) {
    float* row = to + static_cast<size_t>(r) * kPanel;
    for (int column = 0; column < columns; column += kPanel, row += plane) {
      const int count = columns - column < kPanel ? columns - column : kPanel;
      const float* source = from + column;
      if (count == kPanel) {
        store(row, load(source));
        store(row + GTP_LANES, load(source + GTP_LANES));
      } else {
        for (int i = 0; i < kPanel; ++i) row[i] = i < count ? source[i] : 0.0f;
      }
    }
  }
}

void unpack(const float* from, size_t plane, int rows, int columns, float* to, size_t stride) {
  for (int column = 0; column < columns; column += kPanel, from += plane) {
    const int count = columns - column < kPanel ? columns - column : kPanel;
    for (int r = 0; r < rows; ++r)
      __builtin_memcpy(to + r * stride + column, from + static_cast<size_t>(r) * kPanel, count * sizeof(float));
  }
}

// Of two vectors side by side the numbers at `index`.
inline __attribute__((always_inline)) V shuffled(V a, V b, I index) {
#if defined(__clang__)
  V result;
  for (int i = 0; i < GTP_LANES; ++i) result[i] = index[i] < GTP_LANES ? a[index[i]] : b[index[i] - GTP_LANES];
  return result;
#else
  return __builtin_shuffle(a, b, index);
#endif
}

// A square of GTP_LANES by GTP_LANES, transposed by log2 rounds of interleaving.
void transpose_square(const float* from, size_t stride, float* to) {
  V row[GTP_LANES], next[GTP_LANES];
  I low, high;
  for (int i = 0; i < GTP_LANES; ++i) {
    low[i] = i / 2 + (i % 2) * GTP_LANES;
    high[i] = low[i] + GTP_LANES / 2;
    row[i] = load(from + i * stride);
  }
#pragma GCC unroll 4
  for (int round = 1; round < GTP_LANES; round *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < GTP_LANES / 2; ++i) {
      next[2 * i] = shuffled(row[i], row[i + GTP_LANES / 2], low);
      next[2 * i + 1] = shuffled(row[i], row[i + GTP_LANES / 2], high);
    }
#pragma GCC unroll 16
    for (int i = 0; i < GTP_LANES; ++i) row[i] = next[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < GTP_LANES; ++i) store(to + i * kPanel, row[i]);
}

void pack_transposed(const float* from, int rows, int columns, float* to) {
  for (int r = 0; r < rows; r += GTP_LANES) {
    float* panel = to + static_cast<size_t>(r / kPanel) * columns * kPanel + r % kPanel;
    for (int c = 0; c < columns; c += GTP_LANES) {
      const float* source = from + static_cast<size_t>(r) * columns + c;
      if (r + GTP_LANES <= rows && c + GTP_LANES <= columns) {
        transpose_square(source, columns, panel + static_cast<size_t>(c) * kPanel);
        continue;
      }
      for (int j = c; j < columns && j < c + GTP_LANES; ++j)
        for (int i = 0; i < GTP_LANES; ++i)
          panel[static_cast<size_t>(j) * kPanel + i] =
              r + i < rows ? from[static_cast<size_t>(r + i) * columns + j] : 0.0f;
    }
  }
}

// sin and cos of |x| < 2000 by a reduction to [-pi/4, pi/4] in three parts of pi/2, each product with n exact but the last.
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
    const float scaled = 250.0f * x[2 * i];
    for (int j = 0; j < half; ++j) sine_cosine(scaled * rates[j], out[j], out[half + j]);
  }
}

// In float64, by as many chains as a vector has lanes: the norm is as good as its parts.
double square_sum(const float* x, size_t count) {
  double lanes[GTP_LANES] = {};
  size_t i = 0;
  for (; i + GTP_LANES <= count; i += GTP_LANES)
    for (int j = 0; j < GTP_LANES; ++j) lanes[j] += static_cast<double>(x[i + j]) * x[i + j];
  for (int j = 0; i < count; ++i, ++j) lanes[j] += static_cast<double>(x[i]) * x[i];
  double total = 0.0;
  for (const double lane : lanes) total += lane;
  return total;
}

void adam(float* __restrict parameter, const float* __restrict gradient, float* __restrict first,
          float* __restrict second, float* __restrict average, size_t count, const AdamStep& step) {
  const AdamStep s = step;
  for (size_t i = 0; i < count; ++i) {
    const float g = s.gradient_scale * gradient[i];
    const float m = first[i] + s.first_decay * (g - first[i]);
    const float v = second[i] + s.second_decay * (g * g - second[i]);
    const float p = parameter[i] - s.rate * m / (__builtin_sqrtf(v) * s.second_correction + s.epsilon);
    first[i] = m;
    second[i] = v;
    parameter[i] = p;
    average[i] += s.average_rate * (p - average[i]);
  }
}
