// The layers of bf16_kernels.hpp over a product of tiles, `multiply`, which the including file defines.
// Included by bf16_amx.cpp and bf16_avx512.cpp inside their anonymous namespace, after mlp_epilogue.hpp.
//
// The left operand of a product is [rows, depth] row-major, the right one [depth / 2, kPanel, 2] for each panel, so
// that the pairs that an instruction multiplies are neighbours. Depth is padded with zeros to kDepth.
constexpr int kDepth = 32, kTile = 32;  // inputs that a tile takes at a time; rows and columns of a tile
typedef uint16_t Half;

inline int deep(int depth) { return (depth + kDepth - 1) / kDepth * kDepth; }

// The valid lanes of a vector that starts at `column` of a matrix with `columns` columns.
inline __mmask16 lanes(int column, int columns) {
  const int left = columns - column;
  return left >= 16 ? 0xFFFF : left <= 0 ? 0 : static_cast<__mmask16>((1u << left) - 1);
}

inline __m512i rounded(V low, V high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }

// Two rows of 16 numbers as 16 pairs.
inline __m512i pairs(V first, V second) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, rounded(first, second));
}

// Transposes a square of 16 by 16 pairs.
inline void transpose(__m512i (&rows)[16]) {
  __m512i next[16];
  for (int i = 0; i < 8; ++i) {
    next[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
    next[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; ++j) {
      rows[i + 2 * j] = _mm512_unpacklo_epi64(next[i + j], next[i + j + 2]);
      rows[i + 2 * j + 1] = _mm512_unpackhi_epi64(next[i + j], next[i + j + 2]);
    }
  for (int i = 0; i < 16; i += 8)
    for (int j = 0; j < 4; ++j) {
      next[i + j] = _mm512_shuffle_i32x4(rows[i + j], rows[i + j + 4], 0x88);
      next[i + j + 4] = _mm512_shuffle_i32x4(rows[i + j], rows[i + j + 4], 0xDD);
    }
  for (int j = 0; j < 8; ++j) {
    rows[j] = _mm512_shuffle_i32x4(next[j], next[j + 8], 0x88);
    rows[j + 8] = _mm512_shuffle_i32x4(next[j], next[j + 8], 0xDD);
  }
}

// Panels [rows, depth] -> a left operand, padded with zeros to whole tiles of rows.
void lay_left(const float* from, size_t plane, int rows, int depth, Half* to) {
  const int stride = deep(depth);
  for (int column = 0; column < depth; column += kPanel, from += plane) {
    const __mmask16 low = lanes(column, depth), high = lanes(column + 16, depth);
    for (int r = 0; r < rows; ++r)
      _mm512_storeu_si512(to + static_cast<size_t>(r) * stride + column,
                          rounded(_mm512_maskz_loadu_ps(low, from + static_cast<size_t>(r) * kPanel),
                                  _mm512_maskz_loadu_ps(high, from + static_cast<size_t>(r) * kPanel + 16)));
  }
  const int filled = (rows + kTile - 1) / kTile * kTile;
  std::memset(to + static_cast<size_t>(rows) * stride, 0, static_cast<size_t>(filled - rows) * stride * sizeof(Half));
}

// Rows [depth, columns], `stride` apart -> one panel of a right operand; at most kPanel columns.
void lay_right(const float* from, size_t stride, int depth, int columns, Half* to) {
  for (int k = 0; k < deep(depth); k += 2, to += 2 * kPanel)
    for (int half = 0; half < 2; ++half) {
      const float* const row = from + static_cast<size_t>(k) * stride + 16 * half;
      const __mmask16 mask = lanes(16 * half, columns);
      const V first = _mm512_maskz_loadu_ps(k < depth ? mask : 0, row);
      const V second = _mm512_maskz_loadu_ps(k + 1 < depth ? mask : 0, row + stride);
      _mm512_storeu_si512(to + 32 * half, pairs(first, second));
    }
}

// The transpose of contiguous rows [columns, depth] -> one panel of a right operand; at most kPanel columns.
void lay_right_transposed(const float* from, int columns, int depth, Half* to) {
  for (int k = 0; k < depth; k += kDepth, to += kDepth * kPanel)
    for (int half = 0; half < 2; ++half) {
      const __mmask16 low = lanes(k, depth), high = lanes(k + 16, depth);
      __m512i square[16];
      for (int i = 0; i < 16; ++i) {
        const bool there = 16 * half + i < columns;
        const float* const row = from + static_cast<size_t>(16 * half + i) * depth + k;
        square[i] = rounded(_mm512_maskz_loadu_ps(there ? low : 0, row),
                            _mm512_maskz_loadu_ps(there ? high : 0, row + 16));
      }
      transpose(square);
      for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + i * 2 * kPanel + 32 * half, square[i]);
    }
}

// The transpose of one panel [rows, columns <= kPanel] -> a left operand [kTile, rows].
void lay_left_transposed(const float* from, int rows, int columns, Half* to) {
  const int stride = deep(rows);
  for (int r = 0; r < rows; r += kDepth)
    for (int half = 0; half < 2; ++half) {
      const __mmask16 mask = lanes(16 * half, columns);
      __m512i square[16];
      for (int i = 0; i < 16; ++i) {
        const int row = r + 2 * i;
        const float* const at = from + static_cast<size_t>(row) * kPanel + 16 * half;
        square[i] = pairs(_mm512_maskz_loadu_ps(row < rows ? mask : 0, at),
                          _mm512_maskz_loadu_ps(row + 1 < rows ? mask : 0, at + kPanel));
      }
      transpose(square);
      for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + static_cast<size_t>(16 * half + i) * stride + r, square[i]);
    }
}

