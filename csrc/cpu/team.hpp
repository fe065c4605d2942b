// The threads of a call.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

namespace gtp {

// Threads that wait for work while this lives, so that the many short loops of a call start none.
// They end with the call, so that forking between calls is safe. Nested teams reuse the outer one.
class Team {
 public:
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

 private:
  bool mine_ = false;
};

// `threads`, limited to the cores that this process may use.
int at_most_cores(int threads);

// Calls work(w) for w = 0..workers-1, each on its own thread: of the team if there is one, else new ones. The caller
// runs those for which the system starts no thread. All are done before the first exception of any is thrown again.
void run_workers(int workers, const std::function<void(int)>& work);

// Calls work(i, worker) for i = 0..count-1 on `threads` threads, each a range in order; calls must be independent.
template <class Work>
void parallel_for(int threads, int count, Work&& work) {
  const int workers = std::max(1, std::min(threads, count));
  const auto range = [&work, count, workers](int w) {
    const int64_t all = count;
    for (int i = static_cast<int>(all * w / workers); i < static_cast<int>(all * (w + 1) / workers); ++i) work(i, w);
  };
  if (workers == 1) return range(0);
  run_workers(workers, range);
}

}  // namespace gtp
