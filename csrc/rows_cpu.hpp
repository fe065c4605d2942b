// Rows through the folded policy: register-tiled layers and the K-step loop.
// Included by one kernels_*.cpp for each instruction set, inside that file's own anonymous namespace.
//
// The order of the arithmetic, which fixes a row's bits whatever its batch, its tile, its thread and, where fma rounds
// once, its instruction set. All sums are float32 and go by fma in ascending order of the inputs:
//   a = initial_scale z_0;  state_j = 0, then + s_i W_ij
//   first layer   h_j = step_bias_kj + state_j, then + (c_in a_i) W_ij, then the activation
//   hidden layer  h_j = bias_j, then + h_i W_ij, then the activation
//   last layer    eight sums p_c = 0, then + h_i W_ij for i = c mod 8; F_j = (((p_0 + p_1) + (p_2 + p_3)) +
//                 ((p_4 + p_5) + (p_6 + p_7))) + bias_j
//   step          phi = fma(out, F, skip a), clipped if asked; a = fma(carry, phi before, fma(gain, phi, keep a)),
//                 then, but for the last step and only where noise is added, a = fma(spread, z_k+1, a)
// Exponential and activations: simd.hpp and flow_map.hpp, no operation fused but where `fma` stands.
constexpr int kPanel = 2 * GTP_LANES;

// R rows by N panels: y = act(bias + rows + x W). `rows` (stride as y) may be null.
template <int R, int N, class Act>
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
        sum[r][2 * n] = fma(v, w0, sum[r][2 * n]);
        sum[r][2 * n + 1] = fma(v, w1, sum[r][2 * n + 1]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int j = 0; j < 2 * N; ++j)
      store(y + r * stride + j * GTP_LANES, Act::of(sum[r][j]));
}

// R rows across panels first..last-1 of a layer; a strip of more than two rows takes one panel at a time, from which
// the compiler has nothing to hoist into the registers that the sums need.
template <int R, class Act>
void strip(const float* x, int x_stride, int depth, const float* w, const float* bias, const float* rows, float* y,
           int stride, int first, int last) {
  // Few rows leave registers free for more panels, which hides the latency of the multiply-add.
  constexpr int kWide = R == 1 ? 4 : (R == 2 ? 2 : 1);
  const size_t panel_size = static_cast<size_t>(depth) * kPanel;
  if constexpr (kWide == 1) {
    tile<R, 1, Act>(x, x_stride, depth, w + first * panel_size, bias + first * kPanel,
                          rows ? rows + first * kPanel : nullptr, y + first * kPanel, stride);
  } else {
    int p = first;
    for (; p + kWide <= last; p += kWide)
      tile<R, kWide, Act>(x, x_stride, depth, w + p * panel_size, bias + p * kPanel,
                                rows ? rows + p * kPanel : nullptr, y + p * kPanel, stride);
    for (; p < last; ++p)
      tile<R, 1, Act>(x, x_stride, depth, w + p * panel_size, bias + p * kPanel,
                            rows ? rows + p * kPanel : nullptr, y + p * kPanel, stride);
  }
}

template <class Act>
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
    strip<R, Act>(from, x_stride, depth, w, bias, start, to, stride, p, p + step);           \
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

