// A batch drawn by counter out of the resident table of transitions, each field contiguous.
#pragma once

#include <cstdint>

namespace gtp {

// A table [count, 2 observation + action + 2]: s | a | r | s' | mask. lots: an alias table [count] by which rows are
// drawn in given shares (upper half of an entry: the largest word that draws the row itself; lower half: the other
// row); null where all rows have the same share.
struct TransitionRows {
  const float* data;
  uint32_t count;
  int observation, action;
  const uint64_t* lots = nullptr;
};

// Where the fields of a batch go: s [S, B, O], a [S, B, A], r [S, B], s' [S, B, O], mask [S, B].
struct BatchFields {
  float *state, *action, *reward, *following, *mask;
};

// Row b of a seed is number (word count) >> 32, word the first of philox(seed; step, stream, b, 0); with lots the second
// word says whether it or its alias is drawn.
void gather(const TransitionRows& table, const uint64_t* keys, int seeds, uint32_t step, uint32_t stream, int rows,
            const BatchFields& out);

}  // namespace gtp
