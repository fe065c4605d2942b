// Runs a policy file on the observations of another file, for the tests: driver POLICY INPUT OUTPUT.
// INPUT: rows, step (uint32), seed (uint64), observations [rows, O], noise [draws, rows, A].
// OUTPUT: actions by counter [rows, A], then by the noise given [rows, A].
#include <cstdio>
#include <exception>
#include <fstream>
#include <vector>

#include "gtp_policy.hpp"

namespace {

template <class T>
std::vector<T> take(std::ifstream& file, std::size_t count) {
  std::vector<T> values(count);
  file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(T)));
  return values;
}

}  // namespace

int main(int, char** argv) {
  try {
    const gtp::Policy loaded(argv[1]);
    gtp::Policy policy = loaded;  // a copy shares the weights and has its own memory to work in
    std::ifstream input(argv[2], std::ios::binary);
    const std::vector<std::uint32_t> head = take<std::uint32_t>(input, 2);
    const std::uint64_t seed = take<std::uint64_t>(input, 1)[0];
    const std::size_t rows = head[0], O = static_cast<std::size_t>(policy.observation_size());
    const std::size_t A = static_cast<std::size_t>(policy.action_size());
    const std::size_t draws = static_cast<std::size_t>(policy.noise_size()) / A;
    const std::vector<float> observation = take<float>(input, rows * O), noise = take<float>(input, draws * rows * A);
    std::vector<float> actions(2 * rows * A), own(draws * A);
    for (std::uint32_t r = 0; r < rows; ++r) {
      policy.act(&observation[r * O], &actions[r * A], seed, head[1], r, head[0]);
      for (std::size_t k = 0; k < draws; ++k)
        for (std::size_t j = 0; j < A; ++j) own[k * A + j] = noise[(k * rows + r) * A + j];
      policy.act_with_noise(&observation[r * O], own.data(), &actions[(rows + r) * A]);
    }
    std::ofstream output(argv[3], std::ios::binary);
    output.write(reinterpret_cast<const char*>(actions.data()),
                 static_cast<std::streamsize>(actions.size() * sizeof(float)));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
