// Rows through the folded policy: register-tiled layers and the K-step loop.
// Included by one kernels_*.cpp for each instruction set, inside that file's own anonymous namespace.
//
// Every output element is one chain of multiply-adds in the order of the inputs, whatever the tile it falls in:
// a row's action has the same bits in a batch of 1 and of 65536, on any number of threads.
constexpr int kPanel = 2 * GTP_LANES;

// R rows by N panels: y = act(bias + rows + x W). `rows` (stride as y) may be null.
template <int R, int N, bool kActivate>
inline __attribute__((always_inline)) void tile(const float* x, int x_stride, int depth, const float* w,
                                                const float* bias, const float* rows, float* y, int stride) {
  V sum[R][2 * N];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int j = 0; j < 2 * N; ++j) {
      sum[r][j] = load(bias + j * GTP_LANES);
      if (rows != nullptr) sum[r][j] += load(rows + r * stride + j * GTP_LANES);
    }
  const size_t panel_size = static_cast<size_t>(depth) * kPanel;
  for (int i = 0; i < depth; ++i) {
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) {
      const V w0 = load(w + n * panel_size + i * kPanel);
      const V w1 = load(w + n * panel_size + i * kPanel + GTP_LANES);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const V v = broadcast(x[r * x_stride + i]);
        sum[r][2 * n] += v * w0;
        sum[r][2 * n + 1] += v * w1;
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int j = 0; j < 2 * N; ++j)
      store(y + r * stride + j * GTP_LANES, kActivate ? mish(sum[r][j]) : sum[r][j]);
}

// R rows across panels first..last-1 of a layer; a strip of more than two rows takes one panel at a time, from which
// the compiler has nothing to hoist into the registers that the sums need.
template <int R, bool kActivate>
void strip(const float* x, int x_stride, int depth, const float* w, const float* bias, const float* rows, float* y,
           int stride, int first, int last) {
  // Few rows leave registers free for more panels, which hides the latency of the multiply-add.
  constexpr int kWide = R == 1 ? 4 : (R == 2 ? 2 : 1);
  const size_t panel_size = static_cast<size_t>(depth) * kPanel;
  if constexpr (kWide == 1) {
    tile<R, 1, kActivate>(x, x_stride, depth, w + first * panel_size, bias + first * kPanel,
                          rows ? rows + first * kPanel : nullptr, y + first * kPanel, stride);
  } else {
    int p = first;
    for (; p + kWide <= last; p += kWide)
      tile<R, kWide, kActivate>(x, x_stride, depth, w + p * panel_size, bias + p * kPanel,
                                rows ? rows + p * kPanel : nullptr, y + p * kPanel, stride);
    for (; p < last; ++p)
      tile<R, 1, kActivate>(x, x_stride, depth, w + p * panel_size, bias + p * kPanel,
                            rows ? rows + p * kPanel : nullptr, y + p * kPanel, stride);
  }
}

template <bool kActivate>
void layer(const float* x, int x_stride, int depth, const float* w, const float* bias, const float* rows, float* y,
           int stride, int count, int panels) {
  const int tiles = (count + GTP_ROWS - 1) / GTP_ROWS;
  // Panels outside: one panel of weights stays in the first-level cache while the rows pass under it.
  const int step = count <= 2 ? panels : 1;
  for (int p = 0; p < panels; p += step)
    for (int t = 0; t < tiles; ++t) {
      const int begin = count * t / tiles, size = count * (t + 1) / tiles - begin;
      const float* from = x + begin * x_stride;
      const float* start = rows ? rows + begin * stride : nullptr;
      float* to = y + begin * stride;
      switch (size) {
#define GTP_CASE(R)                                                                                \
  case R:                                                                                          \
    strip<R, kActivate>(from, x_stride, depth, w, bias, start, to, stride, p, p + step);           \
    break;
        GTP_CASE(1)
        GTP_CASE(2)
        GTP_CASE(3)
        GTP_CASE(4)
#if GTP_ROWS > 4
        GTP_CASE(5)
        GTP_CASE(6)
#endif
#if GTP_ROWS > 6
        GTP_CASE(7)
        GTP_CASE(8)
        GTP_CASE(9)
        GTP_CASE(10)
        GTP_CASE(11)
        GTP_CASE(12)
#endif
#undef GTP_CASE
      }
    }
}

