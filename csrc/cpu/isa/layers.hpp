// Layers on a block of rows: the register tile, its activation, and the last layer.
// Included by sampler.cpp inside its anonymous namespace.
// steps.hpp states the order of the arithmetic.


// The product of inputs and the weights of one panel: kInputs inputs and kSize floats of packed weights at a time, two
// vectors of sums.
struct Float32 {
  static constexpr int kInputs = 1;
  static constexpr int kSize = kPanel;
  static GTP_INLINE void weights(const float* p, V& low, V& high) {
    low = load(p);
    high = load(p + kLanes);
  }
  static GTP_INLINE V input(const float* x) { return broadcast(*x); }
  static GTP_INLINE V add(V x, V w, V sum) { return fma(x, w, sum); }
};

#if GTP_BF16
// Two inputs and their weights at a time, all bf16, by the instruction that multiplies pairs.
struct Bfloat16 {
  static constexpr int kInputs = 2;
  static constexpr int kSize = kPanel;
  static GTP_INLINE void weights(const float* p, V& low, V& high) { Float32::weights(p, low, high); }
  static GTP_INLINE V input(const float* x) { return (V)_mm512_set1_epi32(static_cast<int32_t>(float_bits(*x))); }
  static GTP_INLINE V add(V x, V w, V sum) { return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)w); }
};
#else
// bf16 weights, float32 inputs: a word holds the weights of both vectors.
struct Bfloat16 {
  static constexpr int kInputs = 1;
  static constexpr int kSize = kLanes;
  static GTP_INLINE void weights(const float* p, V& low, V& high) {
    const I bits = (I)load(p);
    low = (V)(bits << 16);
    high = (V)(bits & (int32_t)0xFFFF0000);
  }
  static GTP_INLINE V input(const float* x) { return broadcast(*x); }
  static GTP_INLINE V add(V x, V w, V sum) { return fma(x, w, sum); }
};
#endif

inline uint32_t bfloat16_bits(float x) {
  const uint32_t bits = float_bits(x);
  // Round to the nearest, ties to even; a NaN keeps its top bits and stays one.
  return x != x ? (bits >> 16) | 1 : (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
}

// A weight [inputs, outputs] as Bfloat16 reads it: [panel][inputs / kInputs][kSize], padded with zeros.
void pack_bfloat16(const float* weight, int inputs, int outputs, float* to) {
  const auto at = [&](int i, int j) {
    return i < inputs && j < outputs ? bfloat16_bits(weight[static_cast<size_t>(i) * outputs + j]) : 0u;
  };
  for (int first = 0; first < outputs; first += kPanel)
    for (int i = 0; i < inputs; i += Bfloat16::kInputs, to += Bfloat16::kSize)
      for (int j = 0; j < Bfloat16::kSize; ++j)
        to[j] = bits_float(Bfloat16::kInputs == 2 ? at(i, first + j) | at(i + 1, first + j) << 16
                                                  : at(i, first + j) | at(i, first + j + kLanes) << 16);
}

// How a vector of activations is stored; a float of y holds kNumbers of them.
struct Whole {
  static constexpr int kNumbers = 1;
  static GTP_INLINE void put(float* y, V x) { store(y, x); }
};
#if GTP_BF16
// Rounded to bf16, as the next layer's Bfloat16 reads it.
struct Half {
  static constexpr int kNumbers = 2;
  static GTP_INLINE void put(float* y, V x) { store(y, _mm512_cvtneps_pbh(x)); }
};
#endif

// N vectors of sums; where they are several panels, each panel goes to a row of y.
template <class Act, class As, int N>
GTP_INLINE void finish_some(const float* sum, float* y, int y_stride) {
  V x[N];
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) x[n] = load(sum + n * kLanes);
  Act::of(x);
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) As::put(y + n / 2 * y_stride + n % 2 * kLanes / As::kNumbers, x[n]);
}

// Writes the activations of sums [rows][columns] to y from column `column` on; sums may lie in y. y_stride in floats.
using Finish = void (*)(const float* sum, int rows, int columns, float* y, int y_stride, int column);

template <class Act, class As = Whole>
void finish(const float* sum, int rows, int columns, float* y, int y_stride, int column) {
  y += column / As::kNumbers;
  int r = 0;
  // Rows of one panel go in pairs, so that four vectors hide each other's latency.
  for (; columns == kPanel && r + 2 <= rows; r += 2, sum += 2 * kPanel, y += 2 * y_stride)
    finish_some<Act, As, 4>(sum, y, y_stride);
  for (; r < rows; ++r, sum += columns, y += y_stride) {
    int j = 0;
    for (; j + 2 * kPanel <= columns; j += 2 * kPanel)
      finish_some<Act, As, 4>(sum + j, y + j / As::kNumbers, kPanel / As::kNumbers);
    for (; j < columns; j += kPanel) finish_some<Act, As, 2>(sum + j, y + j / As::kNumbers, 0);
  }
}

// The finish of a hidden layer; half: the next layer reads bf16 inputs.
inline Finish finish_of(Activation activation, bool half) {
#if GTP_BF16
  if (half) {
    if (activation == Activation::kRelu) return finish<Relu, Half>;
    return activation == Activation::kGelu ? finish<Gelu, Half> : finish<Mish, Half>;
  }
#endif
  (void)half;
  if (activation == Activation::kRelu) return finish<Relu>;
  return activation == Activation::kGelu ? finish<Gelu> : finish<Mish>;
}

