// The critics' kernel for Python: addresses of device memory and a stream handle.
#include <pybind11/stl.h>

#include <memory>

#include "bindings/checks.hpp"
#include "cuda/critics.hpp"

void bind_critics(py::module_& m) {
  using gtp::CudaCritics;
  py::class_<CudaCritics>(m, "CudaCritics", "The TD step of twin critics up to its deltas, on the current CUDA device.")
      .def(py::init([](int observation, int action, int width, int depth, int repeats) {
             return std::make_unique<CudaCritics>(gtp::CriticsShape{observation, action, width, depth, repeats});
           }),
           py::arg("observation_dim"), py::arg("action_dim"), py::arg("width"), py::arg("depth"), py::arg("repeats"))
      .def(
          "run",
          [](const CudaCritics& critics, int seeds, int64_t rows, float discount, const gtp::CriticsAddresses& at,
             const gtp::CriticsStrides& strides, uintptr_t stream) {
            if (seeds < 0 || rows < 0) throw py::value_error("seeds and rows must not be negative");
            for (const uintptr_t address : at) pointer<const float>(address, "an address");
            critics.run(gtp::critics_arguments(seeds, rows, discount, at, strides), reinterpret_cast<void*>(stream));
          },
          py::arg("seeds"), py::arg("rows"), py::arg("discount"), py::arg("addresses"), py::arg("strides"),
          py::arg("stream"), "Write hidden activations, deltas, gradient and losses, on a stream.");
}
