// How weights lie for clusters and tensor cores. A unit is the weights of a few inputs by a few columns, in the order
// in which the lanes of a warp read them. A seed has first the units of the first layer and the hidden layers, one row
// of units after another, a row being all columns; then those of the last layer. Of the first layer the inputs are the
// action, then the observation. What lies outside the policy is zero.
#pragma once

#include "policy.hpp"

namespace gtp {

// Of a unit: inputs, columns, and how many 16-byte vectors it takes.
struct UnitSize {
  int depth, columns, vectors;
};

struct UnitLayout {
  UnitSize unit;
  int width;                     // columns of a layer, padded
  int first_rows, hidden_rows;   // rows of units of the first layer, of each other layer
  int stream_rows;               // of the first and all hidden layers
  int groups, last_groups;       // units in a row, of the last layer in a row
  size_t last, seed_size, size;  // in vectors: where the last layer begins, one seed, all seeds

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
