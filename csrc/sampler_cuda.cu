// The host side of the CUDA sampler: the policy's copy on the device, the choice of kernel, the launch.
#include "sampler_cuda.hpp"

#include <cuda_runtime.h>

#include <algorithm>
#include <stdexcept>

#include "sampler_cuda_latency.cuh"
#include "sampler_cuda_throughput.cuh"

namespace gtp {
namespace {

constexpr int64_t kLatencyRows = 16;

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  // Clears an error that does not stick, so that the next call does not report this one.
  cudaGetLastError();
  throw std::runtime_error(std::string("CUDA could not ") + what + ": " + cudaGetErrorString(status));
}

// Makes the sampler's device current for the time of a call.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    check(cudaGetDevice(&before_), "name the current device");
    if (before_ != device) check(cudaSetDevice(device), "switch to the sampler's device");
    device_ = device;
  }
  ~DeviceGuard() {
    if (before_ != device_) cudaSetDevice(before_);
  }

 private:
  int before_ = 0, device_ = 0;
};

using Kernel = void (*)(CudaArguments);

Kernel kernel_of(const CudaPlan& plan) {
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

int round_up(int n) { return (n + 3) / 4 * 4; }

int widest(const Shape& shape, int width, int action) {
  return std::max({width, action, round_up(shape.observation)});
}

}  // namespace

CudaSampler::CudaSampler(const Shape& shape)
    : shape_(checked(shape)),
      width_(round_up(shape.width)),
      action_(round_up(shape.action)),
      flat_(shape),
      padded_(shape, width_, action_) {
  int limit = 0;
  check(cudaGetDevice(&device_), "find a device");
  check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, device_), "read the device");
  check(cudaDeviceGetAttribute(&limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device_), "read the device");
  shared_limit_ = limit;
  if (shared_bytes({true, 1}) > shared_limit_)
    throw std::invalid_argument("a policy of width " + std::to_string(shape.width) + " and observation_dim " +
                                std::to_string(shape.observation) + " does not fit this GPU's shared memory");
  for (const CudaPlan plan : {CudaPlan{true, 1}, CudaPlan{true, 2}, CudaPlan{true, 4}, CudaPlan{false, 8},
                              CudaPlan{false, 16}, CudaPlan{false, 32}, CudaPlan{false, 64}})
    check(cudaFuncSetAttribute(kernel_of(plan), cudaFuncAttributeMaxDynamicSharedMemorySize, limit),
          "set up the sampler's kernels");
  check(cudaMalloc(&policy_, padded_.total * sizeof(float)), "allocate the policy");
  check(cudaMemset(policy_, 0, padded_.total * sizeof(float)), "clear the policy");
}

CudaSampler::~CudaSampler() { cudaFree(policy_); }

size_t CudaSampler::shared_bytes(const CudaPlan& plan) const {
  const int wide = widest(shape_, width_, action_);
  const size_t floats = plan.latency ? latency_floats(plan.rows_per_block, wide, width_, action_)
                                     : throughput_floats(plan.rows_per_block, wide, width_, action_);
  return floats * sizeof(float);
}

CudaPlan CudaSampler::plan(int64_t rows) const {
  const auto blocks = [&](int size) { return shape_.seeds * ((rows + size - 1) / size); };
  if (rows > kLatencyRows) {
    // The largest tile that still gives every multiprocessor a block: weights are read once for each tile.
    for (const int size : {64, 32, 16, 8})
      if (shared_bytes({false, size}) <= shared_limit_ && (size == 8 || blocks(size) >= multiprocessors_))
        return {false, size};
  }
  // The fewest rows a block that leave no block waiting for another.
  for (const int size : {1, 2})
    if (blocks(size) <= multiprocessors_) return {true, size};
  return {true, shared_bytes({true, 4}) <= shared_limit_ ? 4 : 1};
}

void CudaSampler::load(const float* flat, float initial_scale, void* stream) {
  const DeviceGuard guard(device_);
  const auto on = static_cast<cudaStream_t>(stream);
  const auto copy = [&](size_t to, size_t from, size_t rows, size_t columns, size_t padded) {
    if (rows == 0) return;
    check(cudaMemcpy2DAsync(policy_ + to, padded * sizeof(float), flat + from, columns * sizeof(float),
                            columns * sizeof(float), rows, cudaMemcpyDefault, on),
          "copy the policy");
  };
  const size_t S = shape_.seeds, O = shape_.observation, A = shape_.action, H = shape_.width;
  const size_t K = shape_.steps, hidden = shape_.layers - 1;
  if (padded_.total == flat_.total) {
    check(cudaMemcpyAsync(policy_, flat, flat_.total * sizeof(float), cudaMemcpyDefault, on), "copy the policy");
  } else {
    // Everything up to the hidden biases has rows of H columns, and lies together.
    copy(0, 0, S * (A + O + K) + hidden * S * (H + 1), H, width_);
    copy(padded_.last_weight, flat_.last_weight, S * (H + 1), A, action_);
    copy(padded_.input_scale, flat_.input_scale, 1, 3 * K, 3 * K);
  }
  initial_scale_ = initial_scale;
  loaded_ = true;
}

void CudaSampler::sample(const float* observation, const float* noise, float* out, int64_t rows,
                         void* stream) const {
  if (!loaded_) throw std::logic_error("the sampler has no weights yet: call load first");
  if (rows == 0) return;
  const DeviceGuard guard(device_);
  const CudaPlan chosen = plan(rows);
  CudaArguments arguments{shape_,  padded_,        width_,      action_, widest(shape_, width_, action_),
                          policy_, initial_scale_, observation, noise,   out,
                          rows};
  const dim3 grid(static_cast<unsigned>((rows + chosen.rows_per_block - 1) / chosen.rows_per_block), shape_.seeds);
  const int threads = chosen.latency ? kLatencyThreads : kThroughputThreads;
  void* values[] = {&arguments};
  check(cudaLaunchKernel(reinterpret_cast<const void*>(kernel_of(chosen)), grid, dim3(threads), values,
                         shared_bytes(chosen), static_cast<cudaStream_t>(stream)),
        "launch the sampler");
}

}  // namespace gtp
