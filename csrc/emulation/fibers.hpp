// A cluster's threads as fibers of one thread, run in a random order between the points where they wait for each other,
// which reveals a missing barrier. A fiber starts by its context and then switches by jumps, without system calls.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
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

// 16 bytes on their way to another block.
struct Sent {
  void* to;
  char bytes[16];
};

// A count of arrivals and bytes. By chance, what is sent lands at once, or not before its phase is over.
struct Phase {
  int threads = 0, missing = 0;  // that arrive in a phase; that have yet to
  int bytes = 0, number = 0;     // bytes expected less those sent
  std::vector<Sent> sent;
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

class Cluster {
 public:
  // Runs `body` in every thread of `blocks` blocks of `threads` threads, from block `first` on. Each block has `bytes`
  // of memory, filled with NaN. Returns false if some threads wait in vain for others.
  static bool run(Index3 first, int blocks, int threads, size_t bytes, const std::function<void()>& body) {
    Cluster cluster(first, blocks, threads, bytes, body);
    now_ = &cluster;
    for (Fiber& fiber : cluster.fibers_) {
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = stacks_.get() + (&fiber - cluster.fibers_.data()) * kStack;
      fiber.context.uc_stack.ss_size = kStack;
      fiber.context.uc_link = nullptr;
      makecontext(&fiber.context, +[] {
        now_->body_();
        wait(State::kDone);
      }, 0);
    }
    return cluster.run_all() && cluster.sound_ && cluster.guards_hold();
  }

  static void wait(State state) {
    Cluster& cluster = *now_;
    Fiber& me = cluster.fibers_[cluster.active_];
    me.state = state;
    if (_setjmp(me.place) == 0) _longjmp(cluster.scheduler_, 1);
  }

  // Publishes a value to the warp and waits for all its lanes; returns the values of all lanes.
  static const Shown* show(const Shown& mine) {
    Cluster& cluster = *now_;
    const int t = cluster.active_;
    const int turn = cluster.fibers_[t].turn++ % 2;
    cluster.shown_[turn][t] = mine;
    wait(State::kAtWarp);
    return &cluster.shown_[turn][t / 32 * 32];
  }

  static void start(const void* count, int threads) { now_->phases_[count] = {threads, threads, 0, 0, {}}; }

  static void expect(const void* count, int bytes) {
    Phase& phase = now_->phases_[count];
    // Of a thread too many, or one that is a phase ahead.
    if (phase.missing == 0) now_->sound_ = false;
    --phase.missing;
    phase.bytes += bytes;
  }

  static void send(void* to, const void* value, const void* count) {
    Phase& phase = now_->phases_[count];
    Sent one{to, {}};
    std::memcpy(one.bytes, value, sizeof one.bytes);
    if (now_->chance())
      std::memcpy(to, value, sizeof one.bytes);
    else
      phase.sent.push_back(one);
    phase.bytes -= static_cast<int>(sizeof one.bytes);
  }

  static void await(const void* count, int parity) {
    fiber().count = count;
    fiber().parity = parity;
    wait(State::kAtPhase);
  }

  static Fiber& fiber() { return now_->fibers_[now_->active_]; }
  static int lane() { return now_->active_ % 32; }
  static unsigned rank() { return now_->active_ / now_->threads_; }
  static char* memory(unsigned rank) { return now_->memory_.data() + rank * now_->stride_; }

 private:
  static constexpr size_t kStack = 1 << 15, kMostFibers = 2048;
  static constexpr size_t kGuard = 4096;
  static constexpr unsigned char kPoison = 0xff;  // a NaN in every format

  Cluster(Index3 first, int blocks, int threads, size_t bytes, const std::function<void()>& body)
      : body_(body), first_(first), threads_(threads), bytes_(bytes), stride_((bytes + kGuard + 15) / 16 * 16),
        fibers_(blocks * threads), memory_(blocks * stride_) {
    if (stacks_ == nullptr) stacks_.reset(new char[kMostFibers * kStack]);
    std::fill(memory_.begin(), memory_.end(), static_cast<char>(kPoison));
    for (auto& shown : shown_) shown.resize(fibers_.size());
  }

