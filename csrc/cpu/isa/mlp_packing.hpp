// Row-major matrices into panels and back.
// Included by mlp.cpp inside its anonymous namespace.
void pack(const float* from, int rows, int columns, size_t stride, float* to, size_t plane) {
  // Rows outside: they are read in order, whatever their length.
  for (int r = 0; r < rows; ++r, from += stride) {
    float* row = to + static_cast<size_t>(r) * kPanel;
    for (int column = 0; column < columns; column += kPanel, row += plane) {
      const int count = columns - column < kPanel ? columns - column : kPanel;
      const float* source = from + column;
      if (count == kPanel) {
        store(row, load(source));
        store(row + kLanes, load(source + kLanes));
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

// The numbers at `index` of two vectors side by side.
inline __attribute__((always_inline)) V shuffled(V a, V b, I index) {
#if defined(__clang__)
  V result;
  for (int i = 0; i < kLanes; ++i) result[i] = index[i] < kLanes ? a[index[i]] : b[index[i] - kLanes];
  return result;
#else
  return __builtin_shuffle(a, b, index);
#endif
}

// Transposes a square of kLanes by kLanes by log2 rounds of interleaving.
void transpose_square(const float* from, size_t stride, float* to) {
  V row[kLanes], next[kLanes];
  I low, high;
  for (int i = 0; i < kLanes; ++i) {
    low[i] = i / 2 + (i % 2) * kLanes;
    high[i] = low[i] + kLanes / 2;
    row[i] = load(from + i * stride);
  }
#pragma GCC unroll 4
  for (int round = 1; round < kLanes; round *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes / 2; ++i) {
      next[2 * i] = shuffled(row[i], row[i + kLanes / 2], low);
      next[2 * i + 1] = shuffled(row[i], row[i + kLanes / 2], high);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) row[i] = next[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) store(to + i * kPanel, row[i]);
}

void pack_transposed(const float* from, int rows, int columns, float* to) {
  for (int r = 0; r < rows; r += kLanes) {
    float* panel = to + static_cast<size_t>(r / kPanel) * columns * kPanel + r % kPanel;
    for (int c = 0; c < columns; c += kLanes) {
      const float* source = from + static_cast<size_t>(r) * columns + c;
      if (r + kLanes <= rows && c + kLanes <= columns) {
        transpose_square(source, columns, panel + static_cast<size_t>(c) * kPanel);
        continue;
      }
      for (int j = c; j < columns && j < c + kLanes; ++j)
        for (int i = 0; i < kLanes; ++i)
          panel[static_cast<size_t>(j) * kPanel + i] =
              r + i < rows ? from[static_cast<size_t>(r + i) * columns + j] : 0.0f;
    }
  }
}
