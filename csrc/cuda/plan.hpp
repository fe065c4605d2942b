// Which kernel serves a batch.
#pragma once

#include <cstddef>

namespace gtp {

// What the matrix products read: all of fp32, or numbers rounded to tf32 or bf16. Sums are always fp32.
enum class Precision { kFp32, kTf32, kBf16 };

// "fp32", "tf32" or "bf16"; throws std::invalid_argument for another name.
Precision precision_of(const char* name);
const char* name_of(Precision precision);

// Latency: a block streams all weights for a few rows. Throughput: the same for many rows. Cluster: eight blocks hold
// all weights between them. Tensor: a block streams weights for a tile of rows on the tensor cores.
enum class CudaPath { kLatency, kThroughput, kCluster, kTensor };

const char* name_of(CudaPath path);

struct CudaPlan {
  CudaPath path;
  int rows;  // of one block or cluster
};

// What the choice depends on: of a device and a policy's kernels on it.
struct CudaDevice {
  int multiprocessors;
  size_t shared_limit;  // bytes of shared memory that a block can have
  int clusters[3];      // clusters resident at once, for each plan of the cluster kernel; 0: none
};

// Plans of one kind, smaller tiles first.
struct CudaPlans {
  CudaPlan all[8];
  int count;
};

}  // namespace gtp
