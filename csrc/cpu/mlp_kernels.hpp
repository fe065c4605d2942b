// The inner loops of training small networks, compiled once for each width of vectors: products of matrices in panels.
//
// A matrix [rows, columns] in panels is [columns / panel][rows][panel], padded with zeros; a panel is two vectors wide.
// A product reads and writes it in order, whichever operand it is. `plane` is the distance between panels.
#pragma once

#include <cstddef>

#include "policy.hpp"

namespace gtp {

// What a tile of a product goes through after its sums: bias and activation, or the slope of the layer below.
struct Epilogue {
  const float* bias = nullptr;  // [columns], padded to panels
  bool activate = false;
  Activation activation = Activation::kMish;
  float* slope = nullptr;         // receives the activation's slope, in panels like the result
  const float* factor = nullptr;  // multiplies the result, in panels like it
  // The row-major weights of the next panel, to prefetch: `next_rows` rows, `next_stride` apart.
  const float* next = nullptr;
  int next_rows = 0;
  size_t next_stride = 0;
};

// Times are embedded by sines and cosines of this many times a rate times the level.
constexpr float kTimeScale = 250.0f;

struct AdamScalars {
  float gradient_scale, rate, first_decay, second_decay, second_correction, epsilon, average_rate;
  float kept;  // of a parameter, by weight decay
};

struct MlpKernels {
  int lanes;
  // Row-major [rows, columns] with distance `stride` between rows into panels, and back.
  void (*pack)(const float* from, int rows, int columns, size_t stride, float* to, size_t plane);
  void (*unpack)(const float* from, size_t plane, int rows, int columns, float* to, size_t stride);
  // The transpose of row-major [rows, columns], contiguous, into panels of `rows` columns.
  void (*pack_transposed)(const float* from, int rows, int columns, float* to);
  // y = epilogue(a w): a [rows, depth] and y [rows, columns] in panels, w [depth, columns] packed.
  void (*product)(const float* a, size_t a_plane, int rows, int depth, const float* w, int columns, float* y,
                  size_t y_plane, const Epilogue& epilogue);
  // g = a^T z row-major [depth, columns] for columns first..last of a, all of one panel; the sum over rows in order.
  void (*gradient)(const float* a, size_t a_plane, int first, int last, const float* z, size_t z_plane, int columns,
                   int rows, float* g);
  // The same two for one column of w, which is [depth], padded with zeros to panels: y [rows] and z [rows] lie `stride`
  // apart, g is [depth].
  void (*product_column)(const float* a, size_t a_plane, int rows, int depth, const float* w, float bias, float* y,
                         size_t stride);
  void (*gradient_column)(const float* a, size_t a_plane, int depth, const float* z, size_t stride, int rows, float* g);
  // Sums over the rows of z, times `factor` unless null.
  void (*column_sums)(const float* z, const float* factor, size_t plane, int columns, int rows, float* sums);
  // Layer norm of the rows of y, in place: scale [columns] and shift padded to panels. Keeps what the backward pass
  // reads, unless null: the rows before scale and shift, and the inverse of each row's deviation.
  void (*normalise)(float* y, size_t plane, int rows, int columns, const float* scale, const float* shift,
                    float* normal, float* inverse);
  // From dy: dz, behind the layer norm and the activation with its slope.
  void (*normalise_backward)(const float* dy, const float* normal, const float* slope, size_t plane,
                             const float* inverse, const float* scale, int rows, int columns, float* dz);
  // Sines and cosines of kTimeScale x at `half` rates: x [count] at distance 2 -> [count, 2 half].
  void (*sinusoid)(const float* x, size_t count, const float* rates, int half, float* out);
  double (*square_sum)(const float* x, size_t count);
  void (*adam)(float* parameter, const float* gradient, float* first, float* second, float* average, size_t count,
               const AdamScalars& scalars);
};

}  // namespace gtp
