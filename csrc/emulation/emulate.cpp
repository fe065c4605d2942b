// The CUDA sampler's kernels on the host, for the tests of machines without a GPU: the very source that nvcc compiles,
// with shared memory full of NaN before each block and a guard behind it.
#include "cuda_runtime_shim.hpp"

namespace gtp {
constexpr size_t kSharedFloats = 1 << 18;
alignas(16) float shared[kSharedFloats];
}  // namespace gtp

#include "../sampler_cuda_latency.cuh"
#include "../sampler_cuda_throughput.cuh"

namespace {

constexpr size_t kGuard = 64;

using Kernel = void (*)(gtp::CudaArguments);

Kernel kernel_of(bool latency, int rows_per_block) {
  if (latency) {
    if (rows_per_block == 4) return gtp::latency_kernel<4>;
    return rows_per_block == 2 ? gtp::latency_kernel<2> : gtp::latency_kernel<1>;
  }
  switch (rows_per_block) {
    case 64: return gtp::throughput_kernel<8>;
    case 32: return gtp::throughput_kernel<4>;
    case 16: return gtp::throughput_kernel<2>;
    default: return gtp::throughput_kernel<1>;
  }
}

int round_up(int n) { return (n + 3) / 4 * 4; }

}  // namespace

// `policy` is padded as CudaSampler::load leaves it. Returns 0, 1 when a block's threads part at a barrier, 2 when a
// block writes behind the shared memory that it asked for.
extern "C" int gtp_emulate(int latency, int rows_per_block, const int* sizes, const float* policy,
                           float initial_scale, const float* observation, const float* noise, float* out, int rows) {
  const gtp::Shape shape{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]};
  const int width = round_up(shape.width), action = round_up(shape.action);
  const int wide = std::max({width, action, round_up(shape.observation)});
  const size_t floats = latency ? gtp::latency_floats(rows_per_block, wide, width, action)
                                : gtp::throughput_floats(rows_per_block, wide, width, action);
  if (floats + kGuard > gtp::kSharedFloats) return 2;
  const gtp::CudaArguments arguments{shape,  gtp::FlatLayout(shape, width, action), width,       action, wide,
                                     policy, initial_scale,                         observation, noise,  out,
                                     rows};
  const Kernel kernel = kernel_of(latency != 0, rows_per_block);
  blockDim = {static_cast<unsigned>(latency ? gtp::kLatencyThreads : gtp::kThroughputThreads), 1, 1};
  for (int seed = 0; seed < shape.seeds; ++seed)
    for (int block = 0; block < (rows + rows_per_block - 1) / rows_per_block; ++block) {
      blockIdx = {static_cast<unsigned>(block), static_cast<unsigned>(seed), 0};
      std::fill_n(gtp::shared, floats + kGuard, NAN);
      if (!emulation::Block::run(static_cast<int>(blockDim.x), [&] { kernel(arguments); })) return 1;
      if (!std::all_of(gtp::shared + floats, gtp::shared + floats + kGuard, [](float x) { return std::isnan(x); }))
        return 2;
    }
  return 0;
}
