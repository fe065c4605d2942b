#include "cpu/tally.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace gtp {

// False for a NaN.
bool sound(float loss, double limit) {
  return std::fabs(loss) <= std::min<double>(limit, std::numeric_limits<float>::max());
}

void tally(const float* metrics, int rows, int losses, int seeds, const float* limits, int64_t step, float* total,
           int64_t* bad_step) {
  for (int r = 0; r < rows; ++r)
    for (int at = r * seeds; at < (r + 1) * seeds; ++at) {
      total[at] += metrics[at];
      if (r < losses && bad_step[at] < 0 && !sound(metrics[at], limits[r])) bad_step[at] = step;
    }
}

}  // namespace gtp
