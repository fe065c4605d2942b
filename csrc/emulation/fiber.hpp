// What a thread of the emulation is, and what it leaves under way.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstdint>
#include <vector>

struct Index3 {
  unsigned x, y, z;
};
inline Index3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

enum class State { kReady, kAtWarp, kAtBlock, kAtCluster, kAtPhase, kDone };

// What a lane publishes to its warp.
struct Shown {
  uint32_t a[4], b[2];
  const void* address;
  float value;
};

struct Copy {
  void* to;
  const void* from;
};

// 16 bytes on their way to another block. By chance they land at once and are counted later, or both happen later.
struct Sent {
  void* to;
  const void* count;
  bool landed;
  char bytes[16];
};

// A count of arrivals and bytes.
struct Phase {
  int threads = 0, missing = 0;  // that arrive in a phase; that have yet to
  int bytes = 0, number = 0;     // bytes expected less those that have come

  // Begins the next phase if this one is complete.
  void end() {
    if (missing == 0 && bytes == 0) *this = {threads, threads, 0, number + 1};
  }
};

struct Fiber {
  ucontext_t context;
  jmp_buf place;
  bool started = false;
  State state = State::kReady;
  const void* count = nullptr;  // with parity, what it waits for at kAtPhase
  int parity = 0;
  int turn = 0;  // alternates between two places of `shown_`, so that none overwrites what another has yet to read
  std::vector<std::vector<Copy>> copies{{}};  // groups of pending copies, the last one open
};

}  // namespace emulation
