// Perturbation, losses and advantage weights for Python: addresses of contiguous float32 arrays.
#include <pybind11/stl.h>

#include <array>

#include "bindings/checks.hpp"
#include "cpu/loss.hpp"
#include "cpu/perturb.hpp"
#include "cpu/td.hpp"

namespace {

void perturb(const std::array<int, 3>& shape, const std::array<int, 3>& kinds, const std::array<float, 2>& scales,
             const std::array<uint64_t, 3>& counters, const std::array<uintptr_t, 5>& inputs,
             const std::array<uintptr_t, 7>& outputs) {
  if (static_cast<int64_t>(shape[0]) * shape[1] * shape[2] == 0) return;
  const gtp::PerturbOptions options{kinds[0] != 0,
                                    static_cast<gtp::Preconditioning>(kinds[1]),
                                    scales[0],
                                    scales[1],
                                    static_cast<uint32_t>(counters[0]),
                                    static_cast<uint32_t>(counters[1]),
                                    static_cast<uint32_t>(counters[2]),
                                    static_cast<gtp::ConsistencyWeight>(kinds[2])};
  float* out[7];
  for (int i = 0; i < 7; ++i) out[i] = pointer<float>(outputs[i], "an output");
  gtp::perturb({shape[0], shape[1], shape[2]}, options, pointer<const float>(inputs[0], "a"),
               pointer<const float>(inputs[1], "nodes"), reinterpret_cast<const int64_t*>(inputs[2]),
               pointer<const uint64_t>(inputs[3], "keys"), pointer<const float>(inputs[4], "z"),
               {out[0], out[1], out[2], out[3], out[4], out[5], out[6]});
}

void flow_map_loss(const std::array<int, 3>& shape, const std::array<uintptr_t, 12>& inputs, uintptr_t losses,
                   uintptr_t gradient) {
  if (static_cast<int64_t>(shape[0]) * shape[1] * shape[2] == 0) return;
  const float* p[12];
  for (int i = 0; i < 12; ++i) p[i] = pointer<const float>(inputs[i], "an input");
  float* to = pointer<float>(losses, "losses");
  gtp::flow_map_loss({shape[0], shape[1], shape[2]},
                     {p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11], nullptr}, to,
                     to + shape[0], pointer<float>(gradient, "gradient"));
}

void td_loss(const std::array<int, 4>& shape, float discount, const std::array<uintptr_t, 4>& inputs, uintptr_t loss,
             uintptr_t gradient) {
  if (static_cast<int64_t>(shape[0]) * shape[1] * shape[2] * shape[3] == 0) return;
  const float* p[4];
  for (int i = 0; i < 4; ++i) p[i] = pointer<const float>(inputs[i], "an input");
  gtp::td_loss({shape[0], shape[1], shape[2]}, {p[0], p[1], p[2], p[3], shape[3], discount},
               pointer<float>(loss, "loss"), pointer<float>(gradient, "gradient"));
}

void weigh(const std::array<int, 4>& shape, uintptr_t values, uintptr_t eta, float maximum, int scale,
           uintptr_t w, uintptr_t statistics) {
  if (static_cast<int64_t>(shape[0]) * shape[1] * shape[2] * shape[3] == 0) return;
  gtp::weigh({shape[0], shape[1], shape[2]}, pointer<const float>(values, "values"), shape[3],
             pointer<const float>(eta, "eta"), maximum, static_cast<gtp::AdvantageScale>(scale),
             pointer<float>(w, "w"), pointer<float>(statistics, "statistics"));
}

}  // namespace

void bind_losses(py::module_& m) {
  m.def("perturb", &perturb, py::arg("shape"), py::arg("kinds"), py::arg("scales"), py::arg("counters"),
        py::arg("inputs"), py::arg("outputs"),
        "Noise actions at times drawn by counter. shape: S, B, A; kinds: uniform u, preconditioning, weight of the "
        "consistency loss; scales: sigma, t_min; counters: nodes, step, stream; inputs: a, nodes, cdf or null, keys, z.");
  m.def("flow_map_loss", &flow_map_loss, py::arg("shape"), py::arg("inputs"), py::arg("losses"),
        py::arg("gradient"),
        "Consistency and flow loss [2, S], and the gradient of their sum with respect to the student.");
  m.def("td_loss", &td_loss, py::arg("shape"), py::arg("discount"), py::arg("inputs"), py::arg("loss"),
        py::arg("gradient"),
        "TD loss [S] of twin critics and its gradient [S, T, B]. shape: S, T, B, m; inputs: values, next values, "
        "reward, mask.");
  m.def("weigh", &weigh, py::arg("shape"), py::arg("values"), py::arg("eta"), py::arg("maximum"),
        py::arg("scale"), py::arg("w"), py::arg("statistics"),
        "Advantage weights [S, B] and their four statistics [4, S]. shape: S, T, B, m; scale: 0 std, 1 mad.");
}