// One layer of the policy on a block of rows; `rows` [.., stride], added to the bias, may be null.
struct Layer {
  const float* x;
  int x_stride;
  int depth;  // length of the dot product, in groups of kInputs inputs
  const float *w, *bias, *rows;
  float* y;
  int stride;
  Finish finish;
};

// R rows by N panels, from panel p on: sum = bias + rows + x W.
template <int R, int N, class Dot>
GTP_INLINE void tile(const Layer& a, int row, int p) {
  const size_t panel_size = static_cast<size_t>(a.depth) * Dot::kSize;
  const float* x = a.x + row * a.x_stride;
  const float* w = a.w + p * panel_size;
  V sum[R][2 * N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int j = 0; j < 2 * N; ++j) {
      sum[r][j] = load(a.bias + p * kPanel + j * kLanes);
      if (a.rows != nullptr) sum[r][j] += load(a.rows + (row + r) * a.stride + p * kPanel + j * kLanes);
    }
  for (int i = 0; i < a.depth; ++i) {
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) {
      V low, high;
      Dot::weights(w + n * panel_size + i * Dot::kSize, low, high);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const V v = Dot::input(x + r * a.x_stride + i);
        sum[r][2 * n] = Dot::add(v, low, sum[r][2 * n]);
        sum[r][2 * n + 1] = Dot::add(v, high, sum[r][2 * n + 1]);
      }
    }
  }
  alignas(64) float done[R * N * kPanel];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int j = 0; j < 2 * N; ++j) store(done + r * N * kPanel + j * kLanes, sum[r][j]);
  a.finish(done, R, N * kPanel, a.y + row * a.stride, a.stride, p * kPanel);
}

// R rows across panels first..last-1 of a layer. One or two rows leave registers free for more panels, which hides the
// latency of the multiply-add; more rows take one panel at a time, so that the compiler hoists nothing into the
// registers that the sums need.
template <int R, class Dot>
__attribute__((noinline)) void strip(const Layer& a, int row, int first, int last) {
  constexpr int kWide = R == 1 ? 4 : (R == 2 ? 2 : 1);
  int p = first;
  if constexpr (kWide > 1)
    for (; p + kWide <= last; p += kWide) tile<R, kWide, Dot>(a, row, p);
  for (; p < last; ++p) tile<R, 1, Dot>(a, row, p);
}

template <class Dot>
void run_layer(const Layer& a, int count, int panels) {
  const int tiles = (count + kTileRows - 1) / kTileRows;
  // Panels outside: one panel of weights stays in the first-level cache while the rows pass under it.
  const int together = count <= 2 ? panels : 1;
  for (int p = 0; p < panels; p += together)
    for (int t = 0; t < tiles; ++t) {
      const int begin = count * t / tiles, size = count * (t + 1) / tiles - begin;
      switch (size) {
#define GTP_CASE(R)                                                                       \
  case R:                                                                                 \
    if constexpr (R <= kTileRows) strip<R, Dot>(a, begin, p, p + together);               \
    break;
        GTP_CASE(1) GTP_CASE(2) GTP_CASE(3) GTP_CASE(4) GTP_CASE(5) GTP_CASE(6)
        GTP_CASE(7) GTP_CASE(8) GTP_CASE(9) GTP_CASE(10) GTP_CASE(11) GTP_CASE(12)
#undef GTP_CASE
      }
    }
}

typedef float Last __attribute__((vector_size(4 * kLastLanes)));
constexpr int kChains = 8;

// R rows by one vector of actions: F, as eight interleaved chains that hide the latency of the multiply-add.
template <int R>
GTP_INLINE void last_tile(const float* h, int stride, int depth, int action, const float* w, const float* bias,
                          float* output) {
  Last sum[R][kChains] = {};
  int i = 0;
  for (; i + kChains <= depth; i += kChains) {
#pragma GCC unroll 8
    for (int c = 0; c < kChains; ++c) {
      const Last weight = load<Last>(w + (i + c) * kLastLanes);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) sum[r][c] = fma(broadcast<Last>(h[r * stride + i + c]), weight, sum[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < kChains - 1; ++c) {
    if (i + c >= depth) break;
    const Last weight = load<Last>(w + (i + c) * kLastLanes);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sum[r][c] = fma(broadcast<Last>(h[r * stride + i + c]), weight, sum[r][c]);
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    const Last low = (sum[r][0] + sum[r][1]) + (sum[r][2] + sum[r][3]);
    const Last high = (sum[r][4] + sum[r][5]) + (sum[r][6] + sum[r][7]);
    store(output + r * action, (low + high) + load<Last>(bias));
  }
}

void last_layer(const PackedLayout& layout, const float* h, const float* w, const float* bias, float* output,
                int rows) {
  constexpr int kTile = kLanes > kLastLanes ? 3 : 1;
  const int depth = layout.shape.width, action = layout.action;
  for (int j = 0; j < action; j += kLastLanes) {
    const float* panel = w + static_cast<size_t>(j) * depth;
    int r = 0;
    for (; r + kTile <= rows; r += kTile)
      last_tile<kTile>(h + r * layout.stride, layout.stride, depth, action, panel, bias + j, output + r * action + j);
    for (; r < rows; ++r)
      last_tile<1>(h + r * layout.stride, layout.stride, depth, action, panel, bias + j, output + r * action + j);
  }
}
