// The parameters of a perceptron as Python passes them.
#pragma once

#include <pybind11/stl.h>

#include <array>
#include <vector>

#include "bindings/checks.hpp"
#include "cpu/mlp.hpp"

// Of weight, bias, and the norm's scale and shift: the address and the distance between groups in floats. A layer
// without a norm has zeros there, or nothing.
using LayerAddress = std::vector<std::array<uintptr_t, 2>>;

// Parameters of every layer, or their gradients; valid as long as their memory does not move.
struct Layers {
  explicit Layers(const std::vector<LayerAddress>& layers) {
    for (const LayerAddress& layer : layers) {
      if (layer.size() != 2 && layer.size() != 4) throw py::value_error("a layer has two or four parameters");
      all.push_back({pointer<float>(layer[0][0], "weight"), pointer<float>(layer[1][0], "bias"), layer[0][1],
                     layer[1][1]});
      if (layer.size() == 2 || (layer[2][0] == 0 && layer[3][0] == 0)) continue;
      all.back().scale = pointer<float>(layer[2][0], "scale"), all.back().scale_stride = layer[2][1];
      all.back().shift = pointer<float>(layer[3][0], "shift"), all.back().shift_stride = layer[3][1];
    }
  }
  // Those of a network, in which a norm may follow every hidden layer.
  const std::vector<gtp::LayerPointers>& of(const gtp::MlpShape& shape) const {
    of(shape.layers());
    for (size_t l = 0; l + 1 < all.size(); ++l)
      if (shape.norm != (all[l].scale != nullptr)) throw py::value_error("the norms do not fit the shape");
    return all;
  }
  const std::vector<gtp::LayerPointers>& of(int layers) const {
    if (static_cast<int>(all.size()) != layers) throw py::value_error("one entry is needed for each layer");
    return all;
  }
  std::vector<gtp::LayerPointers> all;
};
