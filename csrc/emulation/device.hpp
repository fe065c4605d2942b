// CUDA's built-ins and the functions of cuda/device.cuh on the host.
#pragma once

#include <cmath>

#include "fibers.hpp"

#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

#define GTP_CLUSTERS 1

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline void __syncthreads() { emulation::Cluster::wait(emulation::State::kAtBlock); }
inline void __syncwarp() { emulation::Cluster::wait(emulation::State::kAtWarp); }

inline float __shfl_xor_sync(unsigned, float value, int mask) {
  emulation::Shown mine{};
  mine.value = value;
  return emulation::Cluster::show(mine)[emulation::Cluster::lane() ^ mask].value;
}

inline uint32_t __shfl_xor_sync(unsigned, uint32_t value, int mask) {
  emulation::Shown mine{};
  mine.a[0] = value;
  return emulation::Cluster::show(mine)[emulation::Cluster::lane() ^ mask].a[0];
}

inline float __uint_as_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

namespace gtp {

using emulation::Cluster;
using emulation::Shown;

template <class T>
T* shared_memory() {
  return reinterpret_cast<T*>(Cluster::memory(Cluster::rank()));
}

inline void copy_async(void* to, const void* from) { Cluster::copy(to, from); }

inline void commit_copies() { Cluster::fiber().copies.emplace_back(); }

template <int N>
void wait_copies() {
  auto& copies = Cluster::fiber().copies;
  while (copies.size() > N + 1) {
    for (const emulation::Copy& copy : copies.front()) std::memcpy(copy.to, copy.from, 16);
    copies.erase(copies.begin());
  }
}

inline uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

inline void load_matrices(uint32_t (&words)[4], const void* row) {
  Shown mine{};
  mine.address = row;
  const Shown* all = Cluster::show(mine);
  const int lane = Cluster::lane();
  for (int i = 0; i < 4; ++i)
    std::memcpy(&words[i], static_cast<const char*>(all[8 * i + lane / 4].address) + 4 * (lane % 4), 4);
}

inline void load_transposed(uint32_t (&words)[4], const void* row) {
  Shown mine{};
  mine.address = row;
  const Shown* all = Cluster::show(mine);
  const int lane = Cluster::lane();
  for (int i = 0; i < 4; ++i)
    for (int half = 0; half < 2; ++half) {
      const void* const from = all[8 * i + 2 * (lane % 4) + half].address;
      std::memcpy(reinterpret_cast<char*>(&words[i]) + 2 * half, static_cast<const char*>(from) + 2 * (lane / 4), 2);
    }
}

// Element (row, k) of a's fragments and (k, column) of b's, in PTX's layout over the lanes; `pack` numbers in a word.
inline uint32_t a_word(const Shown* all, int row, int k, int pack) {
  const int word = k / pack;
  return all[row % 8 * 4 + word % 4].a[row / 8 + word / 4 * 2];
}
inline uint32_t b_word(const Shown* all, int k, int column, int pack) {
  const int word = k / pack;
  return all[column * 4 + word % 4].b[word / 4];
}

// This lane's four elements of c += a b with 8 `pack` inputs.
template <class Value>
void multiply_fragments(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, int pack, Value&& value) {
  const Shown* all = Cluster::show({{a[0], a[1], a[2], a[3]}, {b0, b1}, nullptr, 0.0f});
  const int lane = Cluster::lane();
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 8 * pack; ++k)
      c[i] += value(a_word(all, row, k, pack), k % pack) * value(b_word(all, k, column, pack), k % pack);
  }
}

inline void multiply_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply_fragments(c, a, b0, b1, 2,
                     [](uint32_t word, int half) { return __uint_as_float(half ? word & 0xffff0000u : word << 16); });
}

// The hardware ignores the last 13 bits.
inline void multiply_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  multiply_fragments(c, a, b0, b1, 1, [](uint32_t word, int) { return __uint_as_float(word & ~0x1fffu); });
}

// To nearest, ties to even.
inline uint32_t bf16_bits(float x) {
  const uint32_t bits = bits_of(x);
  return std::isnan(x) ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

inline uint32_t pack_bf16(float low, float high) { return bf16_bits(high) << 16 | bf16_bits(low); }

// To nearest, ties away from zero.
inline float round_tf32(float x) { return std::isnan(x) ? x : __uint_as_float((bits_of(x) + 0x1000) & ~0x1fffu); }

inline float fast_exp(float x) { return std::exp(x); }
inline float fast_reciprocal(float x) { return 1.0f / x; }

inline unsigned cluster_rank() { return Cluster::rank(); }
inline void cluster_barrier() { Cluster::wait(emulation::State::kAtCluster); }

template <class T>
T* cluster_peer(T* mine, unsigned rank) {
  char* const own = Cluster::memory(Cluster::rank());
  return reinterpret_cast<T*>(Cluster::memory(rank) + (reinterpret_cast<char*>(mine) - own));
}

using Arrivals = uint64_t;

inline void start_arrivals(Arrivals* arrivals, int threads) { Cluster::start(arrivals, threads); }
inline void expect_arrivals(Arrivals* arrivals, int bytes) { Cluster::expect(arrivals, bytes); }
inline void await_arrivals(Arrivals* arrivals, int parity) { Cluster::await(arrivals, parity); }
inline void store_remote(float4* mine, const float4& value, Arrivals* arrivals, unsigned rank) {
  Cluster::send(cluster_peer(mine, rank), &value, cluster_peer(arrivals, rank));
}

}  // namespace gtp
