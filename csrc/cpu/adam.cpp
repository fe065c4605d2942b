#include "cpu/adam.hpp"

#include <algorithm>
#include <cmath>

#include "cpu/dispatch.hpp"
#include "cpu/mlp_kernels.hpp"
#include "cpu/tally.hpp"
#include "cpu/team.hpp"

namespace gtp {

void adam_step(const AdamArrays& a, const float* rate, double updates, double first_beta, double second_beta,
               double epsilon, double average_rate, double max_norm, double weight_decay, const Health& health,
               float* norm, int threads) {
  const MlpKernels& k = select_mlp();
  parallel_for(threads, a.seeds, [&](int s, int) {
    const size_t at = s * a.count;
    const double length = std::sqrt(k.square_sum(a.gradient + at, a.count));
    norm[s] = static_cast<float>(length);
    if (health.diverged[s] >= 0) return;
    if (!sound(health.loss[s], health.limit) || !std::isfinite(norm[s])) {
      health.diverged[s] = static_cast<int64_t>(updates) - 1;
      return;
    }
    AdamScalars scalars;
    scalars.gradient_scale = static_cast<float>(std::min(1.0, max_norm / (length + 1e-6)));
    scalars.rate = static_cast<float>(rate[s] / (1.0 - std::pow(first_beta, updates)));
    scalars.first_decay = static_cast<float>(1.0 - first_beta);
    scalars.second_decay = static_cast<float>(1.0 - second_beta);
    scalars.second_correction = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(second_beta, updates)));
    scalars.epsilon = static_cast<float>(epsilon);
    scalars.average_rate = static_cast<float>(average_rate);
    scalars.kept = static_cast<float>(1.0 - weight_decay * rate[s]);
    k.adam(a.parameter + at, a.gradient + at, a.first + at, a.second + at, a.average + at, a.count, scalars);
  });
}

}  // namespace gtp
