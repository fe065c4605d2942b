// Philox, normals and integers for Python: numpy arrays, or the addresses of contiguous arrays.
#include <array>

#include "bindings/checks.hpp"
#include "cpu/dispatch.hpp"

namespace {

const gtp::Kernels& kernels() { return gtp::select_kernels(""); }

void check_rows(int64_t rows) {
  if (rows < 0 || rows >= (int64_t{1} << 32)) throw py::value_error("rows must be 0..2^32-1");
}

py::tuple philox(uint64_t key, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3) {
  const gtp::Words w =
      gtp::philox(static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32), gtp::Words{c0, c1, c2, c3});
  return py::make_tuple(w.w0, w.w1, w.w2, w.w3);
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

void normals_array(const py::array& keys, uint64_t step, uint32_t stream, const py::array& out) {
  const uint64_t* key = data_of<uint64_t>(keys, "keys", 1, -1, false);
  const float* to = data_of<float>(out, "out", 3, -1, true);
  if (out.shape(0) != keys.shape(0)) throw py::value_error("out must have one entry of axis 0 for each key");
  normals(reinterpret_cast<uintptr_t>(key), keys.shape(0), step, stream, reinterpret_cast<uintptr_t>(to),
          out.shape(1), static_cast<int>(out.shape(2)));
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

void integers_array(const py::array& keys, uint64_t step, uint32_t stream, uint64_t bound, const py::array& out) {
  const uint64_t* key = data_of<uint64_t>(keys, "keys", 1, -1, false);
  const int64_t* to = data_of<int64_t>(out, "out", 2, -1, true);
  if (out.shape(0) != keys.shape(0)) throw py::value_error("out must have one entry of axis 0 for each key");
  integers(reinterpret_cast<uintptr_t>(key), keys.shape(0), step, stream, reinterpret_cast<uintptr_t>(to),
           out.shape(1), bound);
}

}  // namespace

void bind_random(py::module_& m) {
  m.def("philox", &philox, py::arg("key"), py::arg("c0"), py::arg("c1"), py::arg("c2"), py::arg("c3"),
        "philox4x32_10 of a 64-bit key and four counter words: four words.");
  m.def("normals", &normals, py::arg("keys"), py::arg("seeds"), py::arg("step"), py::arg("stream"), py::arg("out"),
        py::arg("rows"), py::arg("columns"), "Write float32 normals [S, rows, columns] at an address.");
  m.def("normals", &normals_array, py::arg("keys"), py::arg("step"), py::arg("stream"), py::arg("out"),
        "Fill float32 out [S, rows, columns] with normals; keys: uint64 [S].");
  m.def("integers", &integers, py::arg("keys"), py::arg("seeds"), py::arg("step"), py::arg("stream"), py::arg("out"),
        py::arg("rows"), py::arg("bound"), "Write int64 integers [S, rows] in 0..bound-1 at an address.");
  m.def("integers", &integers_array, py::arg("keys"), py::arg("step"), py::arg("stream"), py::arg("bound"),
        py::arg("out"), "Fill int64 out [S, rows] with integers in 0..bound-1; keys: uint64 [S].");
}