// The last layer and the flow map's step on R rows: one vector of actions, four interleaved chains to hide latency.
template <int R>
inline __attribute__((always_inline)) void last_tile(const float* h, int stride, int depth, int action,
                                                     const float* w, const float* bias, float keep, float gain,
                                                     float* a) {
  V sum[R][4] = {};
  int i = 0;
  for (; i + 4 <= depth; i += 4) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      const V weight = load(w + (i + c) * GTP_LANES);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) sum[r][c] += broadcast(h[r * stride + i + c]) * weight;
    }
  }
  for (; i < depth; ++i) {
    const V weight = load(w + i * GTP_LANES);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sum[r][0] += broadcast(h[r * stride + i]) * weight;
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    const V output = ((sum[r][0] + sum[r][1]) + (sum[r][2] + sum[r][3])) + load(bias);
    store(a + r * action, flow_step(load(a + r * action), output, keep, gain));
  }
}

void last_layer(const PackedLayout& layout, const float* h, const float* w, const float* bias, float keep,
                float gain, float* a, int rows) {
  const int depth = layout.shape.width;
  for (int j = 0; j < layout.action; j += GTP_LANES) {
    const float* panel = w + static_cast<size_t>(j) * depth;
    int r = 0;
    for (; r + 3 <= rows; r += 3)
      last_tile<3>(h + r * layout.stride, layout.stride, depth, layout.action, panel, bias + j, keep, gain,
                   a + r * layout.action + j);
    for (; r < rows; ++r)
      last_tile<1>(h + r * layout.stride, layout.stride, depth, layout.action, panel, bias + j, keep, gain,
                   a + r * layout.action + j);
  }
}

void sample_rows(const PackedLayout& layout, const float* packed, const Schedule& schedule, const float* observation,
                 const float* noise, float* out, int rows, float* scratch) {
  const Shape& shape = layout.shape;
  const int stride = layout.stride, panels = layout.width / kPanel;
  float* state = scratch;
  float* now = state + kBlockRows * stride;
  float* next = now + kBlockRows * stride;
  float* a = next + kBlockRows * stride;
  float* scaled = a + kBlockRows * layout.action;
  for (int r = 0; r < rows; ++r)
    for (int j = 0; j < layout.action; ++j)
      a[r * layout.action + j] = j < shape.action ? schedule.initial_scale * noise[r * shape.action + j] : 0.0f;
  // The state's part of the first layer is the same in every step.
  layer<false>(observation, shape.observation, shape.observation, packed + layout.first_observation, packed + layout.zeros,
               nullptr, state, stride, rows, panels);
  for (int k = 0; k < shape.steps; ++k) {
    for (int i = 0; i < rows * layout.action; i += GTP_LANES)
      store(scaled + i, schedule.input_scale[k] * load(a + i));
    layer<true>(scaled, layout.action, shape.action, packed + layout.first_action,
                packed + layout.step_bias + static_cast<size_t>(k) * layout.width, state, now, stride, rows, panels);
    for (int l = 0; l + 1 < shape.layers; ++l) {
      layer<true>(now, stride, shape.width, packed + layout.hidden_weight + l * layout.hidden_weight_size,
                  packed + layout.hidden_bias + static_cast<size_t>(l) * layout.width, nullptr, next, stride, rows,
                  panels);
      float* swap = now;
      now = next;
      next = swap;
    }
    last_layer(layout, now, packed + layout.last_weight, packed + layout.last_bias, schedule.keep[k],
               schedule.gain[k], a, rows);
  }
  for (int r = 0; r < rows; ++r)
    for (int j = 0; j < shape.action; ++j) out[r * shape.action + j] = clip_action(a[r * layout.action + j]);
}
