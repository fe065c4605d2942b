// Python's view of the native part: gtp_fast._native. Knows numpy arrays and raw pointers, nothing of torch.
#include <memory>

#include "bindings/checks.hpp"
#include "cpu/sampler.hpp"

namespace {

using gtp::Sampler;
using gtp::Shape;

// Multiply-adds below which giving Python's lock away costs more than it frees: about ten microseconds.
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

void same_rows(const py::array& a, const char* a_name, int axis, const py::array& b, const char* b_name, int b_axis) {
  if (a.shape(axis) != b.shape(b_axis))
    throw py::value_error(std::string(a_name) + " and " + b_name + " differ in axis " + std::to_string(axis) + ": " +
                          describe_shape(a) + " and " + describe_shape(b));
}

void load_array(Sampler& sampler, const py::array& flat, float initial_scale) {
  const float* data = data_of<float>(flat, "flat", 1, static_cast<int64_t>(sampler.flat().total), false);
  const py::gil_scoped_release release;
  sampler.load(data, initial_scale);
}

void load_pointer(Sampler& sampler, uintptr_t flat, size_t count, float initial_scale) {
  check_count(sampler.flat(), count);
  const float* data = pointer<const float>(flat, "flat");
  const py::gil_scoped_release release;
  sampler.load(data, initial_scale);
}

void sample_arrays(const Sampler& sampler, const py::array& observation, const py::array& noise, const py::array& out,
                   int threads) {
  const Shape& shape = sampler.shape();
  const float* s = data_of<float>(observation, "observation", 3, shape.observation, false);
  const bool many = shape.form.stochastic;
  const float* z = data_of<float>(noise, "noise", many ? 4 : 3, shape.action, false);
  float* a = data_of<float>(out, "out", 3, shape.action, true);
  if (observation.shape(0) != shape.seeds)
    throw py::value_error("observation must have " + std::to_string(shape.seeds) + " seeds in axis 0; got shape " +
                          describe_shape(observation));
  if (many && noise.shape(1) != shape.steps)
    throw py::value_error("noise must have " + std::to_string(shape.steps) + " draws in axis 1; got shape " +
                          describe_shape(noise));
  for (int axis = 0; axis < 2; ++axis) {
    same_rows(observation, "observation", axis, noise, "noise", axis == 1 && many ? 2 : axis);
    same_rows(observation, "observation", axis, out, "out", axis);
  }
  const int64_t rows = observation.shape(1);
  unlocked(shape, rows, [&] { sampler.sample(s, z, a, rows, threads); });
}

void sample_pointers(const Sampler& sampler, uintptr_t observation, uintptr_t noise, uintptr_t out, int64_t rows,
                     int threads) {
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
  const float* s = data_of<float>(observation, "observation", 2, shape.observation, false);
  float* a = data_of<float>(out, "out", 2, shape.action, true);
  same_rows(observation, "observation", 0, out, "out", 0);
  const int64_t rows = observation.shape(0);
  unlocked(shape, rows, [&] { sampler.act(s, a, rows, seed, static_cast<uint32_t>(step), threads); });
}

// One action in the fewest steps that Python allows: the action [A], or None for an observation that is not a finite,
// contiguous float32 [O], which the caller then looks at more closely.
py::object action(const Sampler& sampler, const py::array& observation, uint64_t seed, uint64_t step) {
  const Shape& shape = sampler.shape();
  if (!py::isinstance<py::array_t<float>>(observation) || (observation.flags() & py::array::c_style) == 0 ||
      observation.ndim() != 1 || observation.shape(0) != shape.observation)
    return py::none();
  const float* s = static_cast<const float*>(observation.data());
  bool finite = true;
  for (int i = 0; i < shape.observation; ++i) finite &= (gtp::float_bits(s[i]) & 0x7F800000u) != 0x7F800000u;
  if (!finite) return py::none();
  py::array_t<float> out(shape.action);
  float* a = out.mutable_data();
  unlocked(shape, 1, [&] { sampler.act(s, a, 1, seed, static_cast<uint32_t>(step), 1); });
  return std::move(out);
}

constexpr const char* kPrecisions[] = {"fp32", "bf16", "int8"};  // in the order of Products

gtp::Products products_of(const std::string& precision) {
  for (int i = 0; i < 3; ++i)
    if (precision == kPrecisions[i]) return static_cast<gtp::Products>(i);
  throw py::value_error("precision must be fp32, bf16 or int8, not " + precision);
}

py::list instruction_sets() {
  const gtp::Kernels* all[gtp::kMostKernels];
  const int count = gtp::supported_kernels(all);
  py::list names;
  for (int i = 0; i < count; ++i) names.append(all[i]->name);
  return names;
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  m.doc() = "The native part of gtp_fast: the K-step sampler and the counter-based random numbers.";
  m.attr("cuda") = static_cast<bool>(GTP_FAST_WITH_CUDA);
  m.attr("cuda_reason") = GTP_FAST_CUDA_REASON;
  m.attr("cuda_architectures") = GTP_FAST_CUDA_ARCHITECTURES;
  m.def("isa", [] { return gtp::select_kernels("").name; }, "Name of the instruction set in use.");
  m.def("isas", &instruction_sets, "Names of the instruction sets that this machine runs, narrowest first.");

  py::class_<Sampler>(m, "Sampler", "The K-step sampler of S policies on the CPU.")
      .def(py::init([](int seeds, int observation, int action, int width, int layers, int steps,
                       const char* activation, bool clamp, bool stochastic, bool squash,
                       const char* precision, const char* isa) {
             const gtp::Form form{gtp::activation_of(activation), clamp, stochastic, squash};
             return std::make_unique<Sampler>(Shape{seeds, observation, action, width, layers, steps, form}, isa,
                                              products_of(precision));
           }),
           py::arg("seeds"), py::arg("observation_dim"), py::arg("action_dim"), py::arg("width"), py::arg("layers"),
           py::arg("steps"), py::arg("activation") = "mish", py::arg("clamp") = false, py::arg("stochastic") = false,
           py::arg("squash") = false, py::arg("precision") = "fp32", py::arg("isa") = "")
      .def("load", &load_pointer, py::arg("flat"), py::arg("count"), py::arg("initial_scale"),
           "Pack the flat policy at an address; allocates nothing.")
      .def("load", &load_array, py::arg("flat"), py::arg("initial_scale"), "Pack a flat policy.")
      .def("sample", &sample_arrays, py::arg("observation"), py::arg("noise"), py::arg("out"), py::arg("threads") = 1,
           "Map observation [S, B, O] and noise [S, B, A] ([S, K, B, A] if stochastic) to clipped actions out.")
      .def("sample_pointers", &sample_pointers, py::arg("observation"), py::arg("noise"), py::arg("out"),
           py::arg("rows"), py::arg("threads") = 1, "The same on the addresses of contiguous float32 arrays.")
      .def("act", &act, py::arg("observation"), py::arg("out"), py::arg("seed"), py::arg("step"),
           py::arg("threads") = 1,
           "Map observation [B, O] to out [B, A], noise drawn by counter: key = seed, stream ACT, row = k B + row.")
      .def("action", &action, py::arg("observation"), py::arg("seed"), py::arg("step"),
           "The action [A] of one observation [O], drawn as `act` draws it; None unless it is finite float32.")
      .def_property_readonly("count", [](const Sampler& s) { return s.flat().total; }, "Length of the flat policy.")
      .def_property_readonly("precision", [](const Sampler& s) { return kPrecisions[static_cast<int>(s.products())]; })
      .def_property_readonly("isa", [](const Sampler& s) { return s.kernels().name; });

  bind_random(m);
  bind_mlp(m);
  bind_losses(m);
  bind_update(m);
#if GTP_FAST_WITH_CUDA
  bind_cuda(m);
#endif
}
