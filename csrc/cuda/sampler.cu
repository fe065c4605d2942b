// The host side of the CUDA sampler: the policy's copies on the device, and the launches.
#include "cuda/choice.hpp"
#include "cuda/host.hpp"
#include "cuda/sampler.hpp"

namespace gtp {
namespace {

// Device memory full of zeros.
std::unique_ptr<void, DeviceFree> allocate(size_t bytes) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes), "allocate the policy");
  std::unique_ptr<void, DeviceFree> owned(memory);
  check(cudaMemset(memory, 0, bytes), "clear the policy");
  return owned;
}

// The launch configuration of a plan.
Launch launch_of(const CudaArguments& p, const CudaPlan& plan, int64_t rows, void* stream) {
  const int64_t tiles = (rows + plan.rows - 1) / plan.rows;
  const dim3 grid(static_cast<unsigned>(tiles * blocks_of(plan)), p.shape.seeds);
  return Launch(grid, threads_of(plan), blocks_of(plan), shared_bytes_of(p, plan), stream);
}

}  // namespace

// A failure is ignored: nothing can be done, and at the end of a process the context may be gone. While another stream
// records a graph, this thread may free memory in relaxed mode alone; any other would spoil the recording.
void DeviceFree::operator()(void* memory) const {
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  cudaThreadExchangeStreamCaptureMode(&mode);
  cudaFree(memory);
  cudaThreadExchangeStreamCaptureMode(&mode);
}

std::string cuda_unavailable() {
  try {
    int device = 0;
    check(cudaGetDevice(&device), "find a device");
    cudaFuncAttributes code{};
    check(cudaFuncGetAttributes(&code, reinterpret_cast<const void*>(pack_kernel_of(Precision::kFp32))),
          "load the sampler's kernels");
    return "";
  } catch (const std::runtime_error& error) {
    return error.what();
  }
}

CudaSampler::CudaSampler(const Shape& shape, Precision precision)
    : shape_(checked(shape)), flat_(shape), asked_(precision) {
  if (precision != Precision::kFp32 && shape.width > kTensorWidth)
    throw std::invalid_argument(std::string("precision ") + name_of(precision) + " needs a width of at most " +
                                std::to_string(kTensorWidth) + " on a GPU, not " + std::to_string(shape.width) +
                                ": use precision fp32");
  check(cudaGetDevice(&device_), "find a device");
  limits_.multiprocessors = attribute(cudaDevAttrMultiProcessorCount, device_);
  limits_.shared_limit = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device_);
  precision = served(limits_, shape, precision);
  arguments_ = std::make_unique<CudaArguments>(cuda_arguments(shape, precision));
  const CudaPlans blocks = block_plans(precision), clusters = cluster_plans(precision);
  if (!fits(limits_, *arguments_, blocks.all[0]))
    throw std::invalid_argument("a policy of width " + std::to_string(shape.width) + ", observation_dim " +
                                std::to_string(shape.observation) + " and action_dim " + std::to_string(shape.action) +
                                " does not fit this GPU's shared memory: use the backend reference");
  for (int i = 0; i < blocks.count; ++i)
    if (fits(limits_, *arguments_, blocks.all[i])) prepare(blocks.all[i]);
  for (int i = 0; i < clusters.count; ++i) limits_.clusters[i] = resident_clusters(clusters.all[i]);

  policy_ = allocate(arguments_->layout.total * sizeof(float));
  arguments_->policy = static_cast<const float*>(policy_.get());
  if (precision != Precision::kFp32 || limits_.clusters[0] > 0)
    units_ = allocate(arguments_->units_layout.size * sizeof(uint4));
  // The zeros are written on the legacy stream, for which the streams of PyTorch do not wait.
  check(cudaStreamSynchronize(cudaStreamLegacy), "clear the policy");
}

// Out of line, for CudaArguments is incomplete in the header.
CudaSampler::~CudaSampler() = default;

void CudaSampler::prepare(const CudaPlan& plan) const {
  allow_shared_memory(reinterpret_cast<const void*>(kernel_of(*arguments_, plan)), limits_.shared_limit);
}

int CudaSampler::resident_clusters(const CudaPlan& plan) const {
  if (!fits(limits_, *arguments_, plan)) return 0;
  const void* kernel = reinterpret_cast<const void*>(kernel_of(*arguments_, plan));
  if (!has_clusters(kernel, device_)) return 0;
  prepare(plan);
  return clusters_at_once(kernel, launch_of(*arguments_, plan, plan.rows, nullptr));
}

