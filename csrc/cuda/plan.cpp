#include "cuda/plan.hpp"

namespace gtp {

const char* name_of(CudaPath path) {
  switch (path) {
    case CudaPath::kLatency: return "latency";
    case CudaPath::kThroughput: return "throughput";
    case CudaPath::kCluster: return "cluster";
    case CudaPath::kColumns: return "columns";
    case CudaPath::kPair: return "pair";
    case CudaPath::kCounted: return "counted";
    case CudaPath::kTensor: break;
  }
  return "tensor";
}

}  // namespace gtp
