#include "cpu/team.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

namespace gtp {
namespace {

// Most waits are shorter. A thread that waits longer sleeps and frees its core; waking it takes half as long again.
constexpr std::chrono::microseconds kPatience{100};

void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A number that one thread changes and others wait for.
class Gate {
 public:
  // Sequentially consistent: either this sees the sleeper, or the sleeper sees the change before it sleeps.
  void add(int difference) {
    value_.fetch_add(difference);
    if (sleepers_.load() > 0) {
      const std::lock_guard<std::mutex> lock(mutex_);
      changed_.notify_all();
    }
  }

  void wait_for(int wanted) {
    const auto there = [this, wanted] { return value_.load() == wanted; };
    const auto end = std::chrono::steady_clock::now() + kPatience;
    do {
      for (int i = 0; i < 16; ++i) {
        if (there()) return;
        pause();
      }
    } while (std::chrono::steady_clock::now() < end);
    std::unique_lock<std::mutex> lock(mutex_);
    ++sleepers_;
    changed_.wait(lock, there);
    --sleepers_;
  }

 private:
  std::atomic<int> value_{0}, sleepers_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
};

// The first exception of several threads.
class Failure {
 public:
  void keep() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!first_) first_ = std::current_exception();
  }
  // After all threads are done.
  void rethrow() const {
    if (first_) std::rethrow_exception(first_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr first_;
};

// At most `count` threads that run `work`(1), `work`(2), ...: fewer where the system starts no more.
template <class Work>
std::vector<std::thread> start(int count, const Work& work) {
  std::vector<std::thread> threads;
  threads.reserve(count);
  try {
    for (int w = 1; w <= count; ++w) threads.emplace_back(work, w);
  } catch (const std::system_error&) {
  } catch (const std::bad_alloc&) {
  }
  return threads;
}

struct Crew {
  const int others;  // that were asked for
  Gate calls, done;
  int made = 0;                                    // calls so far
  int workers = 0;                                 // in the last call
  const std::function<void(int)>* work = nullptr;  // null: the crew is dismissed
  std::vector<std::thread> threads;

  explicit Crew(int asked) : others(asked), threads(start(asked, [this](int w) { stand_by(w); })) {}

  void call(int count, const std::function<void(int)>* what) {
    workers = count;
    work = what;
    calls.add(1);
    ++made;
  }

  void stand_by(int w) {
    for (int next = 1;; ++next) {
      calls.wait_for(next);
      if (work == nullptr) return;
      if (w < workers) (*work)(w);
      done.add(1);
    }
  }
};

thread_local std::unique_ptr<Crew> crew;

}  // namespace

int at_most_cores(int threads) {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t own;
  if (sched_getaffinity(0, sizeof own, &own) == 0) cores = CPU_COUNT(&own);
#endif
  return cores > 0 ? std::min(threads, cores) : threads;
}

Team::Team(int threads) {
  if (threads < 2 || crew) return;
  crew = std::make_unique<Crew>(threads - 1);
  mine_ = true;
}

Team::~Team() {
  if (!mine_) return;
  crew->call(0, nullptr);
  for (std::thread& thread : crew->threads) thread.join();
  crew.reset();
}

void run_workers(int workers, const std::function<void(int)>& work) {
  Failure failure;
  const std::function<void(int)> safe = [&work, &failure](int w) {
    try {
      work(w);
    } catch (...) {
      failure.keep();
    }
  };
  // The caller's own part, and those for which no thread could be started.
  const auto run_rest = [workers, &safe](size_t threads) {
    safe(0);
    for (int w = static_cast<int>(threads) + 1; w < workers; ++w) safe(w);
  };
  if (crew && workers <= crew->others + 1) {
    crew->call(workers, &safe);
    run_rest(crew->threads.size());
    crew->done.wait_for(crew->made * static_cast<int>(crew->threads.size()));
  } else {
    std::vector<std::thread> others = start(workers - 1, safe);
    run_rest(others.size());
    for (std::thread& other : others) other.join();
  }
  failure.rethrow();
}

}  // namespace gtp
