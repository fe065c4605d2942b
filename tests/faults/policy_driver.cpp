// Loads each of the policy files that stdin names and acts once: for files that are broken.
// Prints how many were refused, how many acted, how many would not act, and how many acted in numbers not finite.
#include <cmath>
#include <cstdio>
#include <exception>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "gtp_policy.hpp"

namespace {

std::unique_ptr<gtp::Policy> loaded(const std::string& path) {
  try {
    return std::make_unique<gtp::Policy>(path);
  } catch (const std::runtime_error&) {
    return nullptr;
  }
}

}  // namespace

int main() {
  long refused = 0, acted = 0, stopped = 0, infinite = 0;
  for (std::string path; std::getline(std::cin, path);) {
    const std::unique_ptr<gtp::Policy> policy = loaded(path);
    if (!policy) {
      ++refused;
      continue;
    }
    const std::vector<float> observation(static_cast<std::size_t>(policy->observation_size()), 0.5f);
    std::vector<float> action(static_cast<std::size_t>(policy->action_size()));
    try {
      policy->act(observation.data(), action.data(), 1, 0, 0, 1);
      ++acted;
      for (const float x : action) infinite += !std::isfinite(x);
    } catch (const std::runtime_error&) {
      ++stopped;
    }
  }
  std::printf("%ld %ld %ld %ld\n", refused, acted, stopped, infinite);
  return 0;
}
