// What the host sides of the CUDA kernels share: errors, the current device, launches of clusters.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <stdexcept>
#include <string>

namespace gtp {

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  // Clears an error that is not sticky, so that the next call does not report it.
  cudaGetLastError();
  throw std::runtime_error(std::string("CUDA could not ") + what + ": " + cudaGetErrorString(status));
}

// Makes a device current during a call.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    check(cudaGetDevice(&before_), "name the current device");
    if (before_ != device) check(cudaSetDevice(device), "switch to the kernel's device");
    device_ = device;
  }
  ~DeviceGuard() {
    if (before_ != device_) cudaSetDevice(before_);
  }

 private:
  int before_ = 0, device_ = 0;
};

inline int attribute(cudaDeviceAttr name, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, name, device), "read the device");
  return value;
}

// A launch configuration of clusters of `blocks` blocks, with the attribute that it points to.
struct Launch {
  Launch(dim3 grid, int threads, int blocks, size_t bytes, void* stream) {
    configuration.gridDim = grid;
    configuration.blockDim = dim3(static_cast<unsigned>(threads));
    configuration.dynamicSmemBytes = bytes;
    configuration.stream = static_cast<cudaStream_t>(stream);
    if (blocks > 1) {
      cluster.id = cudaLaunchAttributeClusterDimension;
      cluster.val.clusterDim = {static_cast<unsigned>(blocks), 1, 1};
      configuration.attrs = &cluster;
      configuration.numAttrs = 1;
    }
  }
  Launch(const Launch&) = delete;

  cudaLaunchAttribute cluster{};
  cudaLaunchConfig_t configuration{};
};

// Lets blocks of a kernel have all the shared memory that the device offers, for all users of the kernel share this.
inline void allow_shared_memory(const void* kernel, size_t limit) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(limit)),
        "set up a kernel");
}

// Whether both the device and the code for it know clusters: before 9.0 their kernels are compiled empty or not at all,
// so the device is asked first.
inline bool has_clusters(const void* kernel, int device) {
  if (attribute(cudaDevAttrClusterLaunch, device) == 0) return false;
  cudaFuncAttributes code{};
  check(cudaFuncGetAttributes(&code, kernel), "read a kernel");
  return code.binaryVersion >= 90 && code.ptxVersion >= 90;
}

// The clusters of a launch that the device holds at once.
inline int clusters_at_once(const void* kernel, const Launch& launch) {
  int count = 0;
  check(cudaOccupancyMaxActiveClusters(&count, kernel, &launch.configuration), "count the clusters that it holds");
  return count;
}

}  // namespace gtp
