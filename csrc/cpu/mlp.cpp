#include "cpu/mlp.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "cpu/dispatch.hpp"
#include "cpu/mlp_layers.hpp"
#include "cpu/sampler.hpp"
#include "cpu/team.hpp"

namespace gtp {
namespace {

constexpr int kRowsTogether = 256;  // rows that go through all layers together; each group of them packs the weights

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

// Part `part` of `parts` of some rows.
struct Share {
  int begin, rows;
  Share(int all, int part, int parts)
      : begin(static_cast<int>(static_cast<int64_t>(all) * part / parts)),
        rows(static_cast<int>(static_cast<int64_t>(all) * (part + 1) / parts) - begin) {}
};

// Threads take whole groups; only when there are fewer groups than threads do they share a group.
struct Division {
  int outer, inner;
  Division(int groups, int threads) : outer(groups >= threads ? threads : 1), inner(groups >= threads ? 1 : threads) {}
};

}  // namespace

const MlpShape& checked(const MlpShape& shape) {
  if (shape.sizes.size() < 2) throw std::invalid_argument("sizes must name at least input and output");
  for (const int size : shape.sizes)
    if (size < 1 || size > 65536) throw std::invalid_argument("a size is out of range: " + std::to_string(size));
  if (shape.groups < 0 || shape.rows < 0) throw std::invalid_argument("groups and rows must not be negative");
  if (shape.bf16 && !select_bf16()) throw std::invalid_argument("this processor multiplies no bfloat16");
  return shape;
}

size_t saved_size(const MlpShape& shape) { return MlpMemory(shape, select_mlp()).saved() * shape.groups; }

void mlp_forward(const MlpShape& shape, const std::vector<Piece>& x, const std::vector<LayerPointers>& layers,
                 const Output<float>& y, float* saved, int threads) {
  const MlpMemory memory(shape, select_mlp());
  const MlpKernels& k = memory.kernels;
  const int B = shape.rows, L = shape.layers(), panel = memory.panel, out = shape.sizes[L];
  if (B == 0 || shape.groups == 0) return;
  const Division division(shape.groups, std::max(1, threads));
  const int blocks = std::max((B + kRowsTogether - 1) / kRowsTogether, std::min(division.inner, B));
  const int most = (B + blocks - 1) / blocks;
  const size_t widest = memory.widest();
  // Scratch of a block of rows: values before and after a layer if nothing is saved, and the output.
  const Multiplier by(memory);
  const size_t packs = by.scratch(most, widest), size = packs + 3 * widest * most;
  float* const all = workspace(division.outer * division.inner * size);
  parallel_for(division.outer, shape.groups, [&](int g, int worker) {
    float* const kept = saved ? saved + g * memory.saved() : nullptr;
    parallel_for(division.inner, blocks, [&](int b, int inner) {
      const auto [begin, rows] = Share(B, b, blocks);
      float* const packed = all + (worker * division.inner + inner) * size;
      float* const scratch = packed + packs;
      const size_t row = static_cast<size_t>(begin) * panel, near = static_cast<size_t>(rows) * panel;
      float* turns[2] = {scratch, scratch + widest * most};
      float* const result = scratch + 2 * widest * most;
      float* from = kept ? kept + row : turns[0];
      const size_t plane = kept ? memory.plane() : near;
      float* const own = y.data + (static_cast<size_t>(g) * B + begin) * y.stride;
      pack_pieces(shape, x, g, begin, rows, panel, from, plane);
      for (int l = 0; l < L; ++l) {
        const bool last = l + 1 == L;
        if (last && out == 1)
          return forward_column(k, layers[l], g, shape.sizes[l], rows, {from, plane}, own, y.stride, packed);
        Epilogue epilogue;
        epilogue.activate = !last;
        epilogue.activation = shape.activation;
        if (kept && !last) epilogue.slope = kept + memory.slopes_at(l + 1) + row;
        float* const next = last ? result : (kept ? kept + memory.values_at(l + 1) + row : turns[(l + 1) % 2]);
        forward_layer(by, layers[l], g, shape.sizes[l], shape.sizes[l + 1], rows, {from, plane},
                      {next, last ? near : plane}, epilogue, packed);
        if (shape.norm && !last)
          forward_norm(k, layers[l], g, shape.sizes[l + 1], rows, {next, plane},
                       kept ? kept + memory.normals_at(l + 1) + row : nullptr,
                       kept ? kept + memory.deviations_at(l + 1) + begin : nullptr, packed);
        from = next;
      }
      k.unpack(result, near, rows, out, own, y.stride);
    });
  });
}

void mlp_backward(const MlpShape& shape, const Output<const float>& dy, const std::vector<LayerPointers>& layers,
                  const float* saved, const std::vector<Piece>& x, const std::vector<float*>& dx,
                  const std::vector<LayerPointers>& gradients, int threads) {
  const MlpMemory memory(shape, select_mlp());
  const MlpKernels& k = memory.kernels;
  const int B = shape.rows, L = shape.layers(), panel = memory.panel, out = shape.sizes[L], hidden = shape.sizes[1];
  if (shape.groups == 0) return;
  const Division division(shape.groups, std::max(1, threads));
  // Scratch of a group: the errors after and before a layer; of each of its threads: packed weights.
  const Multiplier by(memory);
  const size_t widest = memory.widest(), errors = widest * B, packs = by.scratch(B, widest);
  const size_t size = 2 * errors + division.inner * packs;
  float* const all = workspace(division.outer * size);
  const Team team(threads);
  parallel_for(division.outer, shape.groups, [&](int g, int worker) {
    float* error[2] = {all + worker * size, all + worker * size + errors};
    float* const scratch = error[1] + errors;
    const float* const kept = saved + g * memory.saved();
    k.pack(dy.data + static_cast<size_t>(g) * B * dy.stride, B, out, dy.stride, error[0], memory.plane());
    for (int l = L - 1; l >= 0; --l) {
      const int in = shape.sizes[l], outputs = shape.sizes[l + 1], parts = (in + panel - 1) / panel;
      const float* const weight = layers[l].weight + g * layers[l].weight_stride;
      // While a layer's errors are in cache: its gradient, then the errors of the layer before it.
      parallel_for(division.inner, division.inner, [&](int w, int) {
        const int first = parts * w / division.inner * panel;
        const int last = std::min(in, parts * (w + 1) / division.inner * panel);
        float* const packed = scratch + w * packs;
        if (!gradients.empty()) {
          float* const dw = gradients[l].weight + g * gradients[l].weight_stride;
          if (outputs == 1 && w == 0)
            k.gradient_column(kept + memory.values_at(l), memory.plane(), in, error[0], panel, B, dw);
          if (outputs > 1)
            weight_gradient(by, {kept + memory.values_at(l), memory.plane()}, first, last, {error[0], memory.plane()},
                            outputs, B, dw, packed);
          if (w == 0)
            k.column_sums(error[0], nullptr, memory.plane(), outputs, B,
                          gradients[l].bias + g * gradients[l].bias_stride);
        }
        const auto [begin, rows] = Share(B, w, division.inner);
        const size_t row = static_cast<size_t>(begin) * panel;
        const Block<const float> behind{error[0] + row, memory.plane()};
        if (l > 0)
          return backward_layer(by, weight, in, outputs, rows, behind, {error[1] + row, memory.plane()},
                                shape.norm ? nullptr : kept + memory.slopes_at(l) + row, packed);
        const float* rows_of_piece = weight;
        for (size_t i = 0; i < x.size(); rows_of_piece += static_cast<size_t>(x[i].width) * hidden, ++i) {
          if (!dx[i]) continue;
          backward_layer(by, rows_of_piece, x[i].width, hidden, rows, behind, {error[1] + row, memory.plane()}, nullptr,
                         packed);
          k.unpack(error[1] + row, memory.plane(), rows, x[i].width,
                   dx[i] + (static_cast<size_t>(g) * B + begin) * x[i].width, x[i].width);
        }
      });
      std::swap(error[0], error[1]);
      if (l == 0 || !shape.norm) continue;
      // Behind the norm of layer l - 1, with every row's error at hand for the sums over rows.
      const float* const normal = kept + memory.normals_at(l);
      parallel_for(division.inner, division.inner, [&](int w, int) {
        const LayerPointers& layer = layers[l - 1];
        if (!gradients.empty() && w == 0) {
          const LayerPointers& to = gradients[l - 1];
          k.column_sums(error[0], normal, memory.plane(), in, B, to.scale + g * to.scale_stride);
          k.column_sums(error[0], nullptr, memory.plane(), in, B, to.shift + g * to.shift_stride);
        }
        const auto [begin, rows] = Share(B, w, division.inner);
        const size_t row = static_cast<size_t>(begin) * panel;
        float* const scale = scratch + w * packs;
        copy_padded(layer.scale + g * layer.scale_stride, in, panel, scale);
        k.normalise_backward(error[0] + row, normal + row, kept + memory.slopes_at(l) + row, memory.plane(),
                             kept + memory.deviations_at(l) + begin, scale, rows, in, error[1] + row);
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

}  // namespace gtp
