// Sums the metrics of many updates and notes where a loss first left its limit.
#pragma once

#include <cstdint>

namespace gtp {

// Whether a loss is finite and within its limit.
bool sound(float loss, double limit);

// Adds metrics [rows, S] to total. The first `losses` rows are losses: bad_step [losses, S], -1 before, gets the first
// step at which one is not sound by its limit [losses].
void tally(const float* metrics, int rows, int losses, int seeds, const float* limits, int64_t step, float* total,
           int64_t* bad_step);

}  // namespace gtp
