// The host side of the CUDA sampler: the policy's copy on the device, the choice of kernel, the launch.
#include <cuda_runtime.h>

#include <stdexcept>

#include "sampler_cuda_kernels.cuh"

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

}  // namespace

CudaSampler::CudaSampler(const Shape& shape)
    : shape_(checked(shape)), flat_(shape), arguments_(new CudaArguments(cuda_arguments(shape, nullptr, 0.0f))) {
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
  const size_t bytes = arguments_->layout.total * sizeof(float);
  check(cudaMalloc(&policy_, bytes), "allocate the policy");
  check(cudaMemset(policy_, 0, bytes), "clear the policy");
  arguments_->policy = policy_;
}

CudaSampler::~CudaSampler() {
  // Nothing can be done about a failure here, nor at the end of a process whose context is gone.
  cudaFree(policy_);
}

size_t CudaSampler::shared_bytes(const CudaPlan& plan) const {
  return shared_floats(*arguments_, plan) * sizeof(float);
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
  const FlatLayout& padded = arguments_->layout;
  if (padded.total == flat_.total) {
    check(cudaMemcpyAsync(policy_, flat, flat_.total * sizeof(float), cudaMemcpyDefault, on), "copy the policy");
  } else {
    // Everything up to the hidden biases has rows of H columns, and lies together.
    copy(0, 0, S * (A + O + K) + hidden * S * (H + 1), H, arguments_->width);
    copy(padded.last_weight, flat_.last_weight, S * (H + 1), A, arguments_->action);
    copy(padded.schedule, flat_.schedule, 1, kStepNumbers * K, kStepNumbers * K);
  }
  arguments_->initial_scale = initial_scale;
  loaded_ = true;
}

void CudaSampler::sample(const float* observation, const float* noise, float* out, int64_t rows,
                         void* stream) const {
  if (!loaded_) throw std::logic_error("the sampler has no weights yet: call load first");
  if (rows == 0) return;
  const DeviceGuard guard(device_);
  const CudaPlan chosen = plan(rows);
  CudaArguments arguments = *arguments_;
  arguments.observation = observation;
  arguments.noise = noise;
  arguments.out = out;
  arguments.rows = rows;
  const dim3 grid(static_cast<unsigned>((rows + chosen.rows_per_block - 1) / chosen.rows_per_block), shape_.seeds);
  void* values[] = {&arguments};
  check(cudaLaunchKernel(reinterpret_cast<const void*>(kernel_of(chosen)), grid, dim3(threads_of(chosen)), values,
                         shared_bytes(chosen), static_cast<cudaStream_t>(stream)),
        "launch the sampler");
}

}  // namespace gtp
