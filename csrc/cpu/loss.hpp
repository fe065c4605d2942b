// The perturbation of a batch and the losses of the flow map on the CPU, float32, one pass each.
#pragma once

#include <cstdint>

namespace gtp {

enum class Preconditioning : int { kEdm, kCm, kNone };

struct PerturbShape {
  int seeds, rows, action;
};

struct PerturbOptions {
  bool uniform;  // the law of u: any node from tau to t instead of the node below t
  Preconditioning kind;
  float sigma, t_min;
  uint32_t num_nodes, step, time_stream;
};

// The eleven fields of a row, [S, B] each, in the order of the reference: t, u, tau, r_t, q_t, r_u, q_u, skip_t, out_t,
// skip_u, out_u; then z, a_t, a_u [S, B, A]. z is given.
struct Perturbed {
  float *fields, *a_t, *a_u, *student_x, *student_levels, *teacher_x, *teacher_levels;
};

// cdf: of the law of n_t over num_nodes nodes in units of 2^-32, from 0 to 2^32; null for the uniform law.
void perturb(const PerturbShape& shape, const PerturbOptions& options, const float* a, const float* nodes,
             const int64_t* cdf, const uint64_t* keys, const float* z, const Perturbed& out);

struct LossInputs {
  const float *student, *teacher, *a, *a_t, *a_u, *q_t, *q_u, *skip_t, *out_t, *skip_u, *out_u, *w;
  const float* share;  // of the flow loss in the gradient, [S]; may be null
};

// Consistency and flow loss [S], and the gradient [S, 2B, A] of consistency + share flow with respect to the student.
void flow_map_loss(const PerturbShape& shape, const LossInputs& in, float* consistency, float* flow, float* gradient);

}  // namespace gtp
