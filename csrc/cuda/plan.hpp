// The plans of the CUDA sampler: which kernel serves a batch.
#pragma once

#include <cstddef>

#include "policy.hpp"

namespace gtp {

// Latency: a block streams all weights for a few rows. Throughput: the same for many rows. Cluster: eight blocks hold
// all weights between them. Counted: the same in bf16, whose blocks count results instead of meeting at a barrier.
// Tensor: a block streams weights for a tile of rows on the tensor cores. Columns: as throughput, but each weight goes
// to one thread only. Pair: the same by two blocks, each half of the columns.
enum class CudaPath { kLatency, kThroughput, kCluster, kTensor, kColumns, kPair, kCounted };

const char* name_of(CudaPath path);

struct CudaPlan {
  CudaPath path;
  int rows;  // in one block, cluster or pair
};

// The properties of a device, and of a policy's kernels on it, that the choice depends on.
struct CudaDevice {
  int multiprocessors;
  size_t shared_limit;  // bytes of shared memory that a block can have
  int clusters[5];      // clusters or pairs resident at once, for each plan that has them; 0: none
};

// Plans of one kind, smaller tiles first.
struct CudaPlans {
  CudaPlan all[10];
  int count;
};

}  // namespace gtp
