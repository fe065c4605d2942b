// What joins the passes of a double-Q critic on the CPU, float32: the TD loss with its gradient, and advantage weights.
#pragma once

namespace gtp {

// Q of `twins` networks of every seed: [S, twins, ...]. Of values that do not compare, NaN wins as in the reference.
struct TwinShape {
  int seeds, twins, rows;
};

struct TdInputs {
  const float *values, *following;  // [S, twins, B] and, of m actions each, [S, twins, m B]
  const float *reward, *mask;       // [S, B]
  int actions;                      // m, the best of which backs up
  float discount;
};

// The loss [S] towards r + discount mask min over twins, and its gradient [S, twins, B] with respect to `values`.
void td_loss(const TwinShape& shape, const TdInputs& in, float* loss, float* gradient);

// Weights exp(eta max(0, A) / (std A + 1e-6)) [S, B], no larger than `maximum`, with A the value of the data's action
// less the mean of `actions` of the policy's; values: [S, twins, (1 + actions) B]. statistics [4, S]: mean Q, std A, mean
// and largest weight.
void weigh(const TwinShape& shape, const float* values, int actions, const float* eta, float maximum, float* w,
           float* statistics);

}  // namespace gtp
