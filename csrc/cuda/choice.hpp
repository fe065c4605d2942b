// The choice of a plan for a batch; the device and its emulation share it.
#pragma once

#include <algorithm>
#include <string>

#include "cuda/kernels.cuh"

namespace gtp {

inline CudaPlans cluster_plans(Precision precision) {
  if (precision == Precision::kBf16) return {{{CudaPath::kCounted, 16}, {CudaPath::kCluster, 16}}, 2};
  if (precision == Precision::kTf32) return {{{CudaPath::kCluster, 16}}, 1};
  return {{{CudaPath::kCluster, 1}, {CudaPath::kCluster, 4}, {CudaPath::kCluster, 16}, {CudaPath::kPair, 8},
           {CudaPath::kPair, 16}},
          5};
}

inline CudaPlans block_plans(Precision precision) {
  if (precision != Precision::kFp32)
    return {{{CudaPath::kTensor, 16}, {CudaPath::kTensor, 32}, {CudaPath::kTensor, 64}, {CudaPath::kTensor, 128}}, 4};
  return {{{CudaPath::kLatency, 1},
           {CudaPath::kLatency, 2},
           {CudaPath::kLatency, 4},
           {CudaPath::kColumns, 4},
           {CudaPath::kColumns, 8},
           {CudaPath::kColumns, 16},
           {CudaPath::kThroughput, 8},
           {CudaPath::kThroughput, 16},
           {CudaPath::kThroughput, 32},
           {CudaPath::kThroughput, 64}},
          10};
}

inline bool fits(const CudaDevice& device, const CudaArguments& p, const CudaPlan& plan) {
  return kernel_of(p, plan) != nullptr && shared_bytes_of(p, plan) <= device.shared_limit;
}

// The precision that serves a policy: fp32 where not even the smallest tile of the tensor cores fits.
inline Precision served(const CudaDevice& device, const Shape& shape, Precision asked) {
  if (asked == Precision::kFp32) return asked;
  return fits(device, cuda_arguments(shape, asked), block_plans(asked).all[0]) ? asked : Precision::kFp32;
}

// The time of a batch, in rows, with one block on each multiprocessor: a round of blocks takes the time of its rows'
// arithmetic and of streaming the weights once. A multiprocessor reads about 64 bytes a clock from L2, 24 when all do,
// and makes about 128 multiply-adds in fp32, 512 in tf32 or 1024 in bf16. So weights that no arithmetic hides take as
// long as 8 or 32 rows; those that each of eight warps reads from shared memory, 24; those that a column's thread
// copies ahead cost nothing beyond 6 rows, or 15 when all pull.
inline int64_t rows_in_turn(const CudaDevice& device, const CudaArguments& p, const CudaPlan& plan, int64_t rows) {
  const int64_t blocks = p.shape.seeds * ((rows + plan.rows - 1) / plan.rows), all = device.multiprocessors;
  int64_t turn = plan.rows + (p.precision == Precision::kFp32 ? 8 : 32);
  if (plan.path == CudaPath::kThroughput) turn = std::max(plan.rows, 24) + 8;
  if (plan.path == CudaPath::kColumns)
    turn = std::max<int64_t>({plan.rows, 6, 15 * std::min(blocks, all) / all}) + 2;
  return (blocks + all - 1) / all * turn;
}

inline CudaPlan choose(const CudaDevice& device, const CudaArguments& p, int64_t rows) {
  constexpr int64_t kStreamedRows = 16;  // above it, fp32 takes the kernels that read the weights for many rows
  // The fewest rows a cluster or pair, as long as none waits for another and no two pairs share a multiprocessor; of
  // equal ones the first.
  const CudaPlans clusters = cluster_plans(p.precision);
  for (int i = 0; i < clusters.count; ++i) {
    const CudaPlan& plan = clusters.all[i];
    const bool pair = plan.path == CudaPath::kPair;
    const int most = pair ? std::min(device.clusters[i], device.multiprocessors / kPairBlocks) : device.clusters[i];
    if ((!pair || rows > kStreamedRows) && p.shape.seeds * ((rows + plan.rows - 1) / plan.rows) <= most) return plan;
  }
  // The fastest tile; of equal ones the larger, which reads the weights less often.
  const CudaPlans blocks = block_plans(p.precision);
  CudaPlan best = blocks.all[0];
  bool found = false;
  for (int i = 0; i < blocks.count; ++i) {
    const CudaPlan& plan = blocks.all[i];
    const bool wanted = plan.path == CudaPath::kTensor || (plan.path == CudaPath::kLatency) == (rows <= kStreamedRows);
    if (!wanted || !fits(device, p, plan)) continue;
    // The smallest tile of the tensor cores hides less of the time that weights take to arrive.
    if (plan.path == CudaPath::kTensor && i == 0 && fits(device, p, blocks.all[1])) continue;
    if (!found || rows_in_turn(device, p, plan, rows) <= rows_in_turn(device, p, best, rows))
      best = plan;
    found = true;
  }
  return best;
}

inline std::string describe(const CudaPlan& plan, Precision precision, Precision asked) {
  const std::string rows = std::to_string(plan.rows) + (plan.rows == 1 ? " row" : " rows");
  const std::string units = precision == Precision::kFp32 ? "CUDA cores" : "tensor cores";
  const std::string name = name_of(precision);
  const std::string why =
      precision == asked ? "" : std::string(" (") + name_of(asked) + " does not fit this GPU's shared memory)";
  if (plan.path == CudaPath::kCluster || plan.path == CudaPath::kCounted)
    return name + ", " + std::to_string(kClusterBlocks) + " blocks that hold the weights" +
           (plan.path == CudaPath::kCounted ? " and count results" : "") + " for each " + rows + ", " + units + why;
  if (plan.path == CudaPath::kColumns || plan.path == CudaPath::kPair)
    return name + (plan.path == CudaPath::kPair ? ", a pair of blocks" : ", a block") +
           " whose threads own columns and stream the weights for each " + rows + ", " + units + why;
  return name + ", a block that streams the weights for each " + rows + ", " + units + why;
}

}  // namespace gtp
