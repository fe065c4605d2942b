// The losses of the flow map (eq. 17, 18) on the CPU, float32, with their gradient in the same pass.
#pragma once

#include "cpu/perturb.hpp"

namespace gtp {

// Actions [S, B, A], the student's outputs [S, 2B, A]; the rest are row fields (perturb.hpp) and weights [S, B].
struct LossInputs {
  const float *student, *teacher, *a, *a_t, *a_u, *q_t, *q_u, *skip_t, *out_t, *skip_u, *out_u, *w;
  const float* share;  // [S], weight of the flow loss in the gradient; null: 1
};

// Consistency and flow loss [S], and the gradient [S, 2B, A] of consistency + share flow with respect to `student`.
void flow_map_loss(const BatchShape& shape, const LossInputs& in, float* consistency, float* flow, float* gradient);

}  // namespace gtp
