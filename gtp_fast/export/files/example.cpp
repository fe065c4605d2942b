// g++ -O3 -march=native -std=c++17 example.cpp -o example && ./example policy.gtp
#include <cstdint>
#include <cstdio>
#include <exception>
#include <vector>

#include "gtp_policy.hpp"

int main(int argc, char** argv) {
  try {
    gtp::Policy policy(argc > 1 ? argv[1] : "policy.gtp");
    std::vector<float> observation(policy.observation_size()), action(policy.action_size());
    const std::uint64_t seed = 7;
    // A control loop of three steps; yours reads its sensors where this one makes something up.
    for (std::uint32_t step = 0; step < 3; ++step) {
      for (std::size_t i = 0; i < observation.size(); ++i) observation[i] = 0.125f * static_cast<float>((i + step) % 7);
      policy.act(observation.data(), action.data(), seed, step);
      for (const float number : action) std::printf("%.9g ", number);  // nine digits keep every bit
      std::printf("\n");
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
