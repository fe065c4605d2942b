#include "mlp_cpu.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>

#include "kernels.hpp"
#include "sampler_cpu.hpp"

namespace gtp {
namespace {

constexpr int kRowsTogether = 64;  // rows that pass through all layers together

size_t padded(int columns, int panel) { return static_cast<size_t>((columns + panel - 1) / panel) * panel; }

// Where the parts of one group lie, in floats.
struct Plan {
  const MlpShape& shape;
  const MlpKernels& kernels;
  int panel;

  Plan(const MlpShape& s, const MlpKernels& k) : shape(s), kernels(k), panel(2 * k.lanes) {}

  size_t plane() const { return static_cast<size_t>(shape.rows) * panel; }
  size_t matrix(int size_index) const { return padded(shape.sizes[size_index], panel) * shape.rows; }
  size_t weight(int l) const { return padded(shape.sizes[l + 1], panel) * shape.sizes[l]; }
  size_t transposed(int l) const { return padded(shape.sizes[l], panel) * shape.sizes[l + 1]; }

  // Saved of one group: x, then for each hidden layer its values and slopes.
  size_t saved() const {
    size_t total = matrix(0);
    for (int l = 1; l < shape.layers(); ++l) total += 2 * matrix(l);
    return total;
  }
  size_t values_at(int l) const {  // values that layer l reads
    size_t at = 0;
    for (int i = 0; i < l; ++i) at += i == 0 ? matrix(0) : 2 * matrix(i);
    return at;
  }
  size_t slopes_at(int l) const { return values_at(l) + matrix(l); }
};

// Work 0..count-1 on `threads` threads, each a range in order; what a piece computes must not depend on the others.
template <class Work>
void spread(int threads, int count, Work&& work) {
  const int workers = std::max(1, std::min(threads, count));
  std::vector<std::thread> others;
  const auto range = [&](int w) {
    for (int i = count * w / workers; i < count * (w + 1) / workers; ++i) work(i, w);
  };
  for (int w = 1; w < workers; ++w) others.emplace_back(range, w);
  range(0);
  for (std::thread& other : others) other.join();
}

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

// Rows begin..begin+rows-1 of the pieces of a group, side by side, into panels.
void pack_pieces(const MlpShape& shape, const std::vector<Piece>& x, int group, int begin, int rows, int panel,
                 float* to, size_t plane) {
  const int in = shape.sizes[0], used = in % panel;
  for (int r = 0; r < rows; ++r) {
    int column = 0;
    for (const Piece& piece : x) {
      const int owner = group / (shape.groups / piece.groups);
      const float* from =
          piece.data + (static_cast<size_t>(owner) * piece.rows + (begin + r) % piece.rows) * piece.width;
      for (int left = piece.width; left > 0;) {
        const int at = column % panel, count = std::min(left, panel - at);
        std::memcpy(to + (column / panel) * plane + static_cast<size_t>(r) * panel + at, from, count * sizeof(float));
        from += count;
        column += count;
        left -= count;
      }
    }
    if (used != 0) {
      float* const end = to + (in / panel) * plane + static_cast<size_t>(r) * panel;
      std::fill(end + used, end + panel, 0.0f);
    }
  }
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
  size_t weights = 0, widest = 0;
  for (int l = 0; l < L; ++l) weights += plan.weight(l) + padded(shape.sizes[l + 1], panel);
  for (const int size : shape.sizes) widest = std::max(widest, padded(size, panel));
  // Of a block of rows: its values before and after a layer where nothing is saved, and the output.
  const size_t block = 3 * widest * kRowsTogether;
  float* const all = workspace(division.outer * (weights + division.inner * block));
  const int blocks = (B + kRowsTogether - 1) / kRowsTogether;
  spread(division.outer, shape.groups, [&](int g, int worker) {
    float* const packed = all + worker * (weights + division.inner * block);
    float* to = packed;
    for (int l = 0; l < L; ++l) {
      k.pack(layers[l].weight + g * layers[l].weight_stride, shape.sizes[l], shape.sizes[l + 1], shape.sizes[l + 1],
             to, static_cast<size_t>(shape.sizes[l]) * panel);
      to += plan.weight(l);
      std::memcpy(to, layers[l].bias + g * layers[l].bias_stride, shape.sizes[l + 1] * sizeof(float));
      const size_t length = padded(shape.sizes[l + 1], panel);
      std::fill(to + shape.sizes[l + 1], to + length, 0.0f);
      to += length;
    }
    float* const kept = saved ? saved + g * plan.saved() : nullptr;
    spread(division.inner, blocks, [&](int b, int inner) {
      const int begin = static_cast<int>(static_cast<int64_t>(B) * b / blocks);
      const int rows = static_cast<int>(static_cast<int64_t>(B) * (b + 1) / blocks) - begin;
      float* const scratch = packed + weights + inner * block;
      const size_t row = static_cast<size_t>(begin) * panel, near = static_cast<size_t>(rows) * panel;
      float* turns[2] = {scratch, scratch + widest * kRowsTogether};
      float* const result = scratch + 2 * widest * kRowsTogether;
      float* from = kept ? kept + row : turns[0];
      const size_t plane = kept ? plan.plane() : near;
      pack_pieces(shape, x, g, begin, rows, panel, from, plane);
      const float* w = packed;
      for (int l = 0; l < L; ++l) {
        const bool last = l + 1 == L;
        Epilogue epilogue;
        epilogue.bias = w + plan.weight(l);
        epilogue.activate = !last;
        epilogue.activation = shape.activation;
        if (kept && !last) epilogue.slope = kept + plan.slopes_at(l + 1) + row;
        float* next = last ? result : (kept ? kept + plan.values_at(l + 1) + row : turns[(l + 1) % 2]);
        k.product(from, plane, rows, shape.sizes[l], w, shape.sizes[l + 1], next, last ? near : plane, epilogue);
        from = next;
        w += plan.weight(l) + padded(shape.sizes[l + 1], panel);
      }
      k.unpack(result, near, rows, out, y.data + (static_cast<size_t>(g) * B + begin) * y.stride, y.stride);
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
  size_t weights = 0, errors = 0, inputs = 0, input_weights = 0;
  for (int l = 1; l < L; ++l) weights += plan.transposed(l);
  for (int l = 1; l <= L; ++l) errors += plan.matrix(l);
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t width = dx[i] ? padded(x[i].width, panel) : 0;
    input_weights += width * hidden;
    inputs = std::max(inputs, width * kRowsTogether);
  }
  const size_t size = weights + errors + input_weights + division.inner * inputs;
  float* const all = workspace(division.outer * size);
  const int blocks = std::max(1, (B + kRowsTogether - 1) / kRowsTogether);
  spread(division.outer, shape.groups, [&](int g, int worker) {
    std::vector<float*> error(L + 1, nullptr), packed(L, nullptr), piece_weights(x.size(), nullptr);
    float* to = all + worker * size;
    for (int l = 1; l < L; to += plan.transposed(l), ++l) {
      packed[l] = to;
      k.pack_transposed(layers[l].weight + g * layers[l].weight_stride, shape.sizes[l], shape.sizes[l + 1], to);
    }
    for (int l = 1; l <= L; to += plan.matrix(l), ++l) error[l] = to;
    const float* rows_of_first = layers[0].weight + g * layers[0].weight_stride;
    for (size_t i = 0; i < x.size(); rows_of_first += static_cast<size_t>(x[i].width) * hidden, ++i) {
      if (!dx[i]) continue;
      piece_weights[i] = to;
      k.pack_transposed(rows_of_first, x[i].width, hidden, to);
      to += padded(x[i].width, panel) * hidden;
    }
    float* const scratch = to;
    const float* const kept = saved + g * plan.saved();
    spread(division.inner, blocks, [&](int b, int inner) {
      const int begin = static_cast<int>(static_cast<int64_t>(B) * b / blocks);
      const int rows = static_cast<int>(static_cast<int64_t>(B) * (b + 1) / blocks) - begin;
      const size_t row = static_cast<size_t>(begin) * panel, at = static_cast<size_t>(g) * B + begin;
      const size_t near = static_cast<size_t>(rows) * panel;
      k.pack(dy.data + at * dy.stride, rows, out, dy.stride, error[L] + row, plan.plane());
      for (int l = L - 1; l >= 1; --l) {
        Epilogue epilogue;
        epilogue.factor = kept + plan.slopes_at(l) + row;
        k.product(error[l + 1] + row, plan.plane(), rows, shape.sizes[l + 1], packed[l], shape.sizes[l],
                  error[l] + row, plan.plane(), epilogue);
      }
      for (size_t i = 0; i < x.size(); ++i) {
        if (!dx[i]) continue;
        float* const result = scratch + inner * inputs;
        k.product(error[1] + row, plan.plane(), rows, hidden, piece_weights[i], x[i].width, result, near, Epilogue{});
        k.unpack(result, near, rows, x[i].width, dx[i] + at * x[i].width, x[i].width);
      }
    });
    for (size_t l = 0; l < gradients.size(); ++l) {
      const LayerPointers& gradient = gradients[l];
      const int rows_in = shape.sizes[l], outputs = shape.sizes[l + 1], parts = (rows_in + panel - 1) / panel;
      float* const dw = gradient.weight + g * gradient.weight_stride;
      if (B == 0) std::fill(dw, dw + static_cast<size_t>(rows_in) * outputs, 0.0f);
      spread(division.inner, parts, [&](int p, int) {
        k.gradient(kept + plan.values_at(l), plan.plane(), p * panel, std::min(rows_in, (p + 1) * panel), error[l + 1],
                   plan.plane(), outputs, B, dw);
      });
      k.column_sums(error[l + 1], plan.plane(), outputs, B, gradient.bias + g * gradient.bias_stride);
    }
  });
}

void adam_step(const AdamArrays& a, const float* rate, double updates, double first_beta, double second_beta,
               double epsilon, double average_rate, double max_norm, const bool* frozen, float* norm, int threads) {
  const MlpKernels& k = select_mlp();
  spread(threads, a.seeds, [&](int s, int) {
    const size_t at = s * a.count;
    const double length = std::sqrt(k.square_sum(a.gradient + at, a.count));
    norm[s] = static_cast<float>(length);
    if ((frozen && frozen[s]) || !std::isfinite(norm[s])) return;
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

}  // namespace gtp
