#include "cpu/loss.hpp"

#include <cstddef>

namespace gtp {

void flow_map_loss(const BatchShape& shape, const LossInputs& in, float* consistency, float* flow, float* gradient) {
  const size_t B = shape.rows, A = shape.action;
  for (int s = 0; s < shape.seeds; ++s) {
    const float share = in.share == nullptr ? 1.0f : in.share[s];
    double of_consistency = 0.0, of_flow = 0.0;
    for (size_t b = 0; b < B; ++b) {
      const size_t row = s * B + b, first = (2 * s * B + b) * A, second = first + B * A;
      const float slope = 2.0f * in.w[row] / static_cast<float>(B) * in.out_t[row];
      double squares = 0.0, flow_squares = 0.0;
      for (size_t j = 0; j < A; ++j) {
        const size_t at = row * A + j;
        const float kept = in.skip_t[row] * in.a_t[at];
        const float d_t = kept + in.out_t[row] * in.student[first + j] - in.a[at];
        const float d_u = in.skip_u[row] * in.a_u[at] + in.out_u[row] * in.teacher[at] - in.a[at];
        // tau z, as large as 300, is cancelled by hand; the difference of the jumps would lose every digit.
        const float residual = in.q_t[row] * d_t - in.q_u[row] * d_u;
        const float flow_residual = kept + in.out_t[row] * in.student[second + j] - in.a[at];
        squares += static_cast<double>(residual) * residual;
        flow_squares += static_cast<double>(flow_residual) * flow_residual;
        gradient[first + j] = slope * in.q_t[row] * residual;
        gradient[second + j] = slope * flow_residual * share;
      }
      of_consistency += in.w[row] * squares;
      of_flow += in.w[row] * flow_squares;
    }
    consistency[s] = static_cast<float>(of_consistency / static_cast<double>(B));
    flow[s] = static_cast<float>(of_flow / static_cast<double>(B));
  }
}

}  // namespace gtp
