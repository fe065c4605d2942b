// A cluster's threads as fibers of one thread, run in a random order between the points where they wait for each other,
// which reveals a missing barrier. A fiber starts by its context and then switches by jumps, without system calls.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "emulation/fiber.hpp"

namespace emulation {

class Cluster {
 public:
  // Runs `body` in every thread of `blocks` blocks of `threads` threads, from block `first` on. Each block has `bytes`
  // of memory, filled with NaN. Returns false if some threads wait in vain for others, or something was counted or
  // written where it must not be.
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

  static void start(const void* count, int threads) { now_->phases_[count] = {threads, threads, 0, 0}; }

  static void expect(const void* count, int bytes) {
    Phase& phase = now_->phases_[count];
    // Of a thread too many, or one that is a phase ahead.
    if (phase.missing == 0) now_->sound_ = false;
    --phase.missing;
    phase.bytes += bytes;
    phase.end();
  }

  static void send(void* to, const void* value, const void* count) {
    // It may arrive before the block there has begun.
    if (now_->phases_.count(count) == 0) now_->sound_ = false;
    Sent one{to, count, now_->chance(2), {}};
    std::memcpy(one.landed ? to : one.bytes, value, sizeof one.bytes);
    now_->sent_.push_back(one);
  }

  // A copy of 16 bytes, which by chance lands at once or when it is waited for.
  static void copy(void* to, const void* from) {
    if (now_->chance(2))
      std::memcpy(to, from, 16);
    else
      fiber().copies.back().push_back({to, from});
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
        random_(first.x + 1000 * first.y + 1), fibers_(blocks * threads), memory_(blocks * stride_) {
    if (stacks_ == nullptr) stacks_.reset(new char[kMostFibers * kStack]);
    std::fill(memory_.begin(), memory_.end(), static_cast<char>(kPoison));
    for (auto& shown : shown_) shown.resize(fibers_.size());
    slow_ = static_cast<int>(random_() % fibers_.size());
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

  bool any_ready() const {
    return std::any_of(fibers_.begin(), fibers_.end(), [](const Fiber& f) { return f.state == State::kReady; });
  }

  // Releases `count` threads once all of them wait at the same kind of point.
  bool release(int first, int count, State state) {
    if (!all(first, count, state)) return false;
    for (int t = first; t < first + count; ++t) fibers_[t].state = State::kReady;
    return true;
  }

  // True once in so many times.
  bool chance(unsigned times) { return random_() % times == 0; }

  // Lets half of what was sent arrive.
  bool arrive() {
    std::shuffle(sent_.begin(), sent_.end(), random_);
    const size_t stay = sent_.size() / 2;
    const bool any = stay < sent_.size();
    for (; sent_.size() > stay; sent_.pop_back()) {
      const Sent& one = sent_.back();
      if (!one.landed) std::memcpy(one.to, one.bytes, sizeof one.bytes);
      phases_[one.count].bytes -= static_cast<int>(sizeof one.bytes);
      phases_[one.count].end();
      // The memory of a block that has ended is no longer its own.
      const size_t block = (static_cast<const char*>(one.count) - memory_.data()) / stride_;
      if (all(static_cast<int>(block) * threads_, threads_, State::kDone)) sound_ = false;
    }
    return any;
  }

  // Releases those who wait for a phase that is over. The slow thread's warp looks late, and must not miss it.
  bool release_waiters(bool late) {
    bool any = false;
    for (Fiber& f : fibers_) {
      if (f.state != State::kAtPhase || phases_[f.count].number % 2 == f.parity) continue;
      if (((&f - fibers_.data()) / 32 == slow_ / 32) != late) continue;
      f.state = State::kReady;
      any = true;
    }
    return any;
  }

  std::vector<int> shuffled(int first, int count, int step) {
    std::vector<int> order;
    for (int i = first; i < first + count; i += step) order.push_back(i);
    std::shuffle(order.begin(), order.end(), random_);
    return order;
  }

  // Whether the slow thread sleeps: now and then it does for long.
  bool sleeps(int t) {
    if (t != slow_) return false;
    if (asleep_ == 0 && chance(32)) asleep_ = 64;
    return asleep_ > 0 && asleep_-- > 0;
  }

  // Each warp, block and cluster runs as far ahead of the others as the barriers allow; the slow thread stays behind.
  void run_warp(int warp) {
    do {
      for (const int t : shuffled(warp, 32, 1))
        if (fibers_[t].state == State::kReady && !sleeps(t)) resume(t);
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
    } while (arrive() | release_waiters(false) | any_ready() || release(0, count, State::kAtCluster) ||
             release_waiters(true));
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
  bool sound_ = true;  // no thread arrived where none was missing, nothing where a block had ended
  jmp_buf scheduler_;
  std::mt19937 random_;
  int slow_, asleep_ = 0;
  std::map<const void*, Phase> phases_;
  std::vector<Sent> sent_;
  std::vector<Fiber> fibers_;
  std::vector<char> memory_;
  inline static std::unique_ptr<char[]> stacks_;  // kept between runs, because first use of memory costs time
  std::vector<Shown> shown_[2];
};

}  // namespace emulation
