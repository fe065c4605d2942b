// All kernels of the CUDA sampler and their launch parameters; the device and its emulation share them.
#pragma once

#include <algorithm>

#include "cuda/cluster.cuh"
#include "cuda/columns.cuh"
#include "cuda/latency.cuh"
#include "cuda/pack.cuh"
#include "cuda/plan.hpp"
#include "cuda/tensor.cuh"
#include "cuda/throughput.cuh"

namespace gtp {

using CudaKernel = void (*)(CudaArguments);
using PackKernel = void (*)(CudaArguments, uint4*);

constexpr int kTensorWidth = 512;  // the sums of a wider layer do not fit a block's registers

// Tiles of eight columns for each warp of the tensor kernel.
inline int tiles_of(const CudaArguments& p) { return p.units_layout.width / (8 * kTensorWarps); }

template <class Format, int M>
CudaKernel tensor_kernel_of(int tiles) {
  if (tiles == 2) return tensor_kernel<Format, M, 2>;
  if (tiles == 4) return tensor_kernel<Format, M, 4>;
  if constexpr (M < 8) return tensor_kernel<Format, M, 8>;
  return nullptr;
}

template <class Format>
CudaKernel tensor_kernel_of(int rows, int tiles) {
  if (rows == 16) return tensor_kernel_of<Format, 1>(tiles);
  if (rows == 32) return tensor_kernel_of<Format, 2>(tiles);
  return rows == 64 ? tensor_kernel_of<Format, 4>(tiles) : tensor_kernel_of<Format, 8>(tiles);
}

// Null if the tile's sums do not fit the registers, or a layer's columns the threads.
inline CudaKernel kernel_of(const CudaArguments& p, const CudaPlan& plan) {
  const bool bf16 = p.precision == Precision::kBf16;
  switch (plan.path) {
    case CudaPath::kLatency:
      if (plan.rows == 4) return latency_kernel<4>;
      return plan.rows == 2 ? latency_kernel<2> : latency_kernel<1>;
    case CudaPath::kThroughput:
      if (plan.rows == 64) return throughput_kernel<8>;
      if (plan.rows == 32) return throughput_kernel<4>;
      return plan.rows == 16 ? throughput_kernel<2> : throughput_kernel<1>;
    case CudaPath::kColumns:
      if (p.width > columns_width(1)) return nullptr;
      if (plan.rows == 16) return columns_kernel<16, 1>;
      return plan.rows == 8 ? columns_kernel<8, 1> : columns_kernel<4, 1>;
    case CudaPath::kPair:
      // A block without columns would send nothing, and the other would not wait for it.
      if (p.width > columns_width(kPairBlocks) || p.width < 4 * kPairBlocks) return nullptr;
      return plan.rows == 16 ? columns_kernel<16, kPairBlocks> : columns_kernel<8, kPairBlocks>;
    case CudaPath::kCounted: return bf16 ? cluster_kernel<CountedExchange> : nullptr;
    case CudaPath::kCluster:
      if (bf16) return cluster_kernel<BarrierExchange<TensorProduct<Bf16>>>;
      if (p.precision == Precision::kTf32) return cluster_kernel<BarrierExchange<TensorProduct<Tf32>>>;
      if (plan.rows == 16) return cluster_kernel<BarrierExchange<Fp32Product<16>>>;
      return plan.rows == 4 ? cluster_kernel<BarrierExchange<Fp32Product<4>>>
                            : cluster_kernel<BarrierExchange<Fp32Product<1>>>;
    case CudaPath::kTensor: break;
  }
  return bf16 ? tensor_kernel_of<Bf16>(plan.rows, tiles_of(p)) : tensor_kernel_of<Tf32>(plan.rows, tiles_of(p));
}

inline PackKernel pack_kernel_of(Precision precision) {
  if (precision == Precision::kBf16) return pack_kernel<TensorProduct<Bf16>>;
  return precision == Precision::kTf32 ? pack_kernel<TensorProduct<Tf32>> : pack_kernel<Fp32Product<1>>;
}

inline int threads_of(const CudaPlan& plan) {
  switch (plan.path) {
    case CudaPath::kLatency: return kLatencyThreads;
    case CudaPath::kThroughput: return kThroughputThreads;
    case CudaPath::kColumns:
    case CudaPath::kPair: return kColumnsThreads;
    case CudaPath::kCounted:
    case CudaPath::kCluster: return kClusterThreads;
    case CudaPath::kTensor: break;
  }
  return kTensorThreads;
}

inline int blocks_of(const CudaPlan& plan) {
  if (plan.path == CudaPath::kPair) return kPairBlocks;
  return plan.path == CudaPath::kCluster || plan.path == CudaPath::kCounted ? kClusterBlocks : 1;
}

// Whether the plan's kernel reads packed weights.
inline bool reads_units(const CudaPlan& plan) {
  return plan.path == CudaPath::kTensor || blocks_of(plan) == kClusterBlocks;
}

// Shared memory of a block, in bytes.
inline size_t shared_bytes_of(const CudaArguments& p, const CudaPlan& plan) {
  switch (plan.path) {
    case CudaPath::kLatency: return sizeof(float) * latency_floats(plan.rows, p.wide, p.width, p.action);
    case CudaPath::kThroughput: return sizeof(float) * throughput_floats(plan.rows, p.wide, p.width, p.action);
    case CudaPath::kColumns:
      if (plan.rows == 16) return sizeof(float4) * ColumnsMemory<16, 1>(p).size;
      return sizeof(float4) * (plan.rows == 8 ? ColumnsMemory<8, 1>(p).size : ColumnsMemory<4, 1>(p).size);
    case CudaPath::kPair:
      return sizeof(float4) *
             (plan.rows == 16 ? ColumnsMemory<16, kPairBlocks>(p).size : ColumnsMemory<8, kPairBlocks>(p).size);
    case CudaPath::kCounted:
    case CudaPath::kCluster:
      if (p.precision == Precision::kBf16) return ClusterMemory<TensorProduct<Bf16>>(p).bytes;
      if (p.precision == Precision::kTf32) return ClusterMemory<TensorProduct<Tf32>>(p).bytes;
      if (plan.rows == 16) return ClusterMemory<Fp32Product<16>>(p).bytes;
      return plan.rows == 4 ? ClusterMemory<Fp32Product<4>>(p).bytes : ClusterMemory<Fp32Product<1>>(p).bytes;
    case CudaPath::kTensor: break;
  }
  return p.precision == Precision::kBf16 ? TensorMemory<TensorProduct<Bf16>>(p, plan.rows, tiles_of(p)).bytes
                                         : TensorMemory<TensorProduct<Tf32>>(p, plan.rows, tiles_of(p)).bytes;
}

inline UnitLayout unit_layout_of(const Shape& shape, Precision precision) {
  if (precision == Precision::kFp32) return {shape, Fp32Product<1>::kUnit, (shape.width + 31) / 32 * 32};
  const int width = shape.width <= 128 ? 128 : shape.width <= 256 ? 256 : kTensorWidth;
  return {shape, precision == Precision::kBf16 ? TensorProduct<Bf16>::kUnit : TensorProduct<Tf32>::kUnit, width};
}

// The arguments that all calls share; without memory.
inline CudaArguments cuda_arguments(const Shape& shape, Precision precision) {
  const auto round_up = [](int n) { return (n + 3) / 4 * 4; };
  const int width = round_up(shape.width), action = round_up(shape.action);
  const int wide = std::max({width, action, round_up(shape.observation)});
  return {shape,   FlatLayout(shape, width, action), width, action, wide, unit_layout_of(shape, precision), precision,
          nullptr, nullptr, 0.0f, nullptr, nullptr, nullptr, 0};
}

}  // namespace gtp
