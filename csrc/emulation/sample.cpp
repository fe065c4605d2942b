// The CPU sampler as a program, for instruction sets that this machine can only emulate: reads sizes, initial scale,
// policy, observation and noise from standard input, writes the actions.
#include <cstdio>
#include <cstring>
#include <vector>

#include "cpu/sampler.hpp"

static std::vector<float> floats(size_t count) {
  std::vector<float> values(count);
  if (std::fread(values.data(), sizeof(float), count, stdin) != count) values.clear();
  return values;
}

// Prints the name of the instruction set on stderr.
int main() {
  int n[12];  // the sizes of Shape, then activation, clamp, stochastic, squash, precision, rows
  if (std::fread(n, sizeof(int), 12, stdin) != 12) return 1;
  const gtp::Form form{static_cast<gtp::Activation>(n[6]), n[7] != 0, n[8] != 0, n[9] != 0};
  const gtp::Shape shape{n[0], n[1], n[2], n[3], n[4], n[5], form};
  gtp::Sampler sampler(shape, static_cast<gtp::Precision>(n[10]));
  const size_t rows = static_cast<size_t>(shape.seeds) * n[11];
  const std::vector<float> scale = floats(1), flat = floats(sampler.flat().total);
  const std::vector<float> observation = floats(rows * shape.observation);
  const std::vector<float> noise = floats(rows * gtp::draws_of(shape) * shape.action);
  std::vector<float> out(rows * shape.action);
  if (scale.empty() || flat.empty() || observation.empty() || noise.empty()) return 1;
  sampler.load(flat.data(), scale[0]);
  sampler.sample(observation.data(), noise.data(), out.data(), n[11], 2);
  std::fputs(sampler.isa(), stderr);
  return std::fwrite(out.data(), sizeof(float), out.size(), stdout) == out.size() ? 0 : 1;
}
