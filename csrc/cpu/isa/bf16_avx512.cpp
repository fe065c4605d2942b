// The layers of bf16_kernels.hpp by AVX-512: the sums of eight rows by two vectors stay in registers.
#include <cstdint>
#include <cstring>

#include "cpu/bf16_kernels.hpp"
#include "cpu/isa/set.hpp"

namespace gtp {
namespace {

#include "cpu/isa/simd.hpp"
#include "cpu/isa/mlp_epilogue.hpp"

// AVX-512 needs no preparation.
struct Session {};

// sums [32, 32] = left [32, depth] times a panel of a right operand.
inline void multiply(const uint16_t* left, size_t stride, const uint16_t* right, size_t depth, float* sums,
                     size_t sums_stride) {
  constexpr int kRows = 8;
  for (int r = 0; r < 32; r += kRows, left += kRows * stride, sums += kRows * sums_stride) {
    __m512 sum[kRows][2] = {};
    for (size_t k = 0; k < depth; k += 2) {
      const __m512bh low = (__m512bh)_mm512_loadu_si512(right + 32 * k);
      const __m512bh high = (__m512bh)_mm512_loadu_si512(right + 32 * k + 32);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        int pair;
        __builtin_memcpy(&pair, left + i * stride + k, sizeof pair);
        const __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
        sum[i][0] = _mm512_dpbf16_ps(sum[i][0], both, low);
        sum[i][1] = _mm512_dpbf16_ps(sum[i][1], both, high);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      _mm512_storeu_ps(sums + i * sums_stride, sum[i][0]);
      _mm512_storeu_ps(sums + i * sums_stride + 16, sum[i][1]);
    }
  }
}

#include "cpu/isa/bf16_layers.hpp"

}  // namespace

const Bf16Kernels kAvx512Bf16Layers = {"avx512bf16", scratch, forward, backward, gradient_of};

}  // namespace gtp
