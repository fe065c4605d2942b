// td_loss (eq. 16, with its gradient) and weigh (eq. 14, advantage weights) of a double-Q critic on the CPU, float32.
#pragma once

namespace gtp {

// Q of `twins` networks of every seed: [S, twins, ...]. Minimum and maximum propagate NaN, as in the reference.
struct TwinShape {
  int seeds, twins, rows;
};

struct TdInputs {
  const float *values, *next_values;  // [S, twins, B]; at m next actions, [S, twins, m B]
  const float *reward, *mask;         // [S, B]
  int actions;                        // m; the target takes the best
  float discount;
};

// The loss [S] with target r + discount mask min over twins, and its gradient [S, twins, B] with respect to `values`.
void td_loss(const TwinShape& shape, const TdInputs& in, float* loss, float* gradient);

// The scale of A in the weights: its standard deviation, or 1.4826 times its median absolute deviation.
enum class AdvantageScale : int { kStd, kMad };

// Weights exp(eta max(0, A) / (scale A + 1e-6)) [S, B], at most `maximum`. A is the value of the data's action less the
// mean value of `actions` policy actions; values: [S, twins, (1 + actions) B]. statistics [4, S]: mean Q, scale of A, mean
// weight, largest weight.
void weigh(const TwinShape& shape, const float* values, int actions, const float* eta, float maximum,
           AdvantageScale scale, float* w, float* statistics);

}  // namespace gtp
