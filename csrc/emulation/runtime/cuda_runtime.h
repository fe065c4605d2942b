// The part of CUDA's runtime that cuda/*.cu call, on the host: one card, on which a launch runs at once. It refuses
// what a card refuses: a kernel that is null, shared memory beyond what was asked for, half a cluster.
#pragma once

#include <cstdlib>
#include <cstring>
#include <map>

#include "cuda/critics.cuh"
#include "cuda/kernels.cuh"

namespace emulation {

struct Card {
  int multiprocessors, shared_limit, capability;
};
inline Card card{};

// Shared memory of a block that each kernel has asked for.
inline std::map<const void*, size_t> shared_of;

constexpr size_t kSharedByDefault = 48 << 10;

}  // namespace emulation

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorInvalidDeviceFunction = 98,
                   cudaErrorNoKernelImageForDevice = 209, cudaErrorLaunchFailure = 719 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                      cudaDevAttrClusterLaunch };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension };
enum cudaMemcpyKind { cudaMemcpyDefault };
enum cudaStreamCaptureMode { cudaStreamCaptureModeRelaxed };
using cudaStream_t = void*;
constexpr cudaStream_t cudaStreamLegacy = nullptr;

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct cudaFuncAttributes {
  int binaryVersion, ptxVersion;
};
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  struct {
    struct {
      unsigned x, y, z;
    } clusterDim;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

inline const char* cudaGetErrorString(cudaError_t status) {
  switch (status) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorInvalidDeviceFunction: return "invalid device function";
    case cudaErrorNoKernelImageForDevice: return "no kernel image is available for execution on the device";
    case cudaErrorLaunchFailure: break;
  }
  return "unspecified launch failure";
}

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr name, int) {
  const emulation::Card& card = emulation::card;
  *value = name == cudaDevAttrMultiProcessorCount            ? card.multiprocessors
           : name == cudaDevAttrMaxSharedMemoryPerBlockOptin ? card.shared_limit
                                                             : card.capability >= 90;
  return cudaSuccess;
}

inline cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  return cudaSuccess;
}
inline cudaError_t cudaFree(void* memory) {
  std::free(memory);
  return cudaSuccess;
}
inline cudaError_t cudaMemset(void* memory, int value, size_t bytes) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                                     size_t height, cudaMemcpyKind, cudaStream_t) {
  if (width > to_pitch || width > from_pitch) return cudaErrorInvalidValue;
  for (size_t i = 0; i < height; ++i)
    std::memcpy(static_cast<char*>(to) + i * to_pitch, static_cast<const char*>(from) + i * from_pitch, width);
  return cudaSuccess;
}

inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* code, const void* kernel) {
  if (kernel == nullptr) return cudaErrorInvalidDeviceFunction;
  // Kernels of clusters alone are compiled from 9.0 on (cuda.cmake).
  if (kernel == reinterpret_cast<const void*>(gtp::critics_kernel) && emulation::card.capability < 90)
    return cudaErrorNoKernelImageForDevice;
  *code = {emulation::card.capability, emulation::card.capability};
  return cudaSuccess;
}
inline cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int bytes) {
  if (kernel == nullptr) return cudaErrorInvalidDeviceFunction;
  if (bytes > emulation::card.shared_limit) return cudaErrorInvalidValue;
  emulation::shared_of[kernel] = bytes;
  return cudaSuccess;
}

// Runs a grid of clusters of `blocks` blocks.
template <class Kernel>
cudaError_t run_grid(const void* kernel, const dim3& grid, const dim3& threads, int blocks, size_t bytes,
                     Kernel&& body) {
  const size_t asked = std::max(emulation::kSharedByDefault, emulation::shared_of[kernel]);
  if (kernel == nullptr) return cudaErrorInvalidDeviceFunction;
  if (bytes > asked || grid.x % blocks != 0) return cudaErrorInvalidValue;
  gridDim = {grid.x, grid.y, grid.z};
  blockDim = {threads.x, 1, 1};
  for (unsigned y = 0; y < grid.y; ++y)
    for (unsigned x = 0; x < grid.x; x += blocks)
      if (!emulation::Cluster::run({x, y, 0}, blocks, threads.x, bytes, body)) return cudaErrorLaunchFailure;
  return cudaSuccess;
}

inline cudaError_t cudaLaunchKernel(const void* kernel, dim3 grid, dim3 threads, void** values, size_t bytes,
                                    cudaStream_t) {
  const auto pack = reinterpret_cast<gtp::PackKernel>(const_cast<void*>(kernel));
  return run_grid(kernel, grid, threads, 1, bytes, [&] {
    pack(*static_cast<gtp::CudaArguments*>(values[0]), *static_cast<uint4**>(values[1]));
  });
}
inline cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* how, const void* kernel, void** values) {
  const int blocks = how->numAttrs == 0 ? 1 : how->attrs->val.clusterDim.x;
  const auto run = [&](auto body) {
    return run_grid(kernel, how->gridDim, how->blockDim, blocks, how->dynamicSmemBytes, body);
  };
  if (kernel == reinterpret_cast<const void*>(gtp::critics_kernel))
    return run([&] { gtp::critics_kernel(*static_cast<gtp::CriticsArguments*>(values[0])); });
  const auto sample = reinterpret_cast<gtp::CudaKernel>(const_cast<void*>(kernel));
  return run([&] { sample(*static_cast<gtp::CudaArguments*>(values[0])); });
}
inline cudaError_t cudaOccupancyMaxActiveClusters(int* count, const void* kernel, const cudaLaunchConfig_t* how) {
  if (kernel == nullptr) return cudaErrorInvalidDeviceFunction;
  *count = emulation::card.multiprocessors / how->attrs->val.clusterDim.x;
  return cudaSuccess;
}
