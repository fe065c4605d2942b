// The host side of the critics' kernel.
#include "cuda/critics.cuh"
#include "cuda/host.hpp"

namespace gtp {
namespace {

const void* const kKernel = reinterpret_cast<const void*>(critics_kernel);

std::string words(const CriticsShape& s) {
  return std::to_string(s.depth) + " hidden layers of " + std::to_string(s.width) + " and " +
         std::to_string(inputs_of(s)) + " inputs";
}

[[noreturn]] void refuse(const std::string& reason) {
  throw std::invalid_argument("critics and their TD step in one cluster kernel need " + reason);
}

Launch launch_of(const CriticsShape& shape, int64_t rows, int seeds, void* stream) {
  const int64_t tiles = (rows + kCriticRows - 1) / kCriticRows;
  return Launch(dim3(static_cast<unsigned>(tiles * kClusterBlocks), static_cast<unsigned>(seeds)), kClusterThreads,
                kClusterBlocks, CriticsMemory(shape).bytes, stream);
}

}  // namespace

CudaCritics::CudaCritics(const CriticsShape& shape) : shape_(shape) {
  if (shape.observation < 0 || shape.action < 0 || inputs_of(shape) < 1 || shape.depth < 1 || shape.repeats < 1)
    refuse("at least one input, hidden layer and next action");
  if (shape.width < kCriticWidths || shape.width % kCriticWidths != 0)
    refuse("a width that is a multiple of " + std::to_string(kCriticWidths) + ", not " + std::to_string(shape.width));
  check(cudaGetDevice(&device_), "find a device");
  if (!has_clusters(kKernel, device_)) refuse("a GPU with clusters, of capability 9.0 or newer");
  const size_t bytes = CriticsMemory(shape).bytes, limit = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device_);
  if (bytes > limit)
    refuse(std::to_string((bytes + 1023) >> 10) + " kB of a block's shared memory for " + words(shape) +
           ", of which this GPU has " + std::to_string(limit >> 10));
  allow_shared_memory(kKernel, limit);
  clusters_ = clusters_at_once(kKernel, launch_of(shape, kCriticRows, 1, nullptr));
  if (clusters_ < 1) refuse("room for " + std::to_string(kClusterBlocks) + " blocks at once on this GPU");
}

void CudaCritics::run(CriticsArguments arguments, void* stream) const {
  // Weights are copied 16 bytes at a time.
  const auto aligned = [&](const TwinParameters& p) {
    return reinterpret_cast<uintptr_t>(p.copy) % 16 == 0 && arguments.copy_stride * sizeof(uint16_t) % 16 == 0;
  };
  if (!aligned(arguments.online) || !aligned(arguments.target)) refuse("copies of the weights in aligned rows");
  if (arguments.rows <= 0 || arguments.seeds <= 0) return;
  arguments.shape = shape_;
  const DeviceGuard guard(device_);
  const Launch launch = launch_of(shape_, arguments.rows, arguments.seeds, stream);
  void* values[] = {&arguments};
  check(cudaLaunchKernelExC(&launch.configuration, kKernel, values), "launch the critics");
}

}  // namespace gtp
