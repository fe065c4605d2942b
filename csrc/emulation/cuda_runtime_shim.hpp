// CUDA's words on the host: a block's threads are fibers of one thread, taken up in a random order between barriers,
// so that a missing barrier shows. Included before the kernels' headers.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#define __device__
#define __host__
#define __global__
#define __shared__
#define __forceinline__ inline
#define __restrict__
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n)

struct Index3 {
  unsigned x, y, z;
};
inline Index3 threadIdx, blockIdx, blockDim;

struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace emulation {

enum class State { kReady, kAtBarrier, kAtShuffle, kDone };

// One block of threads; `run` gives false when some threads wait at a barrier that others have left.
class Block {
 public:
  template <class Body>
  static bool run(int threads, Body&& body) {
    Block block(threads);
    current_ = &block;
    static Body* work;
    work = &body;
    for (int t = 0; t < threads; ++t) {
      ucontext_t& fiber = block.fibers_[t];
      getcontext(&fiber);
      fiber.uc_stack.ss_sp = block.stacks_.data() + static_cast<size_t>(t) * kStack;
      fiber.uc_stack.ss_size = kStack;
      fiber.uc_link = nullptr;
      makecontext(
          &fiber,
          +[] {
            (*work)();
            current_->wait(State::kDone);
          },
          0);
    }
    return block.schedule();
  }

  static void wait(State state) {
    Block& block = *current_;
    const int me = block.active_;
    block.states_[me] = state;
    swapcontext(&block.fibers_[me], &block.scheduler_);
    threadIdx.x = me;
  }

  static float exchange(float value, int mask) {
    Block& block = *current_;
    const int me = block.active_;
    block.slots_[me] = value;
    wait(State::kAtShuffle);
    const float other = block.slots_[me ^ mask];
    wait(State::kAtShuffle);
    return other;
  }

 private:
  static constexpr size_t kStack = 1 << 16;

  explicit Block(int threads) : fibers_(threads), stacks_(threads * kStack), slots_(threads), states_(threads) {}

  void resume(int t) {
    active_ = t;
    threadIdx.x = t;
    swapcontext(&scheduler_, &fibers_[t]);
  }

  bool all(int first, int count, State state) const {
    return std::all_of(states_.begin() + first, states_.begin() + first + count,
                       [state](State s) { return s == state; });
  }

  bool schedule() {
    const int threads = static_cast<int>(fibers_.size());
    std::mt19937 random(threads);
    std::vector<int> order(threads);
    std::iota(order.begin(), order.end(), 0);
    for (;;) {
      std::shuffle(order.begin(), order.end(), random);
      for (const int t : order) resume(t);
      for (bool moved = true; moved;) {
        moved = false;
        for (int warp = 0; warp < threads; warp += 32)
          if (all(warp, 32, State::kAtShuffle)) {
            for (int t = warp; t < warp + 32; ++t) resume(t);
            moved = true;
          }
      }
      if (all(0, threads, State::kDone)) return true;
      if (!all(0, threads, State::kAtBarrier)) return false;
    }
  }

  inline static Block* current_ = nullptr;
  ucontext_t scheduler_{};
  std::vector<ucontext_t> fibers_;
  std::vector<char> stacks_;
  std::vector<float> slots_;
  std::vector<State> states_;
  int active_ = 0;
};

}  // namespace emulation

inline void __syncthreads() { emulation::Block::wait(emulation::State::kAtBarrier); }
inline float __shfl_xor_sync(unsigned, float value, int mask) { return emulation::Block::exchange(value, mask); }
