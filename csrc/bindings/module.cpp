// gtp_fast._native: the module and its sampler. It knows NumPy arrays and raw addresses, nothing of torch.
#include <pybind11/numpy.h>

#include <memory>

#include "bindings/checks.hpp"
#include "cpu/dispatch.hpp"
#include "cpu/sampler.hpp"

namespace {

using gtp::Precision;
using gtp::Sampler;
using gtp::Shape;

// Multiply-adds below which releasing Python's lock costs more than it frees: about ten microseconds.
constexpr double kWorthTheLock = 5e6;

template <class Work>
void unlocked(const Shape& shape, int64_t rows, Work&& work) {
  const double layers = static_cast<double>(shape.width) * (2.0 * shape.action + (shape.layers - 1.0) * shape.width);
  if (static_cast<double>(rows) * shape.seeds * shape.steps * layers < kWorthTheLock) {
    work();
    return;
  }
  const py::gil_scoped_release release;
  work();
}

std::string describe_shape(const py::array& array) {
  std::string text = "(";
  for (py::ssize_t i = 0; i < array.ndim(); ++i) text += (i ? ", " : "") + std::to_string(array.shape(i));
  return text + (array.ndim() == 1 ? ",)" : ")");
}

// The numbers of a C-contiguous float32 array [rows, columns].
float* rows_of(const py::array& array, const char* name, int64_t columns, bool writeable) {
  const bool contiguous = (array.flags() & py::array::c_style) != 0;
  if (!py::isinstance<py::array_t<float>>(array) || !contiguous || array.ndim() != 2 || array.shape(1) != columns)
    throw py::value_error(std::string(name) + " must be a C-contiguous float32 array of 2 axes, the last of length " +
                          std::to_string(columns) + "; got " + (contiguous ? "" : "a non-contiguous one, ") +
                          py::str(array.dtype()).cast<std::string>() + " of shape " + describe_shape(array));
  if (writeable && !array.writeable()) throw py::value_error(std::string(name) + " is read-only");
  return static_cast<float*>(const_cast<void*>(array.data()));
}

void load(Sampler& sampler, uintptr_t flat, size_t count, float initial_scale) {
  check_count(sampler.flat(), count);
  const float* data = pointer<const float>(flat, "flat");
  const py::gil_scoped_release release;
  sampler.load(data, initial_scale);
}

void sample(const Sampler& sampler, uintptr_t observation, uintptr_t noise, uintptr_t out, int64_t rows, int threads) {
  if (rows < 0) throw py::value_error("rows must not be negative");
  if (rows == 0) return;
  const float* s = pointer<const float>(observation, "observation");
  const float* z = pointer<const float>(noise, "noise");
  float* a = pointer<float>(out, "out");
  unlocked(sampler.shape(), rows, [&] { sampler.sample(s, z, a, rows, threads); });
}

void act(const Sampler& sampler, const py::array& observation, const py::array& out, uint64_t seed, uint64_t step,
         int threads) {
  const Shape& shape = sampler.shape();
  const float* s = rows_of(observation, "observation", shape.observation, false);
  float* a = rows_of(out, "out", shape.action, true);
  if (observation.shape(0) != out.shape(0))
    throw py::value_error("observation and out differ in axis 0: " + describe_shape(observation) + " and " +
                          describe_shape(out));
  const int64_t rows = observation.shape(0);
  unlocked(shape, rows, [&] { sampler.act(s, a, rows, seed, static_cast<uint32_t>(step), threads); });
}

bool finite(const float* x, int count) {
  bool all = true;
  for (int i = 0; i < count; ++i) all &= (gtp::float_bits(x[i]) & 0x7F800000u) != 0x7F800000u;
  return all;
}

// One action with the least of Python's overhead: the action [A], or None unless it is finite and the observation is
// a finite, contiguous float32 [O]; the caller then examines it.
py::object action(const Sampler& sampler, const py::array& observation, uint64_t seed, uint64_t step) {
  const Shape& shape = sampler.shape();
  if (!py::isinstance<py::array_t<float>>(observation) || (observation.flags() & py::array::c_style) == 0 ||
      observation.ndim() != 1 || observation.shape(0) != shape.observation)
    return py::none();
  const float* s = static_cast<const float*>(observation.data());
  if (!finite(s, shape.observation)) return py::none();
  py::array_t<float> out(shape.action);
  float* a = out.mutable_data();
  unlocked(shape, 1, [&] { sampler.act(s, a, 1, seed, static_cast<uint32_t>(step), 1); });
  if (!finite(a, shape.action)) return py::none();
  return std::move(out);
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  m.doc() = "The native part of gtp_fast: sampler, random numbers, networks, losses and the whole update of GTP.";
  m.attr("cuda") = static_cast<bool>(GTP_FAST_WITH_CUDA);
  m.attr("cuda_reason") = GTP_FAST_CUDA_REASON;
  m.attr("cuda_architectures") = GTP_FAST_CUDA_ARCHITECTURES;
  m.def("isa", &gtp::isa_in_use, "Name of the widest instruction set in use.");
  m.def("limit_isa", &gtp::limit_isa, py::arg("name"),
        "Put a name in the place of GTP_FAST_ISA, which is read once; returns what was there. Only tests do so.");

  py::class_<Sampler>(m, "Sampler", "The K-step sampler of S policies on the CPU.")
      .def(py::init([](int seeds, int observation, int action, int width, int layers, int steps,
                       const char* activation, bool clamp, bool stochastic, bool squash, const char* precision) {
             const gtp::Form form{gtp::activation_of(activation), clamp, stochastic, squash};
             return std::make_unique<Sampler>(
                 Shape{seeds, observation, action, width, layers, steps, form},
                 gtp::precision_of(precision, {Precision::kFp32, Precision::kBf16, Precision::kInt8}));
           }),
           py::arg("seeds"), py::arg("observation_dim"), py::arg("action_dim"), py::arg("width"), py::arg("layers"),
           py::arg("steps"), py::arg("activation") = "mish", py::arg("clamp") = false, py::arg("stochastic") = false,
           py::arg("squash") = false, py::arg("precision") = "fp32")
      .def("load", &load, py::arg("flat"), py::arg("count"), py::arg("initial_scale"),
           "Pack the flat policy at an address. A call that samples meanwhile ends with the weights it began with.")
      .def("sample", &sample, py::arg("observation"), py::arg("noise"), py::arg("out"), py::arg("rows"),
           py::arg("threads") = 1,
           "Map observation [S, B, O] and noise [S, B, A] ([S, K, B, A] if stochastic) to clipped actions out; "
           "addresses of contiguous float32 arrays.")
      .def("act", &act, py::arg("observation"), py::arg("out"), py::arg("seed"), py::arg("step"),
           py::arg("threads") = 1,
           "Map observation [B, O] to out [B, A], noise drawn by counter: key = seed, stream ACT, row = k B + row.")
      .def("action", &action, py::arg("observation"), py::arg("seed"), py::arg("step"),
           "The action [A] of one observation [O], drawn as `act` draws it; None unless both are finite float32.")
      .def_property_readonly("isa", &Sampler::isa, "Name of the instruction set.");

  bind_random(m);
  bind_mlp(m);
  bind_losses(m);
  bind_update(m);
#if GTP_FAST_WITH_CUDA
  bind_cuda(m);
  bind_critics(m);
#endif
}