  void resume(int t) {
    active_ = t;
    threadIdx.x = t % threads_;
    blockIdx = first_;
    blockIdx.x += t / threads_;
    Fiber& fiber = fibers_[t];
    if (_setjmp(scheduler_) != 0) return;
    if (fiber.started) _longjmp(fiber.place, 1);
    fiber.started = true;
    setcontext(&fiber.context);
  }

  bool all(int first, int count, State state) const {
    return std::all_of(fibers_.begin() + first, fibers_.begin() + first + count,
                       [state](const Fiber& f) { return f.state == state; });
  }

  // Releases `count` threads once all of them wait at the same kind of point.
  bool release(int first, int count, State state) {
    if (!all(first, count, state)) return false;
    for (int t = first; t < first + count; ++t) fibers_[t].state = State::kReady;
    return true;
  }

  bool chance() { return random_() % 2 == 0; }

  // Ends the phases that are complete, and releases some of those who wait for them: one that looks late must not miss
  // its phase.
  bool end_phases() {
    for (auto& [count, phase] : phases_) {
      if (phase.missing > 0 || phase.bytes != 0) continue;
      for (const Sent& one : phase.sent) std::memcpy(one.to, one.bytes, sizeof one.bytes);
      phase = {phase.threads, phase.threads, 0, phase.number + 1, {}};
    }
    std::vector<Fiber*> over;
    for (Fiber& f : fibers_)
      if (f.state == State::kAtPhase && phases_[f.count].number % 2 != f.parity) over.push_back(&f);
    std::shuffle(over.begin(), over.end(), random_);
    for (Fiber* f : over)
      if (f == over.front() || chance()) f->state = State::kReady;
    return !over.empty();
  }

  std::vector<int> shuffled(int first, int count, int step) {
    std::vector<int> order;
    for (int i = first; i < first + count; i += step) order.push_back(i);
    std::shuffle(order.begin(), order.end(), random_);
    return order;
  }

  // Each warp, block and cluster runs as far ahead of the others as the barriers allow.
  void run_warp(int warp) {
    do {
      for (const int t : shuffled(warp, 32, 1))
        if (fibers_[t].state == State::kReady) resume(t);
    } while (release(warp, 32, State::kAtWarp));
  }

  void run_block(int block) {
    do {
      for (const int warp : shuffled(block, threads_, 32)) run_warp(warp);
    } while (release(block, threads_, State::kAtBlock));
  }

  bool run_all() {
    const int count = static_cast<int>(fibers_.size());
    do {
      for (const int block : shuffled(0, count, threads_)) run_block(block);
    } while (end_phases() || release(0, count, State::kAtCluster));
    return all(0, count, State::kDone);
  }

  // Nothing was written past the memory that a block asked for.
  bool guards_hold() const {
    for (size_t block = 0; block * stride_ < memory_.size(); ++block)
      for (size_t i = bytes_; i < bytes_ + kGuard; ++i)
        if (static_cast<unsigned char>(memory_[block * stride_ + i]) != kPoison) return false;
    return true;
  }

  inline static Cluster* now_ = nullptr;
  const std::function<void()>& body_;
  Index3 first_;
  int threads_, active_ = 0;
  size_t bytes_, stride_;
  bool sound_ = true;  // no thread has arrived where none was missing
  jmp_buf scheduler_;
  std::mt19937 random_{1};
  std::map<const void*, Phase> phases_;
  std::vector<Fiber> fibers_;
  std::vector<char> memory_;
  inline static std::unique_ptr<char[]> stacks_;  // kept between runs, because first use of memory costs time
  std::vector<Shown> shown_[2];
};

}  // namespace emulation
