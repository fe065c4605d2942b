// The layout of weights for clusters and tensor cores. A unit is the weights of a few inputs by a few columns, in the
// order in which the lanes of a warp read them. A seed has first the units of the first layer and the hidden layers,
// row of units by row of units, each row all columns; then those of the last layer. The inputs of the first layer are
// the action, then the observation. Padding is zero.
#pragma once

#include "policy.hpp"

namespace gtp {

// A unit's inputs, columns, and 16-byte vectors.
struct UnitSize {
  int depth, columns, vectors;
};

struct UnitLayout {
  UnitSize unit;
  int width;                     // padded columns of a layer
  int first_rows, hidden_rows;   // rows of units in the first layer, in each other layer
  int stream_rows;               // in the first and all hidden layers
  int groups, last_groups;       // units in a row; in a row of the last layer
  size_t last, seed_size, size;  // in vectors: offset of the last layer, one seed, all seeds

  UnitLayout(const Shape& shape, const UnitSize& size_of_unit, int padded_width)
      : unit(size_of_unit), width(padded_width) {
    const auto up = [](int n, int step) { return (n + step - 1) / step; };
    first_rows = up(shape.action + shape.observation, unit.depth);
    hidden_rows = up(shape.width, unit.depth);
    stream_rows = first_rows + (shape.layers - 1) * hidden_rows;
    groups = width / unit.columns;
    last_groups = up(shape.action, unit.columns);
    last = static_cast<size_t>(stream_rows) * groups * unit.vectors;
    seed_size = last + static_cast<size_t>(hidden_rows) * last_groups * unit.vectors;
    size = shape.seeds * seed_size;
  }

  // The widest input of a layer.
  __host__ __device__ int widest() const {
    const int deep = hidden_rows * unit.depth;
    return deep > width ? deep : width;
  }
};

}  // namespace gtp
