// Loads each of the policy files that stdin names and acts once: for files that are broken.
// Prints how many were refused, how many acted, and how many of those with numbers that are not finite.
#include <cmath>
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "gtp_policy.hpp"

int main() {
  long refused = 0, acted = 0, infinite = 0;
  for (std::string path; std::getline(std::cin, path);) {
    try {
      gtp::Policy policy(path);
      const std::vector<float> observation(static_cast<std::size_t>(policy.observation_size()), 0.5f);
      std::vector<float> action(static_cast<std::size_t>(policy.action_size()));
      policy.act(observation.data(), action.data(), 1, 0, 0, 1);
      ++acted;
      for (const float x : action) infinite += !std::isfinite(x);
    } catch (const std::exception&) {
      ++refused;
    }
  }
  std::printf("%ld %ld %ld\n", refused, acted, infinite);
  return 0;
}
