// The activations of the hidden layers; the numbers are those that Python passes.
#pragma once

namespace gtp {

enum class Activation : int { kMish, kRelu, kGelu };

}  // namespace gtp
