// The CUDA sampler for Python: addresses of device memory and a stream handle.
#include <memory>

#include "bindings.hpp"
#include "sampler_cuda.hpp"

namespace {

using gtp::CudaSampler;

void load(CudaSampler& sampler, uintptr_t flat, size_t count, float initial_scale, uintptr_t stream) {
  check_count(sampler.flat(), count);
  sampler.load(pointer<const float>(flat, "flat"), initial_scale, reinterpret_cast<void*>(stream));
}

void sample(const CudaSampler& sampler, uintptr_t observation, uintptr_t noise, uintptr_t out, int64_t rows,
            uintptr_t stream) {
  if (rows < 0) throw py::value_error("rows must not be negative");
  if (rows == 0) return;
  sampler.sample(pointer<const float>(observation, "observation"), pointer<const float>(noise, "noise"),
                 pointer<float>(out, "out"), rows, reinterpret_cast<void*>(stream));
}

py::tuple plan(const CudaSampler& sampler, int64_t rows) {
  const gtp::CudaPlan chosen = sampler.plan(rows);
  return py::make_tuple(chosen.latency ? "latency" : "throughput", chosen.rows_per_block);
}

}  // namespace

void bind_cuda(py::module_& m) {
  py::class_<CudaSampler>(m, "CudaSampler", "The K-step sampler of S policies on the current CUDA device.")
      .def(py::init([](int seeds, int observation, int action, int width, int layers, int steps,
                       const char* activation, bool clamp, bool stochastic) {
             const gtp::Form form{gtp::activation_of(activation), clamp, stochastic};
             return std::make_unique<CudaSampler>(gtp::Shape{seeds, observation, action, width, layers, steps, form});
           }),
           py::arg("seeds"), py::arg("observation_dim"), py::arg("action_dim"), py::arg("width"), py::arg("layers"),
           py::arg("steps"), py::arg("activation") = "mish", py::arg("clamp") = false, py::arg("stochastic") = false)
      .def("load", &load, py::arg("flat"), py::arg("count"), py::arg("initial_scale"), py::arg("stream"),
           "Copy the flat policy at a device or pinned address, on a stream.")
      .def("sample", &sample, py::arg("observation"), py::arg("noise"), py::arg("out"), py::arg("rows"),
           py::arg("stream"), "Map observation [S, B, O] and noise [S, B, A] ([S, K, B, A] if stochastic) to actions, on a stream.")
      .def("plan", &plan, py::arg("rows"), "The kernel for a batch, latency or throughput, and its rows a block.")
      .def_property_readonly("count", [](const CudaSampler& s) { return s.flat().total; })
      .def_property_readonly("device", &CudaSampler::device);
}