// Memory for a tile that is only partly inside the result.
struct Spill {
  alignas(64) float sums[kTile * kTile];
};

// One panel of y = epilogue(left right). All rows are multiplied before the epilogue of the first: numbers that a tile
// has just stored are slow to load.
void product_panel(const Half* left, int rows, int depth, const Half* right, int columns, float* y,
                   const Epilogue& epilogue) {
  const size_t stride = deep(depth);
  for (int r = 0; r < rows; r += kTile) {
    float* const to = y + static_cast<size_t>(r) * kPanel;
    if (rows - r >= kTile) {
      multiply(left + r * stride, stride, right, stride, to, kPanel);
    } else {
      Spill spill;
      multiply(left + r * stride, stride, right, stride, spill.sums, kTile);
      std::memcpy(to, spill.sums, static_cast<size_t>(rows - r) * kPanel * sizeof(float));
    }
  }
  if (columns > kLanes)
    finish_tile<2>(epilogue, y, 0, 0, rows);
  else
    finish_tile<1>(epilogue, y, 0, 0, rows);
}

size_t filled(int rows) { return (static_cast<size_t>(rows) + kTile - 1) / kTile * kTile; }

// Room for one operand of a whole layer and a panel of the other.
size_t scratch(int rows, int widest) {
  const size_t tall = filled(rows), wide = filled(widest);
  return (tall * wide + kTile * (tall > wide ? tall : wide)) / 2;
}

void forward(const float* x, size_t x_plane, int rows, int in, const float* w, const float* bias, int out, float* y,
             size_t y_plane, const Epilogue& given, float* memory) {
  [[maybe_unused]] const Session session;
  Half *const left = reinterpret_cast<Half*>(memory), *const right = left + filled(rows) * deep(in);
  lay_left(x, x_plane, rows, in, left);
  Epilogue epilogue = given;
  for (int column = 0, p = 0; column < out; column += kPanel, ++p) {
    const int count = out - column < kPanel ? out - column : kPanel;
    float padded[kPanel] = {};
    std::memcpy(padded, bias + column, count * sizeof(float));
    epilogue.bias = padded;
    if (given.slope) epilogue.slope = given.slope + p * y_plane;
    lay_right(w + column, out, in, count, right);
    product_panel(left, rows, in, right, count, y + p * y_plane, epilogue);
  }
}

void backward(const float* z, size_t z_plane, int rows, int out, const float* w, int in, float* y, size_t y_plane,
              const float* factor, float* memory) {
  [[maybe_unused]] const Session session;
  Half *const left = reinterpret_cast<Half*>(memory), *const right = left + filled(rows) * deep(out);
  lay_left(z, z_plane, rows, out, left);
  for (int first = 0, p = 0; first < in; first += kPanel, ++p) {
    const int count = in - first < kPanel ? in - first : kPanel;
    Epilogue epilogue;
    if (factor) epilogue.factor = factor + p * y_plane;
    lay_right_transposed(w + static_cast<size_t>(first) * out, count, out, right);
    product_panel(left, rows, out, right, count, y + p * y_plane, epilogue);
  }
}

void gradient_of(const float* x, size_t x_plane, int first, int last, const float* z, size_t z_plane, int out, int rows,
                 float* g, float* memory) {
  [[maybe_unused]] const Session session;
  const size_t depth = deep(rows);
  Half *const right = reinterpret_cast<Half*>(memory), *const left = right + depth * filled(out);
  for (int column = 0, p = 0; column < out; column += kPanel, ++p)
    lay_right(z + p * z_plane, kPanel, rows, out - column < kPanel ? out - column : kPanel, right + p * depth * kPanel);
  for (int i = first; i < last; i += kPanel) {
    const int height = last - i < kPanel ? last - i : kPanel;
    lay_left_transposed(x + i / kPanel * x_plane, rows, height, left);
    for (int column = 0, p = 0; column < out; column += kPanel, ++p) {
      float* const to = g + static_cast<size_t>(i) * out + column;
      const int count = out - column < kPanel ? out - column : kPanel;
      if (height == kTile && count == kPanel) {
        multiply(left, depth, right + p * depth * kPanel, depth, to, out);
        continue;
      }
      Spill spill;
      multiply(left, depth, right + p * depth * kPanel, depth, spill.sums, kTile);
      for (int r = 0; r < height; ++r)
        std::memcpy(to + static_cast<size_t>(r) * out, spill.sums + r * kTile, count * sizeof(float));
    }
  }
}
