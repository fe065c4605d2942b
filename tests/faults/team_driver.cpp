// The thread team as the kernels use it: from several threads, nested, with and without a team around; where work
// throws, and where the system starts no more threads.
#include <pthread.h>

#include <cstdio>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "cpu/team.hpp"

namespace {

long work(int rounds) {
  std::vector<long> sums(64, 0);
  const gtp::Team outer(4);
  for (int round = 0; round < rounds; ++round) {
    const gtp::Team inner(3);
    gtp::parallel_for(4, 64, [&](int i, int) { sums[static_cast<std::size_t>(i)] += i; });
  }
  long all = 0;
  for (const long sum : sums) all += sum;
  return all;
}

// Calls each of eight parts; `during` runs in every one.
template <class During>
long eight(During&& during) {
  std::vector<long> each(8, 0);
  const auto sum = [&each] {
    long all = 0;
    for (const long one : each) all += one;
    return all;
  };
  try {
    gtp::run_workers(8, [&](int w) {
      during(w);
      each[static_cast<std::size_t>(w)] = w;
    });
  } catch (const std::runtime_error& error) {
    return std::string(error.what()) == "thrown" ? -sum() : 0;
  }
  return sum();
}

void nothing(int) {}

// The parts that do not throw are done, and the caller gets the exception.
bool throws() {
  const auto last = [](int w) {
    if (w == 7) throw std::runtime_error("thrown");
  };
  const auto all = [](int) { throw std::runtime_error("thrown"); };
  const auto caller = [](int w) {
    if (w == 0) throw std::runtime_error("thrown");
  };
  return eight(last) == -21 && eight(all) == 0 && eight(caller) == -28 && eight(nothing) == 28;
}

// From now on no thread starts: there is no room for its stack.
void forbid_threads() {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, std::size_t{1} << 47);
  if (pthread_setattr_default_np(&attributes) != 0) std::printf("the stack's size was refused\n");
  pthread_attr_destroy(&attributes);
}

bool without_threads() {
  // The first part forbids the others, of which some may have started.
  bool right = eight([](int w) { if (w == 1) forbid_threads(); }) == 28;
  forbid_threads();
  bool started = true;
  try {
    std::thread(nothing, 0).join();
  } catch (const std::system_error&) {
    started = false;
  }
  right = right && !started && eight(nothing) == 28 && throws() && work(20) == 20L * 2016;
  const gtp::Team team(8);
  return right && eight(nothing) == 28 && throws();
}

}  // namespace

int main() {
  std::vector<std::thread> callers;
  std::vector<long> found(3, 0);
  for (std::size_t c = 0; c < found.size(); ++c) callers.emplace_back([&found, c] { found[c] = work(2000); });
  for (std::thread& caller : callers) caller.join();
  bool right = eight(nothing) == 28 && throws();
  for (const long one : found) right = right && one == 2000L * 2016;
  {
    const gtp::Team team(8);
    right = right && eight(nothing) == 28 && throws();
  }
  right = right && without_threads();
  std::printf("%s\n", right ? "right" : "WRONG");
  return right ? 0 : 1;
}
