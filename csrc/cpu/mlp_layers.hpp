// The memory of a perceptron, and one of its layers on a block of rows, forward and backward.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "cpu/bf16_kernels.hpp"
#include "cpu/dispatch.hpp"
#include "cpu/mlp.hpp"

namespace gtp {

inline size_t padded(int columns, int panel) { return static_cast<size_t>((columns + panel - 1) / panel) * panel; }

// Sizes and offsets of one group's panels, in floats.
struct MlpMemory {
  const MlpShape& shape;
  const MlpKernels& kernels;
  int panel;

  MlpMemory(const MlpShape& s, const MlpKernels& k) : shape(s), kernels(k), panel(2 * k.lanes) {}

  size_t plane() const { return static_cast<size_t>(shape.rows) * panel; }
  size_t matrix(int size_index) const { return padded(shape.sizes[size_index], panel) * shape.rows; }
  size_t widest() const { return padded(*std::max_element(shape.sizes.begin(), shape.sizes.end()), panel); }

  // Saved for one group: x, then each hidden layer's values, slopes, and of its norm the values before scale and shift
  // and the inverse deviation of each row.
  size_t saved() const { return values_at(shape.layers()); }
  size_t values_at(int l) const {  // offset of the values that layer l reads
    const size_t deviations = padded(shape.rows, panel);
    size_t at = 0;
    for (int i = 0; i < l; ++i) at += i == 0 ? matrix(0) : shape.norm ? 3 * matrix(i) + deviations : 2 * matrix(i);
    return at;
  }
  size_t slopes_at(int l) const { return values_at(l) + matrix(l); }
  size_t normals_at(int l) const { return slopes_at(l) + matrix(l); }
  size_t deviations_at(int l) const { return normals_at(l) + matrix(l); }
};

// Packs rows begin..begin+rows-1 of a group's pieces, side by side, into panels.
inline void pack_pieces(const MlpShape& shape, const std::vector<Piece>& x, int group, int begin, int rows, int panel,
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

// Rows [begin, end) of a matrix that a product reads or writes, in panels `plane` apart.
template <class T>
struct Block {
  T* data;
  size_t plane;
};

// The kernels that multiply: bf16 unless null, else float32.
struct Multiplier {
  const MlpKernels& k;
  const Bf16Kernels* bf16;

  explicit Multiplier(const MlpMemory& memory)
      : k(memory.kernels), bf16(memory.shape.bf16 ? select_bf16() : nullptr) {}

  // Floats of scratch for a layer with at most `widest` inputs and outputs.
  size_t scratch(int rows, size_t widest) const {
    return bf16 ? bf16->scratch(rows, static_cast<int>(widest)) : (widest + 1) * 2 * k.lanes;
  }
};

// One layer on a block of rows. Each panel of weights, [in, panel], is packed right before its product, so that it is
// still in the first-level cache.
inline void forward_layer(const Multiplier& by, const LayerPointers& layer, int g, int in, int out, int rows,
                          const Block<const float>& x, const Block<float>& y, Epilogue epilogue, float* packed) {
  const MlpKernels& k = by.k;
  const int panel = 2 * k.lanes;
  const float* const weight = layer.weight + g * layer.weight_stride;
  const float* const bias = layer.bias + g * layer.bias_stride;
  if (by.bf16)
    return by.bf16->forward(x.data, x.plane, rows, in, weight, bias, out, y.data, y.plane, epilogue, packed);
  float* const padded_bias = packed + static_cast<size_t>(in) * panel;
  float* const slope = epilogue.slope;
  for (int column = 0, p = 0; column < out; column += panel, ++p) {
    const int count = std::min(panel, out - column);
    k.pack(weight + column, in, count, out, packed, 0);
    std::copy_n(bias + column, count, padded_bias);
    std::fill(padded_bias + count, padded_bias + panel, 0.0f);
    epilogue.bias = padded_bias;
    if (slope) epilogue.slope = slope + p * y.plane;
    epilogue.next = weight + column + panel;
    epilogue.next_rows = column + panel < out ? in : 0;
    epilogue.next_stride = out;
    k.product(x.data, x.plane, rows, in, packed, count, y.data + p * y.plane, 0, epilogue);
  }
}

// Copies a vector and pads it with zeros to panels; returns the end.
inline float* copy_padded(const float* from, int count, int panel, float* to) {
  float* const end = to + padded(count, panel);
  std::fill(std::copy_n(from, count, to), end, 0.0f);
  return end;
}

// The norm of a hidden layer's values y, in place.
inline void forward_norm(const MlpKernels& k, const LayerPointers& layer, int g, int columns, int rows,
                         const Block<float>& y, float* normal, float* inverse, float* packed) {
  const int panel = 2 * k.lanes;
  float* const shift = copy_padded(layer.scale + g * layer.scale_stride, columns, panel, packed);
  copy_padded(layer.shift + g * layer.shift_stride, columns, panel, shift);
  k.normalise(y.data, y.plane, rows, columns, packed, shift, normal, inverse);
}

// A last layer with one output, without padding to a panel: y [rows] lies `stride` apart.
inline void forward_column(const MlpKernels& k, const LayerPointers& layer, int g, int in, int rows,
                           const Block<const float>& x, float* y, size_t stride, float* packed) {
  const int panel = 2 * k.lanes;
  copy_padded(layer.weight + g * layer.weight_stride, in, panel, packed);
  k.product_column(x.data, x.plane, rows, in, packed, layer.bias[g * layer.bias_stride], y, stride);
}

// y = z w^T, times `factor` unless null: w row-major [in, out], z [rows, out], y and factor [rows, in].
inline void backward_layer(const Multiplier& by, const float* weight, int in, int out, int rows,
                           const Block<const float>& z, const Block<float>& y, const float* factor, float* packed) {
  const MlpKernels& k = by.k;
  const int panel = 2 * k.lanes;
  if (by.bf16 && out > 1)
    return by.bf16->backward(z.data, z.plane, rows, out, weight, in, y.data, y.plane, factor, packed);
  for (int first = 0, p = 0; first < in; first += panel, ++p) {
    const int count = std::min(panel, in - first);
    k.pack_transposed(weight + static_cast<size_t>(first) * out, count, out, packed);
    Epilogue epilogue;
    if (factor) epilogue.factor = factor + p * y.plane;
    k.product(z.data, z.plane, rows, out, packed, count, y.data + p * y.plane, 0, epilogue);
  }
}

// Rows first..last of a layer's gradient x^T z, row-major [in, out]; `first` begins a panel.
inline void weight_gradient(const Multiplier& by, const Block<const float>& x, int first, int last,
                            const Block<const float>& z, int out, int rows, float* g, float* packed) {
  const int panel = 2 * by.k.lanes;
  if (first >= last) return;
  if (by.bf16) return by.bf16->gradient(x.data, x.plane, first, last, z.data, z.plane, out, rows, g, packed);
  for (; first < last; first += panel)
    by.k.gradient(x.data, x.plane, first, std::min(first + panel, last), z.data, z.plane, out, rows, g);
}

}  // namespace gtp
