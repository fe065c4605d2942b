#include "cuda/plan.hpp"

#include <stdexcept>
#include <string>

namespace gtp {

Precision precision_of(const char* name) {
  for (const Precision precision : {Precision::kFp32, Precision::kTf32, Precision::kBf16})
    if (name == std::string(name_of(precision))) return precision;
  throw std::invalid_argument("precision must be fp32, tf32 or bf16, not " + std::string(name));
}

const char* name_of(Precision precision) {
  switch (precision) {
    case Precision::kFp32: return "fp32";
    case Precision::kTf32: return "tf32";
    case Precision::kBf16: break;
  }
  return "bf16";
}

const char* name_of(CudaPath path) {
  switch (path) {
    case CudaPath::kLatency: return "latency";
    case CudaPath::kThroughput: return "throughput";
    case CudaPath::kCluster: return "cluster";
    case CudaPath::kTensor: break;
  }
  return "tensor";
}

}  // namespace gtp
