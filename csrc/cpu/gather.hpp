// Draws a batch by counter from the resident table of transitions, each field contiguous.
#pragma once

#include <cstdint>

namespace gtp {

// A table [count, 2 observation + action + 2]: s | a | r | s' | mask. lots: an alias table [count] that gives each row
// its probability (upper half of an entry: the largest word that draws the row itself; lower half: the other row); null
// if all rows are equally likely.
struct TransitionRows {
  const float* data;
  uint32_t count;
  int observation, action;
  const uint64_t* lots = nullptr;
};

// The fields of a batch: s [S, B, O], a [S, B, A], r [S, B], s' [S, B, O], mask [S, B].
struct BatchFields {
  float *observation, *action, *reward, *next_observation, *mask;
};

// Row b of a seed is number (w0 count) >> 32, w0 and w1 being words of philox(seed; step, stream, b, 0); with lots, w1
// chooses between it and its alias.
void gather(const TransitionRows& table, const uint64_t* keys, int seeds, uint32_t step, uint32_t stream, int rows,
            const BatchFields& out);

}  // namespace gtp
