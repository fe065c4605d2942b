#include "cpu/mlp.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "cpu/bf16_kernels.hpp"
#include "cpu/dispatch.hpp"
#include "cpu/mlp_layers.hpp"
#include "cpu/sampler.hpp"
#include "cpu/team.hpp"

namespace gtp {
namespace {

constexpr int kRowsTogether = 256;  // rows that pass through all layers together: a layer's weights are packed for each

// The calling thread keeps its workspace between calls.
float* workspace(size_t count) {
  thread_local AlignedFloats buffer;
  thread_local size_t size = 0;
  if (size < count) {
    buffer = allocate_floats(count);
    size = count;
  }
  return buffer.get();
}

// A NaN is not at most anything.
bool sound(float loss, double limit) {
  return std::fabs(loss) <= std::min<double>(limit, std::numeric_limits<float>::max());
}

// Threads go to whole groups first; within a group only where there are fewer groups than threads.
struct Division {
  int outer, inner;
  Division(int groups, int threads) : outer(groups >= threads ? threads : 1), inner(groups >= threads ? 1 : threads) {}
};

}  // namespace

const MlpKernels& select_mlp() {
#if defined(__x86_64__) || defined(_M_X64)
  const int lanes = select_kernels("").lanes;
  if (lanes == kAvx512Mlp.lanes) return kAvx512Mlp;
  if (lanes == kAvx2Mlp.lanes) return kAvx2Mlp;
#endif
  return kPortableMlp;
}

const MlpShape& checked(const MlpShape& shape) {
  if (shape.sizes.size() < 2) throw std::invalid_argument("sizes must name at least input and output");
  for (const int size : shape.sizes)
    if (size < 1 || size > 65536) throw std::invalid_argument("a size is out of range: " + std::to_string(size));
  if (shape.groups < 0 || shape.rows < 0) throw std::invalid_argument("groups and rows must not be negative");
  if (shape.rounds && !select_bf16()) throw std::invalid_argument("this processor multiplies no bfloat16");
  return shape;
}

size_t saved_size(const MlpShape& shape) { return Plan(shape, select_mlp()).saved() * shape.groups; }

void mlp_forward(const MlpShape& shape, const std::vector<Piece>& x, const std::vector<LayerPointers>& layers,
                 const Output<float>& y, float* saved, int threads) {
  const Plan plan(shape, select_mlp());
  const MlpKernels& k = plan.kernels;
  const int B = shape.rows, L = shape.layers(), panel = plan.panel, out = shape.sizes[L];
  if (B == 0 || shape.groups == 0) return;
  const Division division(shape.groups, std::max(1, threads));
  const int blocks = std::max((B + kRowsTogether - 1) / kRowsTogether, std::min(division.inner, B));
  const int most = (B + blocks - 1) / blocks;
  const size_t widest = plan.widest();
  // Of a block of rows: its values before and after a layer where nothing is saved, and the output.
  const Multiplier by(plan);
  const size_t packs = by.scratch(most, widest), size = packs + 3 * widest * most;
  float* const all = workspace(division.outer * division.inner * size);
  spread(division.outer, shape.groups, [&](int g, int worker) {
    float* const kept = saved ? saved + g * plan.saved() : nullptr;
    spread(division.inner, blocks, [&](int b, int inner) {
      const int begin = static_cast<int>(static_cast<int64_t>(B) * b / blocks);
      const int rows = static_cast<int>(static_cast<int64_t>(B) * (b + 1) / blocks) - begin;
      float* const packed = all + (worker * division.inner + inner) * size;
      float* const scratch = packed + packs;
      const size_t row = static_cast<size_t>(begin) * panel, near = static_cast<size_t>(rows) * panel;
      float* turns[2] = {scratch, scratch + widest * most};
      float* const result = scratch + 2 * widest * most;
      float* from = kept ? kept + row : turns[0];
      const size_t plane = kept ? plan.plane() : near;
      float* const own = y.data + (static_cast<size_t>(g) * B + begin) * y.stride;
      pack_pieces(shape, x, g, begin, rows, panel, from, plane);
      for (int l = 0; l < L; ++l) {
        const bool last = l + 1 == L;
        if (last && out == 1)
          return forward_column(k, layers[l], g, shape.sizes[l], rows, {from, plane}, own, y.stride, packed);
        Epilogue epilogue;
        epilogue.activate = !last;
        epilogue.activation = shape.activation;
        if (kept && !last) epilogue.slope = kept + plan.slopes_at(l + 1) + row;
        float* const next = last ? result : (kept ? kept + plan.values_at(l + 1) + row : turns[(l + 1) % 2]);
        forward_layer(by, layers[l], g, shape.sizes[l], shape.sizes[l + 1], rows, {from, plane},
                      {next, last ? near : plane}, epilogue, packed);
        from = next;
      }
      k.unpack(result, near, rows, out, own, y.stride);
    });
  });
}

void mlp_backward(const MlpShape& shape, const Output<const float>& dy, const std::vector<LayerPointers>& layers,
                  const float* saved, const std::vector<Piece>& x, const std::vector<float*>& dx,
                  const std::vector<LayerPointers>& gradients, int threads) {
  const Plan plan(shape, select_mlp());
  const MlpKernels& k = plan.kernels;
  const int B = shape.rows, L = shape.layers(), panel = plan.panel, out = shape.sizes[L], hidden = shape.sizes[1];
  if (shape.groups == 0) return;
  const Division division(shape.groups, std::max(1, threads));
  // Of a group: the errors behind and before a layer; of each thread in it: packed weights, and gradients of a piece.
  const Multiplier by(plan);
  const size_t widest = plan.widest(), errors = widest * B, packs = by.scratch(B, widest);
  const size_t size = 2 * errors + division.inner * packs;
  float* const all = workspace(division.outer * size);
  const Team team(threads);
  spread(division.outer, shape.groups, [&](int g, int worker) {
    float* error[2] = {all + worker * size, all + worker * size + errors};
    float* const scratch = error[1] + errors;
    const float* const kept = saved + g * plan.saved();
    k.pack(dy.data + static_cast<size_t>(g) * B * dy.stride, B, out, dy.stride, error[0], plan.plane());
    for (int l = L - 1; l >= 0; --l) {
      const int in = shape.sizes[l], outputs = shape.sizes[l + 1], parts = (in + panel - 1) / panel;
      const float* const weight = layers[l].weight + g * layers[l].weight_stride;
      // While a layer's errors are near, they serve its gradient and the errors of the layer before it.
      spread(division.inner, division.inner, [&](int w, int) {
        const int first = parts * w / division.inner * panel;
        const int last = std::min(in, parts * (w + 1) / division.inner * panel);
        float* const packed = scratch + w * packs;
        if (!gradients.empty()) {
          float* const dw = gradients[l].weight + g * gradients[l].weight_stride;
          if (outputs == 1 && w == 0)
            k.gradient_column(kept + plan.values_at(l), plan.plane(), in, error[0], panel, B, dw);
          if (outputs > 1)
            weight_gradient(by, {kept + plan.values_at(l), plan.plane()}, first, last, {error[0], plan.plane()},
                            outputs, B, dw, packed);
          if (w == 0)
            k.column_sums(error[0], plan.plane(), outputs, B, gradients[l].bias + g * gradients[l].bias_stride);
        }
        const int begin = static_cast<int>(static_cast<int64_t>(B) * w / division.inner);
        const int rows = static_cast<int>(static_cast<int64_t>(B) * (w + 1) / division.inner) - begin;
        const size_t row = static_cast<size_t>(begin) * panel;
        const Block<const float> behind{error[0] + row, plan.plane()};
        if (l > 0)
          return backward_layer(by, weight, in, outputs, rows, behind, {error[1] + row, plan.plane()},
                                kept + plan.slopes_at(l) + row, packed);
        const float* rows_of_piece = weight;
        for (size_t i = 0; i < x.size(); rows_of_piece += static_cast<size_t>(x[i].width) * hidden, ++i) {
          if (!dx[i]) continue;
          backward_layer(by, rows_of_piece, x[i].width, hidden, rows, behind, {error[1] + row, plan.plane()}, nullptr,
                         packed);
          k.unpack(error[1] + row, plan.plane(), rows, x[i].width,
                   dx[i] + (static_cast<size_t>(g) * B + begin) * x[i].width, x[i].width);
        }
      });
      std::swap(error[0], error[1]);
    }
    if (B > 0 || gradients.empty()) return;
    for (int l = 0; l < L; ++l) {
      float* const dw = gradients[l].weight + g * gradients[l].weight_stride;
      std::fill(dw, dw + static_cast<size_t>(shape.sizes[l]) * shape.sizes[l + 1], 0.0f);
    }
  });
}

void adam_step(const AdamArrays& a, const float* rate, double updates, double first_beta, double second_beta,
               double epsilon, double average_rate, double max_norm, const Health& health, float* norm, int threads) {
  const MlpKernels& k = select_mlp();
  spread(threads, a.seeds, [&](int s, int) {
    const size_t at = s * a.count;
    const double length = std::sqrt(k.square_sum(a.gradient + at, a.count));
    norm[s] = static_cast<float>(length);
    if (health.diverged[s] >= 0) return;
    if (!sound(health.loss[s], health.limit) || !std::isfinite(norm[s])) {
      health.diverged[s] = static_cast<int64_t>(updates) - 1;
      return;
    }
    AdamStep step;
    step.gradient_scale = static_cast<float>(std::min(1.0, max_norm / (length + 1e-6)));
    step.rate = static_cast<float>(rate[s] / (1.0 - std::pow(first_beta, updates)));
    step.first_decay = static_cast<float>(1.0 - first_beta);
    step.second_decay = static_cast<float>(1.0 - second_beta);
    step.second_correction = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(second_beta, updates)));
    step.epsilon = static_cast<float>(epsilon);
    step.average_rate = static_cast<float>(average_rate);
    k.adam(a.parameter + at, a.gradient + at, a.first + at, a.second + at, a.average + at, a.count, step);
  });
}

void account(const float* metrics, int rows, int losses, int seeds, const float* limits, int64_t step, float* total,
             int64_t* bad_step) {
  for (int r = 0; r < rows; ++r)
    for (int at = r * seeds; at < (r + 1) * seeds; ++at) {
      total[at] += metrics[at];
      if (r < losses && bad_step[at] < 0 && !sound(metrics[at], limits[r])) bad_step[at] = step;
    }
}

}  // namespace gtp
