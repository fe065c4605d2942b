// The hidden layers in integers: weights of 8 bits, a scale for each output; inputs of 16, a scale for each row.
// Included by sampler.cpp inside its anonymous namespace.
//   w_ij = round(W_ij (127 / m_j)),  m_j = max_i |W_ij|
//   x_i  = round(h_i (n / m)),       m   = max_i |h_i|,   n = most_levels(H)
//   y_j  = fma(sum_i x_i w_ij, (m_j / 127) (m / n), bias_j)
// The sum fits 32 bits, so it is exact, and its bits do not depend on the order of an instruction set's sums.
// A magnitude is at least kLeast, so that nothing is divided by zero; a NaN makes its scale a NaN.
constexpr float kLeast = 1e-30f;

inline int most_levels(int inputs) {
  const int fit = INT32_MAX / (127 * inputs);
  return fit < 32767 ? fit : 32767;
}

// One layer's packed numbers: the scales m_j / 127, the start of each sum, the weights
// [group of panels][inputs / kInputs][panel][kSize].
struct Int8Layer {
  const float* scale;
  const int32_t* start;
  const int8_t* weight;
  Int8Layer(const float* packed, int width)
      : scale(packed),
        start(reinterpret_cast<const int32_t*>(packed + width)),
        weight(reinterpret_cast<const int8_t*>(packed + 2 * width)) {}
};

// The nearest integer, ties to even, of |x| < 2^22: adding 1.5 2^23 leaves it in the low bits of the sum.
GTP_INLINE I nearest(V x) { return (I)(x + 12582912.0f) - 0x4B400000; }

// The magnitude's bits: they compare like the magnitudes, and a NaN is above all.
GTP_INLINE I magnitude(V x) { return (I)x & 0x7FFFFFFF; }
GTP_INLINE I larger_integer(I x, I y) { return x > y ? x : y; }

// How many of the remaining panels a row multiplies at a time: their weights are one stream in memory.
constexpr int kPanelsTogether = 4;
inline int panels_together(int left) { return left < kPanelsTogether ? 1 : kPanelsTogether; }

// Packs a weight [inputs, outputs] as Int8Layer reads it; `to` holds zeros.
void pack_int8(const float* weight, int inputs, int outputs, int width, float* to) {
  float* scale = to;
  uint32_t* start = reinterpret_cast<uint32_t*>(to + width);
  int8_t* packed = reinterpret_cast<int8_t*>(to + 2 * width);
  const int depth = (inputs + Int8::kInputs - 1) / Int8::kInputs;
  for (int first = 0, columns; first < outputs; first += columns) {
    columns = panels_together((width - first) / kPanel) * kPanel;
    for (int j = first; j < first + columns && j < outputs; ++j) {
      uint32_t most = float_bits(kLeast);
      for (int i = 0; i < inputs; ++i) {
        const uint32_t bits = float_bits(weight[static_cast<size_t>(i) * outputs + j]) & 0x7FFFFFFF;
        most = bits > most ? bits : most;
      }
      scale[j] = bits_float(most) / 127.0f;
      start[j] = 0;
      for (int i = 0; i < inputs; ++i) {
        const float x = weight[static_cast<size_t>(i) * outputs + j] * (127.0f / bits_float(most));
        int8_t& at = packed[(i / Int8::kInputs * columns + j - first) * Int8::kInputs + i % Int8::kInputs];
        at = static_cast<int8_t>(float_bits(x + 12582912.0f));
        start[j] -= static_cast<uint32_t>(at * Int8::kOffset);
      }
    }
    packed += static_cast<size_t>(depth) * columns * Int8::kInputs;
  }
}

// Rounds a row to integers, as Int8 reads them; returns their scale m / n.
inline float round_row(const float* h, int width, int levels, char* to) {
  I most[4];
  for (I& m : most) m = (I)broadcast(kLeast);
  int i = 0;
  for (; i + 4 * kLanes <= width; i += 4 * kLanes)
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) most[c] = larger_integer(most[c], magnitude(load(h + i + c * kLanes)));
  for (; i < width; i += kLanes) most[0] = larger_integer(most[0], magnitude(load(h + i)));
  const I all = larger_integer(larger_integer(most[0], most[1]), larger_integer(most[2], most[3]));
  int32_t bits = all[0];
  for (int c = 1; c < kLanes; ++c) bits = all[c] > bits ? all[c] : bits;
  const float largest = bits_float(static_cast<uint32_t>(bits));
  const float inverse = static_cast<float>(levels) / largest;
  for (i = 0; i < width; i += kPanel)
    Int8::put(nearest(load(h + i) * inverse), nearest(load(h + i + kLanes) * inverse), to, i, width);
  return largest / static_cast<float>(levels);
}

// One row by N panels, from panel p on.
template <int N>
GTP_INLINE void int8_tile(const Layer& a, const Int8Layer& w, const char* x, float scale, float* y, int width, int p) {
  const int8_t* weight = w.weight + static_cast<size_t>(p) * a.depth * Int8::kSize;
  Int8::Sum sum[2 * N];
#pragma GCC unroll 16
  for (int j = 0; j < 2 * N; ++j) sum[j] = Int8::begin(load_integers(w.start + p * kPanel + j * kLanes));
  for (int i = 0; i < a.depth; ++i) {
    const Int8::Input v = Int8::input(x, i * Int8::kInputs, width);
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) {
      Int8::Weight low, high;
      Int8::weights(weight + (i * N + n) * Int8::kSize, low, high);
      Int8::add(v, low, sum[2 * n]);
      Int8::add(v, high, sum[2 * n + 1]);
    }
  }
#pragma GCC unroll 16
  for (int j = 0; j < 2 * N; ++j) {
    const int column = p * kPanel + j * kLanes;
    const V total = __builtin_convertvector(Int8::total(sum[j]), V);
    store(y + column, fma(total, load(w.scale + column) * scale, load(a.bias + column)));
  }
}

// One hidden layer, row by row: weights stream as fast as they are multiplied, so a tile of rows gains nothing.
inline void run_int8_layer(const Layer& a, int count, int panels, int levels, char* integers) {
  const int width = panels * kPanel;
  const Int8Layer w(a.w, width);
  for (int r = 0; r < count; ++r) {
    const float scale = round_row(a.x + r * a.x_stride, width, levels, integers);
    float* y = a.y + r * a.stride;
    for (int p = 0, together; p < panels; p += together) {
      together = panels_together(panels - p);
      if (together == 1)
        int8_tile<1>(a, w, integers, scale, y, width, p);
      else
        int8_tile<kPanelsTogether>(a, w, integers, scale, y, width, p);
    }
    a.finish(y, 1, width, y, a.stride, 0);
  }
}
