// The K steps of the sampler on a block of rows, over the layers of layers.hpp.
// Included by sampler.cpp inside its anonymous namespace.
//
// The order of the arithmetic, which fixes a row's bits whatever its batch, its tile, its thread and, where fma rounds
// once, its instruction set. All sums are float32, by fma in ascending order of the inputs:
//   a = initial_scale z_0;  state_j = 0, then + s_i W_ij
//   first layer   h_j = step_bias_kj + state_j, then + (c_in a_i) W_ij, then the activation
//   hidden layer  h_j = bias_j, then + h_i W_ij, then the activation
//   last layer    eight sums p_c = 0, then + h_i W_ij for i = c mod 8; F_j = (((p_0 + p_1) + (p_2 + p_3)) +
//                 ((p_4 + p_5) + (p_6 + p_7))) + bias_j
//   step          phi = fma(out, F, skip a), through tanh and clipped if asked; a = fma(carry, phi before,
//                 fma(gain, phi, keep a)), then, but for the last step and only where noise is added,
//                 a = fma(spread, z_k+1, a)
// Exponential and activations: simd.hpp and policy.hpp; only `fma` is fused.
// With bf16 weights only the hidden layers differ, in an order that depends on the instruction set. With int8
// (layers_int8.hpp) only they differ too, with bits as fixed as those of float32.

// Draw k of a block's noise as rows of A numbers; noise by counter is drawn into `buffer`.
inline const float* noise_draw(const Noise& noise, int k, int rows, int columns, float* buffer) {
  if (noise.rows != nullptr) return noise.rows + k * noise.stride;
  const uint32_t first = static_cast<uint32_t>(k * noise.batch + noise.first);
  normals(noise.key, noise.step, kActStream, first, rows, columns, buffer);
  return buffer;
}

// Inputs that a hidden layer's product reads at a time.
inline int inputs_of(Precision precision) {
  if (precision == Precision::kInt8) return Int8::kInputs;
  return precision == Precision::kBf16 ? Bfloat16::kInputs : Float32::kInputs;
}

// The action after step k, with its noise: a, output and before (phi of the step before) are [rows, layout.action].
inline void advance(const PackedLayout& layout, const StepSchedule& schedule, const Noise& noise, int k, int rows,
                    const float* output, float* a, float* before, float* buffer) {
  const Shape& shape = layout.shape;
  const StepCoefficients step = coefficients_of(schedule, k);
  for (int i = 0; i < rows * layout.action; i += kLastLanes) {
    Last old = load<Last>(before + i);
    store(a + i, flow_step<VectorMath<Last>>(load<Last>(a + i), load<Last>(output + i), old, step, shape.form));
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

void sample_rows(const PackedLayout& layout, const float* packed, const StepSchedule& schedule, float initial_scale,
                 const float* observation, const Noise& noise, float* out, int rows, float* scratch) {
  const Shape& shape = layout.shape;
  const int stride = layout.stride, panels = layout.width / kPanel, hidden = shape.layers - 1;
  const size_t narrow = static_cast<size_t>(kBlockRows) * layout.action;
  float* state = scratch;
  float* now = state + kBlockRows * stride;
  float* next = now + kBlockRows * stride;
  float* a = next + kBlockRows * stride;
  float* scaled = a + narrow;
  float* output = scaled + narrow;
  float* before = output + narrow;
  float* integers = before + narrow;
  float* buffer = integers + stride;
  const float* z = noise_draw(noise, 0, rows, shape.action, buffer);
  for (int r = 0; r < rows; ++r)
    for (int j = 0; j < layout.action; ++j)
      a[r * layout.action + j] = j < shape.action ? initial_scale * z[r * shape.action + j] : 0.0f;
  for (int i = 0; i < rows * layout.action; ++i) before[i] = 0.0f;
  const bool half = layout.precision == Precision::kBf16 && Bfloat16::kInputs == 2;
  const Finish between = finish_of(shape.form.activation, half), final = finish_of(shape.form.activation, false);
  const int inputs = inputs_of(layout.precision), depth = (shape.width + inputs - 1) / inputs;
  const int levels = most_levels(shape.width);
  // Every step has the same contribution of the observation to the first layer.
  run_layer<Float32>({observation, shape.observation, shape.observation, packed + layout.first_observation,
                      packed + layout.zeros, nullptr, state, stride, finish<Identity>},
                     rows, panels);
  for (int k = 0; k < shape.steps; ++k) {
    const float input_scale = input_scale_of(schedule, k);
    for (int i = 0; i < rows * layout.action; ++i) scaled[i] = input_scale * a[i];
    run_layer<Float32>({scaled, layout.action, shape.action, packed + layout.first_action,
                        packed + layout.step_bias + static_cast<size_t>(k) * layout.width, state, now, stride,
                        hidden > 0 ? between : final},
                       rows, panels);
    for (int l = 0; l < hidden; ++l) {
      const Layer layer{now, stride, depth, packed + layout.hidden_weight + l * layout.hidden_weight_size,
                        packed + layout.hidden_bias + static_cast<size_t>(l) * layout.width, nullptr, next, stride,
                        l + 1 < hidden ? between : final};
      if (layout.precision == Precision::kInt8)
        run_int8_layer(layer, rows, panels, levels, reinterpret_cast<char*>(integers));
      else if (layout.precision == Precision::kBf16)
        run_layer<Bfloat16>(layer, rows, panels);
      else
        run_layer<Float32>(layer, rows, panels);
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
