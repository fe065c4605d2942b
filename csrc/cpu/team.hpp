// The threads of a call.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

namespace gtp {

// Threads that stand by for as long as this lives, so that the many short loops of a call need not start their own.
// None outlives its call: between two a process may fork. Where the calling thread has a team already this adds nothing.
class Team {
 public:
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

 private:
  bool mine_ = false;
};

// So many threads, but no more than the processor's cores that this process may use.
int no_more_than_cores(int threads);

// Call work(w) for w = 0..workers-1, each on a thread of the team if there is one, else on threads of their own.
void together(int workers, const std::function<void(int)>& work);

// Work 0..count-1 on `threads` threads, each a range in order; what a piece computes must not depend on the others.
template <class Work>
void spread(int threads, int count, Work&& work) {
  const int workers = std::max(1, std::min(threads, count));
  const auto range = [&work, count, workers](int w) {
    const int64_t all = count;
    for (int i = static_cast<int>(all * w / workers); i < static_cast<int>(all * (w + 1) / workers); ++i) work(i, w);
  };
  if (workers == 1) return range(0);
  together(workers, range);
}

}  // namespace gtp
