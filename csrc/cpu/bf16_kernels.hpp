// Layers with bf16 products: packing rounds the operands to nearest, all sums are float32. Matrices come and go in the
// float32 panels of mlp_kernels.hpp, so the rest of a network does not change.
#pragma once

#include "cpu/mlp_kernels.hpp"

namespace gtp {

struct Bf16Kernels {
  const char* name;
  // How many floats of scratch a layer needs that has `rows` rows and at most `widest` columns on either side.
  size_t (*scratch)(int rows, int widest);
  // y = epilogue(x w + bias): x [rows, in] and y [rows, out] in panels, w row-major [in, out].
  void (*forward)(const float* x, size_t x_plane, int rows, int in, const float* w, const float* bias, int out,
                  float* y, size_t y_plane, const Epilogue& epilogue, float* scratch);
  // y = z w^T, times `factor` unless null: z [rows, out], y and factor [rows, in] in panels.
  void (*backward)(const float* z, size_t z_plane, int rows, int out, const float* w, int in, float* y, size_t y_plane,
                   const float* factor, float* scratch);
  // Rows first..last of g = x^T z, row-major [in, out]; `first` begins a panel.
  void (*gradient)(const float* x, size_t x_plane, int first, int last, const float* z, size_t z_plane, int out,
                   int rows, float* g, float* scratch);
};

#if defined(__x86_64__) || defined(_M_X64)
extern const Bf16Kernels kAvx512Bf16Layers;
extern const Bf16Kernels kAmxLayers;
#endif

}  // namespace gtp
