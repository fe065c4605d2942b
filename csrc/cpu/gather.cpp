#include "cpu/gather.hpp"

#include <cstddef>
#include <cstring>
#include <vector>

#include "cpu/dispatch.hpp"
#include "cpu/sampler_kernels.hpp"
#include "philox.hpp"

namespace gtp {
namespace {

void draw_lots(const TransitionRows& table, uint64_t key, uint32_t step, uint32_t stream, std::vector<int64_t>& drawn) {
  const uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (size_t b = 0; b < drawn.size(); ++b) {
    const Words w = philox(k0, k1, Words{step, stream, static_cast<uint32_t>(b), 0});
    const uint32_t row = multiply_high(w.w0, table.count);
    const uint64_t lot = table.lots[row];
    drawn[b] = w.w1 <= static_cast<uint32_t>(lot >> 32) ? row : static_cast<uint32_t>(lot);
  }
}

}  // namespace

void gather(const TransitionRows& table, const uint64_t* keys, int seeds, uint32_t step, uint32_t stream, int rows,
            const BatchFields& out) {
  const size_t O = table.observation, A = table.action, B = rows, width = 2 * O + A + 2;
  std::vector<int64_t> drawn(B);
  const SamplerKernels& draws = select_sampler(Precision::kFp32);
  for (int s = 0; s < seeds; ++s) {
    if (table.lots != nullptr)
      draw_lots(table, keys[s], step, stream, drawn);
    else
      draws.integers(keys[s], step, stream, rows, table.count, drawn.data());
    // Rows are scattered in memory: prefetched together, they arrive together.
    for (const int64_t row : drawn)
      for (size_t i = 0; i < width; i += 16) __builtin_prefetch(table.data + row * width + i);
    for (size_t b = 0; b < B; ++b) {
      const float* from = table.data + drawn[b] * width;
      const size_t at = s * B + b;
      std::memcpy(out.observation + at * O, from, O * sizeof(float));
      std::memcpy(out.action + at * A, from + O, A * sizeof(float));
      out.reward[at] = from[O + A];
      std::memcpy(out.next_observation + at * O, from + O + A + 1, O * sizeof(float));
      out.mask[at] = from[width - 1];
    }
  }
}

}  // namespace gtp
