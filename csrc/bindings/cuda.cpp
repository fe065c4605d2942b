// The CUDA sampler for Python: addresses of device memory and a stream handle.
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/checks.hpp"
#include "cuda/sampler.hpp"

namespace {

using gtp::CudaSampler;
using gtp::Precision;

constexpr auto kPrecisions = {Precision::kFp32, Precision::kTf32, Precision::kBf16};

void load_cuda(CudaSampler& sampler, uintptr_t flat, size_t count, float initial_scale, uintptr_t stream) {
  check_count(sampler.flat(), count);
  sampler.load(pointer<const float>(flat, "flat"), initial_scale, reinterpret_cast<void*>(stream));
}

void take(CudaSampler& sampler, uintptr_t padded, size_t count, float initial_scale, int64_t rows, uintptr_t stream,
          uintptr_t units, size_t bytes) {
  check_count(sampler.padded(), count);
  if (units != 0 && bytes != sampler.packed())
    throw py::value_error("the packed weights must take " + std::to_string(sampler.packed()) + " bytes, not " +
                          std::to_string(bytes));
  sampler.take(pointer<const float>(padded, "padded"), initial_scale, rows, reinterpret_cast<void*>(stream),
               reinterpret_cast<const void*>(units));
}

using NamedPlan = std::pair<std::string, int>;

NamedPlan named(const gtp::CudaPlan& plan) { return {gtp::name_of(plan.path), plan.rows}; }

std::vector<NamedPlan> plans(const CudaSampler& sampler) {
  std::vector<NamedPlan> names;
  for (const gtp::CudaPlan& plan : sampler.plans()) names.push_back(named(plan));
  return names;
}

gtp::CudaPlan wanted(const CudaSampler& sampler, int64_t rows, const std::optional<NamedPlan>& name) {
  if (!name) return sampler.plan(rows);
  for (const gtp::CudaPlan& plan : sampler.plans())
    if (named(plan) == *name) return plan;
  throw py::value_error("this device has no plan " + name->first + " of " + std::to_string(name->second) + " rows");
}

void sample_cuda(const CudaSampler& sampler, uintptr_t observation, uintptr_t noise, uintptr_t out, int64_t rows,
                 uintptr_t stream, const std::optional<NamedPlan>& plan) {
  if (rows < 0) throw py::value_error("rows must not be negative");
  if (rows == 0) return;
  sampler.sample(pointer<const float>(observation, "observation"), pointer<const float>(noise, "noise"),
                 pointer<float>(out, "out"), rows, reinterpret_cast<void*>(stream), wanted(sampler, rows, plan));
}

}  // namespace

void bind_cuda(py::module_& m) {
  m.def("cuda_unavailable", &gtp::cuda_unavailable,
        "Why the current device cannot run the CUDA sampler, in CUDA's own text; empty if it can.");
  py::class_<CudaSampler>(m, "CudaSampler", "The K-step sampler of S policies on the current CUDA device.")
      .def(py::init([](int seeds, int observation, int action, int width, int layers, int steps,
                       const char* activation, bool clamp, bool stochastic, bool squash,
                       const char* precision) {
             const gtp::Form form{gtp::activation_of(activation), clamp, stochastic, squash};
             return std::make_unique<CudaSampler>(gtp::Shape{seeds, observation, action, width, layers, steps, form},
                                                  gtp::precision_of(precision, kPrecisions));
           }),
           py::arg("seeds"), py::arg("observation_dim"), py::arg("action_dim"), py::arg("width"), py::arg("layers"),
           py::arg("steps"), py::arg("activation") = "mish", py::arg("clamp") = false, py::arg("stochastic") = false,
           py::arg("squash") = false, py::arg("precision") = "fp32")
      .def("load", &load_cuda, py::arg("flat"), py::arg("count"), py::arg("initial_scale"), py::arg("stream"),
           "Copy the flat policy at a device or pinned address, on a stream.")
      .def("take", &take, py::arg("padded"), py::arg("count"), py::arg("initial_scale"), py::arg("rows"),
           py::arg("stream"), py::arg("units") = 0, py::arg("bytes") = 0,
           "Read the policy, its rows padded, in place at a device address that stays valid, for batches of `rows`; "
           "units: its weights as tensor cores read them, likewise, 0 to pack them here.")
      .def("sample", &sample_cuda, py::arg("observation"), py::arg("noise"), py::arg("out"), py::arg("rows"),
           py::arg("stream"), py::arg("plan") = py::none(),
           "Map observation [S, B, O] and noise [S, B, A] ([S, K, B, A] if stochastic) to actions out, on a stream, by "
           "the plan for the batch or another of plans().")
      .def("plan", [](const CudaSampler& s, int64_t rows) { return named(s.plan(rows)); }, py::arg("rows"),
           "The kernel for a batch, and its rows in a block or cluster.")
      .def("plans", &plans, "All kernels that this device can run, in the same form.")
      .def("describe", &CudaSampler::describe, py::arg("rows"), "The kernel for a batch, in words.")
      .def_property_readonly("packed", &CudaSampler::packed,
                             "Bytes of the weights as tensor cores read them, 0 where they are not used.")
      .def_property_readonly("padded", &CudaSampler::padded_rows,
                             "Columns of a row of hidden width and of one of actions, as `take` reads them.");
}
