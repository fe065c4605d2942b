// The layers of bf16_kernels.hpp by Intel's tiles (AMX): 32 rows by 32 columns of sums fill four of the eight tiles.
#include <cstdint>
#include <cstring>

#include "cpu/bf16_kernels.hpp"
#include "cpu/isa/set.hpp"

namespace gtp {
namespace {

#include "cpu/isa/simd.hpp"
#include "cpu/isa/mlp_epilogue.hpp"

// Configures the thread's tiles, each 16 rows of 64 bytes, while this lives.
struct Session {
  struct Configuration {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  };
  Session() {
    Configuration all;
    for (int i = 0; i < 8; ++i) all.row_bytes[i] = 64, all.rows[i] = 16;
    _tile_loadconfig(&all);
  }
  ~Session() { _tile_release(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
};

// sums [32, 32] = left [32, depth] times a panel of a right operand.
inline void multiply(const uint16_t* left, size_t stride, const uint16_t* right, size_t depth, float* sums,
                     size_t sums_stride) {
  const size_t bytes = stride * sizeof(uint16_t);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (size_t k = 0; k < depth; k += 32, left += 32, right += 32 * 32) {
    _tile_loadd(4, left, bytes);
    _tile_loadd(6, right, 128);
    _tile_loadd(7, right + 32, 128);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, left + 16 * stride, bytes);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  const size_t row = sums_stride * sizeof(float);
  _tile_stored(0, sums, row);
  _tile_stored(1, sums + 16, row);
  _tile_stored(2, sums + 16 * sums_stride, row);
  _tile_stored(3, sums + 16 * sums_stride + 16, row);
}

#include "cpu/isa/bf16_layers.hpp"

}  // namespace

const Bf16Kernels kAmxLayers = {"amx", scratch, forward, backward, gradient_of};

}  // namespace gtp
