// All kernels of the CUDA sampler, and what it takes to launch one: shared by the device and its emulation.
#pragma once

#include <algorithm>

#include "sampler_cuda.hpp"
#include "sampler_cuda_latency.cuh"
#include "sampler_cuda_throughput.cuh"

namespace gtp {

using CudaKernel = void (*)(CudaArguments);

inline CudaKernel kernel_of(const CudaPlan& plan) {
  if (plan.latency) {
    if (plan.rows_per_block == 4) return latency_kernel<4>;
    return plan.rows_per_block == 2 ? latency_kernel<2> : latency_kernel<1>;
  }
  switch (plan.rows_per_block) {
    case 64: return throughput_kernel<8>;
    case 32: return throughput_kernel<4>;
    case 16: return throughput_kernel<2>;
    default: return throughput_kernel<1>;
  }
}

inline int threads_of(const CudaPlan& plan) { return plan.latency ? kLatencyThreads : kThroughputThreads; }

inline size_t shared_floats(const CudaArguments& p, const CudaPlan& plan) {
  return plan.latency ? latency_floats(plan.rows_per_block, p.wide, p.width, p.action)
                      : throughput_floats(plan.rows_per_block, p.wide, p.width, p.action);
}

// The arguments that do not change from call to call.
inline CudaArguments cuda_arguments(const Shape& shape, const float* policy, float initial_scale) {
  const auto round_up = [](int n) { return (n + 3) / 4 * 4; };
  const int width = round_up(shape.width), action = round_up(shape.action);
  const int wide = std::max({width, action, round_up(shape.observation)});
  return {shape, FlatLayout(shape, width, action), width, action, wide, policy, initial_scale, nullptr, nullptr,
          nullptr, 0};
}

}  // namespace gtp
