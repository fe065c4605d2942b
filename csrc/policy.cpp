#include "policy.hpp"

#include <stdexcept>
#include <string>

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

const char* name_of(Precision precision) {
  switch (precision) {
    case Precision::kFp32: return "fp32";
    case Precision::kTf32: return "tf32";
    case Precision::kBf16: return "bf16";
    case Precision::kInt8: break;
  }
  return "int8";
}

Precision precision_of(const char* name, std::initializer_list<Precision> offered) {
  std::string names;
  for (const Precision& precision : offered) {
    if (name == std::string(name_of(precision))) return precision;
    const char* const before = &precision == offered.begin() ? "" : &precision + 1 == offered.end() ? " or " : ", ";
    names += before + std::string(name_of(precision));
  }
  throw std::invalid_argument("precision must be " + names + ", not " + name);
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
