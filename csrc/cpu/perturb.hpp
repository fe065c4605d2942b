// The perturbation of a batch (eq. 11, 17) on the CPU, float32: noised actions at times drawn by counter.
#pragma once

#include <cstdint>

namespace gtp {

enum class Preconditioning : int { kEdm, kCm, kNone };

// The weight of a row's consistency loss: 1, 1 / (t - u) or N - 1.
enum class ConsistencyWeight : int { kNone, kGap, kNodes };

struct BatchShape {
  int seeds, rows, action;
};

struct PerturbOptions {
  bool uniform;  // u is uniform over the nodes from tau to t, instead of the node below t
  Preconditioning kind;
  float sigma, t_min;
  uint32_t num_nodes, step, time_stream;
  ConsistencyWeight weight;  // its square root scales q_t and q_u, which only the consistency loss reads
};

// The fields of a row, [S, B] each, in the order of the reference.
enum RowField { kT, kU, kTau, kRatioT, kQT, kRatioU, kQU, kSkipT, kOutT, kSkipU, kOutU, kRowFields };

// Row fields [kRowFields, S, B]; noised actions a_t and a_u [S, B, A]; inputs and time levels of the student,
// [S, 2B, A] and [S, 2B, 2], consistency rows first, and of the teacher, [S, B, A] and [S, B, 2].
struct Perturbed {
  float *fields, *a_t, *a_u, *student_x, *student_levels, *teacher_x, *teacher_levels;
};

// cdf: the distribution of n_t over num_nodes nodes in units of 2^-32, from 0 to 2^32; null if it is uniform.
void perturb(const BatchShape& shape, const PerturbOptions& options, const float* a, const float* nodes,
             const int64_t* cdf, const uint64_t* keys, const float* z, const Perturbed& out);

}  // namespace gtp
