#include <stdexcept>
#include <string>

#include "policy.hpp"

namespace gtp {
namespace {

void check(const char* name, int value, int high) {
  if (value < 1 || value > high)
    throw std::invalid_argument(std::string(name) + " must be 1.." + std::to_string(high) + ", not " +
                                std::to_string(value));
}

}  // namespace

Activation activation_of(const char* name) {
  const std::string wanted = name;
  if (wanted == "mish") return Activation::kMish;
  if (wanted == "gelu") return Activation::kGelu;
  if (wanted == "relu") return Activation::kRelu;
  throw std::invalid_argument("activation must be mish, gelu or relu, not " + wanted);
}

const Shape& checked(const Shape& shape) {
  check("seeds", shape.seeds, 4096);
  check("observation_dim", shape.observation, 16384);
  check("action_dim", shape.action, 1024);
  check("width", shape.width, 8192);
  check("layers", shape.layers, 64);
  check("steps", shape.steps, 1024);
  return shape;
}

}  // namespace gtp
