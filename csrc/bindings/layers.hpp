// The parameters of a perceptron as Python passes them.
#pragma once

#include <pybind11/stl.h>

#include <array>
#include <vector>

#include "bindings/checks.hpp"
#include "cpu/mlp.hpp"

// Addresses of weight and bias, and for each the distance between groups in floats.
using LayerAddress = std::array<uintptr_t, 4>;

// Parameters of every layer, or their gradients; valid as long as their memory does not move.
struct Layers {
  explicit Layers(const std::vector<LayerAddress>& layers) {
    for (const LayerAddress& layer : layers)
      all.push_back({pointer<float>(layer[0], "weight"), pointer<float>(layer[1], "bias"), layer[2], layer[3]});
  }
  const std::vector<gtp::LayerPointers>& of(int layers) const {
    if (static_cast<int>(all.size()) != layers) throw py::value_error("one entry is needed for each layer");
    return all;
  }
  std::vector<gtp::LayerPointers> all;
};