CudaPlan CudaSampler::plan(int64_t rows) const { return choose(limits_, *arguments_, rows); }

std::vector<CudaPlan> CudaSampler::plans() const {
  std::vector<CudaPlan> all;
  const CudaPlans clusters = cluster_plans(arguments_->precision), blocks = block_plans(arguments_->precision);
  for (int i = 0; i < clusters.count; ++i)
    if (limits_.clusters[i] > 0) all.push_back(clusters.all[i]);
  for (int i = 0; i < blocks.count; ++i)
    if (fits(limits_, *arguments_, blocks.all[i])) all.push_back(blocks.all[i]);
  return all;
}

std::string CudaSampler::describe(int64_t rows) const {
  return gtp::describe(plan(rows), arguments_->precision, asked_);
}

void CudaSampler::load(const float* flat, float initial_scale, void* stream) {
  const DeviceGuard guard(device_);
  const auto on = static_cast<cudaStream_t>(stream);
  float* const policy = static_cast<float*>(policy_.get());
  const auto copy = [&](size_t to, size_t from, size_t rows, size_t columns, size_t padded) {
    if (rows == 0) return;
    check(cudaMemcpy2DAsync(policy + to, padded * sizeof(float), flat + from, columns * sizeof(float),
                            columns * sizeof(float), rows, cudaMemcpyDefault, on),
          "copy the policy");
  };
  const size_t S = shape_.seeds, O = shape_.observation, A = shape_.action, H = shape_.width;
  const size_t K = shape_.steps, hidden = shape_.layers - 1;
  const FlatLayout& padded = arguments_->layout;
  if (padded.total == flat_.total) {
    check(cudaMemcpyAsync(policy, flat, flat_.total * sizeof(float), cudaMemcpyDefault, on), "copy the policy");
  } else {
    // All fields up to the hidden biases have rows of H columns and are contiguous.
    copy(0, 0, S * (A + O + K) + hidden * S * (H + 1), H, arguments_->width);
    copy(padded.last_weight, flat_.last_weight, S * (H + 1), A, arguments_->action);
    copy(padded.schedule, flat_.schedule, 1, StepSchedule::kFields * K, StepSchedule::kFields * K);
  }
  arguments_->policy = policy;
  if (units_ != nullptr) pack(stream);
  arguments_->initial_scale = initial_scale;
  loaded_ = true;
}

void CudaSampler::take(const float* padded, float initial_scale, int64_t rows, void* stream, const void* units) {
  const DeviceGuard guard(device_);
  arguments_->policy = padded;
  if (units != nullptr)
    arguments_->units = static_cast<const uint4*>(units);
  else if (reads_units(plan(rows)))
    pack(stream);
  else
    arguments_->units = static_cast<const uint4*>(units_.get());  // units of an earlier call may be gone
  arguments_->initial_scale = initial_scale;
  loaded_ = true;
}

size_t CudaSampler::packed() const {
  return arguments_->precision == Precision::kFp32 ? 0 : arguments_->units_layout.size * sizeof(uint4);
}

void CudaSampler::pack(void* stream) {
  uint4* units = static_cast<uint4*>(units_.get());
  arguments_->units = units;
  void* values[] = {arguments_.get(), &units};
  const dim3 grid(static_cast<unsigned>(limits_.multiprocessors), shape_.seeds);
  check(cudaLaunchKernel(reinterpret_cast<const void*>(pack_kernel_of(arguments_->precision)), grid,
                         dim3(kPackThreads), values, 0, static_cast<cudaStream_t>(stream)),
        "pack the policy");
}

const FlatLayout& CudaSampler::padded() const { return arguments_->layout; }

std::pair<int, int> CudaSampler::padded_rows() const { return {arguments_->width, arguments_->action}; }

void CudaSampler::sample(const float* observation, const float* noise, float* out, int64_t rows,
                         void* stream, const CudaPlan& plan) const {
  if (!loaded_) throw std::logic_error("the sampler has no weights yet: call load first");
  if (rows == 0) return;
  const DeviceGuard guard(device_);
  CudaArguments arguments = *arguments_;
  arguments.observation = observation;
  arguments.noise = noise;
  arguments.out = out;
  arguments.rows = rows;
  const Launch launch = launch_of(arguments, plan, rows, stream);
  void* values[] = {&arguments};
  check(cudaLaunchKernelExC(&launch.configuration, reinterpret_cast<const void*>(kernel_of(arguments, plan)), values),
        "launch the sampler");
}

}  // namespace gtp
