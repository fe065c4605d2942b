#include "cpu/perturb.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "philox.hpp"

namespace gtp {
namespace {

struct Jump {
  float r, q;
};

// r = tau / t and q = (t - tau) / t, each from the times; (1, 0) where tau = t, also at 0.
Jump jump(float t, float tau) {
  if (t == tau) return {1.0f, 0.0f};
  const float safe = t > 0.0f ? t : 1.0f;
  return {tau / safe, (t - tau) / safe};
}

struct Scales {
  float skip, out, in;
};

Scales precondition(float t, const PerturbOptions& o) {
  const float variance = o.sigma * o.sigma;
  const float scale = 1.0f / std::sqrt(t * t + variance);
  if (o.kind == Preconditioning::kEdm) return {variance * scale * scale, t * o.sigma * scale, scale};
  if (o.kind == Preconditioning::kNone) return {0.0f, 1.0f, scale};
  const float shifted = std::max(t, o.t_min) - o.t_min;
  return {variance / (shifted * shifted + variance), o.sigma * shifted * scale, 1.0f};
}

float jump_scale(float t, float u, const PerturbOptions& o) {
  if (o.weight == ConsistencyWeight::kNone) return 1.0f;
  return o.weight == ConsistencyWeight::kGap ? 1.0f / std::sqrt(t - u)
                                             : std::sqrt(static_cast<float>(o.num_nodes - 1));
}

// The node, 1..num_nodes-1, of a random word: the number of entries of the cdf up to it.
uint32_t draw_node(uint32_t word, uint32_t num_nodes, const int64_t* cdf) {
  if (cdf == nullptr) return 1 + multiply_high(word, num_nodes - 1);
  return static_cast<uint32_t>(std::upper_bound(cdf, cdf + num_nodes, static_cast<int64_t>(word)) - cdf);
}

}  // namespace

void perturb(const BatchShape& shape, const PerturbOptions& o, const float* a, const float* nodes,
             const int64_t* cdf, const uint64_t* keys, const float* z, const Perturbed& out) {
  const size_t B = shape.rows, A = shape.action, plane = shape.seeds * B;
  for (int s = 0; s < shape.seeds; ++s) {
    const uint32_t k0 = static_cast<uint32_t>(keys[s]), k1 = static_cast<uint32_t>(keys[s] >> 32);
    for (size_t b = 0; b < B; ++b) {
      const Words w = philox(k0, k1, Words{o.step, o.time_stream, static_cast<uint32_t>(b), 0});
      const uint32_t n_t = draw_node(w.w0, o.num_nodes, cdf), n_tau = multiply_high(w.w1, n_t);
      const uint32_t n_u = o.uniform ? n_tau + multiply_high(w.w2, n_t - n_tau) : n_t - 1;
      // At node 0 the formulas use time 0; the embedding uses t_min.
      const float t = nodes[n_t], u = n_u > 0 ? nodes[n_u] : 0.0f, tau = n_tau > 0 ? nodes[n_tau] : 0.0f;
      const Jump at_t = jump(t, tau), at_u = jump(u, tau);
      const Scales of_t = precondition(t, o), of_u = precondition(u, o);
      const size_t row = s * B + b, first = 2 * s * B + b, second = first + B;
      const float scale = jump_scale(t, u, o), q_t = scale * at_t.q, q_u = scale * at_u.q;
      const float fields[kRowFields] = {t,   u,         tau,      at_t.r,    q_t,     at_u.r,
                                        q_u, of_t.skip, of_t.out, of_u.skip, of_u.out};
      for (int f = 0; f < kRowFields; ++f) out.fields[f * plane + row] = fields[f];
      const float level_t = 0.25f * std::log(nodes[n_t]), level_tau = 0.25f * std::log(nodes[n_tau]);
      out.student_levels[2 * first] = level_t;
      out.student_levels[2 * first + 1] = level_tau;
      out.student_levels[2 * second] = level_t;
      out.student_levels[2 * second + 1] = level_t;
      out.teacher_levels[2 * row] = 0.25f * std::log(nodes[n_u]);
      out.teacher_levels[2 * row + 1] = level_tau;
      for (size_t j = 0; j < A; ++j) {
        const size_t at = row * A + j;
        const float a_t = a[at] + t * z[at], a_u = a[at] + u * z[at];
        out.a_t[at] = a_t;
        out.a_u[at] = a_u;
        out.student_x[first * A + j] = out.student_x[second * A + j] = of_t.in * a_t;
        out.teacher_x[at] = of_u.in * a_u;
      }
    }
  }
}

}  // namespace gtp
