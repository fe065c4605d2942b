// The choice of instruction sets for a processor with the given features, to test it on any other. Prints for each
// GTP_FAST_ISA that runs there, and for none (-), the choice for the sampler in fp32, bf16 and int8, for training, and
// for bf16 products in training.
#include <cstdio>
#include <cstring>

#include "cpu/dispatch.hpp"

static void print(const char* name, unsigned features) {
  const gtp::Choice c = gtp::choose(features);
  const char* const layers[] = {"none", "avx512", "amx"};
  std::printf("%s: %s %s %s %s %s\n", name, set_of(c.fp32).name, set_of(c.bf16).name, set_of(c.int8).name,
              set_of(c.training).name, layers[static_cast<int>(c.bf16_layers)]);
}

int main(int count, char** arguments) {
  const char* const names[] = {"neon", "avx2", "avx512", "vnni", "bf16", "amx"};  // the order of Feature
  unsigned features = 0;
  for (int i = 1; i < count; ++i)
    for (int bit = 0; bit < 6; ++bit)
      if (std::strcmp(arguments[i], names[bit]) == 0) features |= 1u << bit;
  print("-", features);
  for (const gtp::InstructionSet& set : gtp::kInstructionSets)
    if (runs(set, features)) print(set.name, features & set.allows);
}
