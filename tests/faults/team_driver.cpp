// The thread team as the kernels use it: from several threads, nested, with and without a team around.
#include <cstdio>
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

}  // namespace

int main() {
  long without = 0;
  std::vector<long> each(8, 0);
  gtp::run_workers(8, [&](int w) { each[static_cast<std::size_t>(w)] = w; });
  for (const long one : each) without += one;
  std::vector<std::thread> callers;
  std::vector<long> found(3, 0);
  for (std::size_t c = 0; c < found.size(); ++c) callers.emplace_back([&found, c] { found[c] = work(2000); });
  for (std::thread& caller : callers) caller.join();
  bool right = without == 28;
  for (const long one : found) right = right && one == 2000L * 2016;
  std::printf("%s\n", right ? "right" : "WRONG");
  return right ? 0 : 1;
}
