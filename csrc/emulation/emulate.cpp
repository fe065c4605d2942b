// The CUDA sampler's kernels on the host, for the tests of machines without a GPU: the very source that nvcc compiles,
// with shared memory full of NaN before each block and a guard behind it.
#include "cuda_runtime_shim.hpp"

namespace gtp {
constexpr size_t kSharedFloats = 1 << 18;
alignas(16) float shared[kSharedFloats];
}  // namespace gtp

#include "../sampler_cuda_kernels.cuh"

static constexpr size_t kGuard = 64;

// sizes: those of Shape, then the form's activation, clamp and stochastic. `policy` is padded as CudaSampler::load
// leaves it. Returns 0, 1 when a block's threads part at a barrier, 2 when a
// block writes behind the shared memory that it asked for.
extern "C" int gtp_emulate(int latency, int rows_per_block, const int* sizes, const float* policy,
                           float initial_scale, const float* observation, const float* noise, float* out, int rows) {
  const gtp::CudaPlan plan{latency != 0, rows_per_block};
  gtp::CudaArguments arguments =
      gtp::cuda_arguments({sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5],
                           {static_cast<gtp::Activation>(sizes[6]), sizes[7] != 0, sizes[8] != 0}},
                          policy, initial_scale);
  arguments.observation = observation;
  arguments.noise = noise;
  arguments.out = out;
  arguments.rows = rows;
  const size_t floats = gtp::shared_floats(arguments, plan);
  if (floats + kGuard > gtp::kSharedFloats) return 2;
  blockDim = {static_cast<unsigned>(gtp::threads_of(plan)), 1, 1};
  for (int seed = 0; seed < sizes[0]; ++seed)
    for (int block = 0; block < (rows + rows_per_block - 1) / rows_per_block; ++block) {
      blockIdx = {static_cast<unsigned>(block), static_cast<unsigned>(seed), 0};
      std::fill_n(gtp::shared, floats + kGuard, NAN);
      if (!emulation::Block::run(static_cast<int>(blockDim.x), [&] { gtp::kernel_of(plan)(arguments); })) return 1;
      if (!std::all_of(gtp::shared + floats, gtp::shared + floats + kGuard, [](float x) { return std::isnan(x); }))
        return 2;
    }
  return 0;
}
