// Normals, integers and batches by counter for Python: addresses of contiguous arrays.
#include <pybind11/stl.h>

#include <array>

#include "bindings/checks.hpp"
#include "cpu/dispatch.hpp"
#include "cpu/gather.hpp"
#include "cpu/sampler_kernels.hpp"

namespace {

const gtp::SamplerKernels& kernels() { return gtp::select_sampler(gtp::Precision::kFp32); }

void check_rows(int64_t rows) {
  if (rows < 0 || rows >= (int64_t{1} << 32)) throw py::value_error("rows must be 0..2^32-1");
}

void normals(uintptr_t keys, int64_t seeds, uint64_t step, uint32_t stream, uintptr_t out, int64_t rows, int columns) {
  check_rows(rows);
  if (columns < 0) throw py::value_error("columns must not be negative");
  if (seeds * rows * columns == 0) return;
  const uint64_t* key = pointer<const uint64_t>(keys, "keys");
  float* to = pointer<float>(out, "out");
  const auto draw = kernels().normals;
  const py::gil_scoped_release release;
  for (int64_t s = 0; s < seeds; ++s)
    draw(key[s], static_cast<uint32_t>(step), stream, 0, rows, columns, to + s * rows * columns);
}

void integers(uintptr_t keys, int64_t seeds, uint64_t step, uint32_t stream, uintptr_t out, int64_t rows,
              uint64_t bound) {
  check_rows(rows);
  if (bound == 0 || bound >= (uint64_t{1} << 32)) throw py::value_error("bound must be 1..2^32-1");
  if (seeds * rows == 0) return;
  const uint64_t* key = pointer<const uint64_t>(keys, "keys");
  int64_t* to = pointer<int64_t>(out, "out");
  const auto draw = kernels().integers;
  const py::gil_scoped_release release;
  for (int64_t s = 0; s < seeds; ++s)
    draw(key[s], static_cast<uint32_t>(step), stream, rows, static_cast<uint32_t>(bound), to + s * rows);
}

void gather(uintptr_t table, uintptr_t lots, uint32_t count, const std::array<int, 2>& widths, uintptr_t keys,
            int seeds, uint64_t step, uint32_t stream, int rows, const std::array<uintptr_t, 5>& outputs) {
  if (count == 0 || widths[0] < 1 || widths[1] < 1) throw py::value_error("there is nothing to draw from");
  if (static_cast<int64_t>(seeds) * rows == 0) return;
  float* out[5];
  for (int i = 0; i < 5; ++i) out[i] = pointer<float>(outputs[i], "an output");
  gtp::gather({pointer<const float>(table, "table"), count, widths[0], widths[1],
               reinterpret_cast<const uint64_t*>(lots)},
              pointer<const uint64_t>(keys, "keys"), seeds, static_cast<uint32_t>(step), stream, rows,
              {out[0], out[1], out[2], out[3], out[4]});
}

}  // namespace

void bind_random(py::module_& m) {
  m.def("normals", &normals, py::arg("keys"), py::arg("seeds"), py::arg("step"), py::arg("stream"), py::arg("out"),
        py::arg("rows"), py::arg("columns"), "Write float32 normals [S, rows, columns]; keys: uint64 [S].");
  m.def("integers", &integers, py::arg("keys"), py::arg("seeds"), py::arg("step"), py::arg("stream"), py::arg("out"),
        py::arg("rows"), py::arg("bound"), "Write int64 integers [S, rows] in 0..bound-1; keys: uint64 [S].");
  m.def("gather", &gather, py::arg("table"), py::arg("lots"), py::arg("count"), py::arg("widths"), py::arg("keys"),
        py::arg("seeds"), py::arg("step"), py::arg("stream"), py::arg("rows"), py::arg("outputs"),
        "Draw rows of a table, by an alias table of lots or (0) all alike, and copy their fields: s, a, r, s', mask. "
        "widths: observation, action.");
}