typedef float Last __attribute__((vector_size(4 * GTP_LAST_LANES)));
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
      const Last weight = load<Last>(w + (i + c) * GTP_LAST_LANES);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) sum[r][c] = fma(broadcast<Last>(h[r * stride + i + c]), weight, sum[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < kChains - 1; ++c) {
    if (i + c >= depth) break;
    const Last weight = load<Last>(w + (i + c) * GTP_LAST_LANES);
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
  constexpr int kTile = GTP_LANES > GTP_LAST_LANES ? 3 : 1;
  const int depth = layout.shape.width, action = layout.action;
  for (int j = 0; j < action; j += GTP_LAST_LANES) {
    const float* panel = w + static_cast<size_t>(j) * depth;
    int r = 0;
    for (; r + kTile <= rows; r += kTile)
      last_tile<kTile>(h + r * layout.stride, layout.stride, depth, action, panel, bias + j, output + r * action + j);
    for (; r < rows; ++r)
      last_tile<1>(h + r * layout.stride, layout.stride, depth, action, panel, bias + j, output + r * action + j);
  }
}

// Draw k of a block's noise as rows of A numbers; drawn into `buffer` if it comes by counter.
inline const float* noise_draw(const Noise& noise, int k, int rows, int columns, float* buffer) {
  if (noise.rows != nullptr) return noise.rows + k * noise.stride;
  const uint32_t first = static_cast<uint32_t>(k * noise.batch + noise.first);
  normals_array(noise.key, noise.step, kActStream, first, rows, columns, buffer);
  return buffer;
}

// The action after a step, its noise included: a, output and before are [rows, layout.action].
inline void advance(const PackedLayout& layout, const Schedule& schedule, const Noise& noise, int k, int rows,
                    const float* output, float* a, float* before, float* buffer) {
  const Shape& shape = layout.shape;
  const Step step = step_of(schedule.steps, shape.steps, k);
  for (int i = 0; i < rows * layout.action; i += GTP_LAST_LANES) {
    Last old = load<Last>(before + i);
    store(a + i, flow_step<VectorMath<Last>>(load<Last>(a + i), load<Last>(output + i), old, step, shape.form.clamp));
    store(before + i, old);
  }
  if (!shape.form.stochastic || k + 1 == shape.steps) return;
  const float* z = noise_draw(noise, k + 1, rows, shape.action, buffer);
  for (int r = 0; r < rows; ++r)
    for (int j = 0; j < shape.action; ++j) {
      float& at = a[r * layout.action + j];
      at = scalar_fma(step.spread, z[r * shape.action + j], at);
    }
}

template <class Act>
void sample_with(const PackedLayout& layout, const float* packed, const Schedule& schedule, const float* observation,
                 const Noise& noise, float* out, int rows, float* scratch) {
  const Shape& shape = layout.shape;
  const int stride = layout.stride, panels = layout.width / kPanel;
  const size_t narrow = static_cast<size_t>(kBlockRows) * layout.action;
  float* state = scratch;
  float* now = state + kBlockRows * stride;
  float* next = now + kBlockRows * stride;
  float* a = next + kBlockRows * stride;
  float* scaled = a + narrow;
  float* output = scaled + narrow;
  float* before = output + narrow;
  float* buffer = before + narrow;
  const float* z = noise_draw(noise, 0, rows, shape.action, buffer);
  for (int r = 0; r < rows; ++r)
    for (int j = 0; j < layout.action; ++j)
      a[r * layout.action + j] = j < shape.action ? schedule.initial_scale * z[r * shape.action + j] : 0.0f;
  for (int i = 0; i < rows * layout.action; ++i) before[i] = 0.0f;
  // The state's part of the first layer is the same in every step.
  layer<Identity>(observation, shape.observation, shape.observation, packed + layout.first_observation,
                  packed + layout.zeros, nullptr, state, stride, rows, panels);
  for (int k = 0; k < shape.steps; ++k) {
    const float input_scale = schedule.steps[k];
    for (int i = 0; i < rows * layout.action; ++i) scaled[i] = input_scale * a[i];
    layer<Act>(scaled, layout.action, shape.action, packed + layout.first_action,
               packed + layout.step_bias + static_cast<size_t>(k) * layout.width, state, now, stride, rows, panels);
    for (int l = 0; l + 1 < shape.layers; ++l) {
      layer<Act>(now, stride, shape.width, packed + layout.hidden_weight + l * layout.hidden_weight_size,
                 packed + layout.hidden_bias + static_cast<size_t>(l) * layout.width, nullptr, next, stride, rows,
                 panels);
      float* swap = now;
      now = next;
      next = swap;
    }
    last_layer(layout, now, packed + layout.last_weight, packed + layout.last_bias, output, rows);
    advance(layout, schedule, noise, k, rows, output, a, before, buffer);
  }
  for (int r = 0; r < rows; ++r)
    for (int j = 0; j < shape.action; ++j) out[r * shape.action + j] = clip_action(a[r * layout.action + j]);
}

void sample_rows(const PackedLayout& layout, const float* packed, const Schedule& schedule, const float* observation,
                 const Noise& noise, float* out, int rows, float* scratch) {
  switch (layout.shape.form.activation) {
    case Activation::kMish: return sample_with<Mish>(layout, packed, schedule, observation, noise, out, rows, scratch);
    case Activation::kGelu: return sample_with<Gelu>(layout, packed, schedule, observation, noise, out, rows, scratch);
    case Activation::kRelu: return sample_with<Relu>(layout, packed, schedule, observation, noise, out, rows, scratch);
  }
}
