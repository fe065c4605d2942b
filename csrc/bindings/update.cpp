// The whole update of GTP for Python: addresses of contiguous arrays that must outlive it.
#include <pybind11/stl.h>

#include "bindings/layers.hpp"
#include "cpu/update.hpp"

namespace {

// Sizes of a network, then its parameters, gradients and moving average.
using Net = std::tuple<std::vector<int>, const Layers*, const Layers*, const Layers*>;
// Parameter, gradient, first, second, average [S, count]; count, rate of the average, largest loss, weight
// decay.
using Buffers = std::tuple<std::array<uintptr_t, 5>, size_t, double, double, double>;

gtp::Trained trained(const Net& net) {
  const auto& [sizes, online, gradient, average] = net;
  const int layers = static_cast<int>(gtp::checked({1, 1, sizes, gtp::Activation::kMish}).layers());
  return {sizes, online->of(layers), gradient->of(layers), average->of(layers)};
}

gtp::Learning learning(const Buffers& buffers, int seeds) {
  const auto& [arrays, count, rate, limit, decay] = buffers;
  return {{pointer<float>(arrays[0], "parameter"), pointer<float>(arrays[2], "first"),
           pointer<float>(arrays[3], "second"), pointer<float>(arrays[4], "average"),
           pointer<const float>(arrays[1], "gradient"), seeds, count},
          rate,
          limit,
          decay};
}

void check(const gtp::UpdateSettings& s, const gtp::Shape& sampler) {
  const auto need = [](bool holds, const char* what) {
    if (!holds) throw py::value_error(what);
  };
  const int embedding = 2 * s.clocks[0].sizes.back();
  need(s.seeds > 0 && s.rows > 0 && s.backups > 0 && s.values > 0, "an update needs seeds, rows and actions");
  need(s.clocks[0].sizes == s.clocks[1].sizes && s.clocks[0].sizes[0] % 2 == 0, "the two clocks must be alike");
  need(s.actor.sizes[0] == s.action + embedding + s.observation && s.actor.sizes.back() == s.action,
       "the actor does not fit the observation and the action");
  need(s.critic.sizes[0] == s.observation + s.action && s.critic.sizes.back() == 1,
       "the critic does not fit the observation and the action");
  need(sampler.seeds == s.seeds && sampler.observation == s.observation && sampler.action == s.action &&
           sampler.width == s.actor.sizes[1] && sampler.layers + 2 == static_cast<int>(s.actor.sizes.size()) &&
           !sampler.form.stochastic,
       "the sampler does not fit the actor");
}

std::unique_ptr<gtp::Update> make(gtp::Sampler& sampler, const std::array<int, 6>& shape, bool clones, bool bf16,
                                  const std::array<Net, 4>& nets, const std::array<Buffers, 2>& buffers,
                                  const std::array<double, 4>& optimiser, const std::array<double, 5>& numbers,
                                  const std::array<int, 4>& kinds, const std::array<uint32_t, 5>& streams,
                                  const std::array<uintptr_t, 9>& addresses) {
  gtp::UpdateSettings s{};
  s.seeds = shape[0], s.observation = shape[1], s.action = shape[2], s.rows = shape[3];
  s.backups = shape[4], s.values = shape[5], s.clones = clones, s.bf16 = bf16;
  s.actor = trained(nets[0]), s.critic = trained(nets[3]);
  for (int clock = 0; clock < 2; ++clock) s.clocks[clock] = trained(nets[1 + clock]);
  s.actor_learning = learning(buffers[0], s.seeds), s.critic_learning = learning(buffers[1], s.seeds);
  s.first_beta = optimiser[0], s.second_beta = optimiser[1], s.epsilon = optimiser[2], s.max_norm = optimiser[3];
  s.discount = static_cast<float>(numbers[0]), s.weight_maximum = static_cast<float>(numbers[1]);
  s.sigma = static_cast<float>(numbers[2]), s.t_min = static_cast<float>(numbers[3]);
  s.initial_scale = static_cast<float>(numbers[4]);
  s.uniform = kinds[0] != 0, s.kind = static_cast<gtp::Preconditioning>(kinds[1]);
  s.weight = static_cast<gtp::ConsistencyWeight>(kinds[2]);
  s.advantage_scale = static_cast<gtp::AdvantageScale>(kinds[3]), s.streams = streams;
  s.eta = pointer<const float>(addresses[0], "eta"), s.share = pointer<const float>(addresses[1], "share");
  s.nodes = pointer<const float>(addresses[2], "nodes"), s.cdf = reinterpret_cast<const int64_t*>(addresses[3]);
  s.keys = pointer<const uint64_t>(addresses[4], "keys"), s.diverged = pointer<int64_t>(addresses[5], "diverged");
  s.levels = pointer<const float>(addresses[6], "levels"), s.schedule = pointer<const float>(addresses[7], "schedule");
  s.sine_rates = pointer<const float>(addresses[8], "rates");
  check(s, sampler.shape());
  return std::make_unique<gtp::Update>(s, sampler);
}

void run(gtp::Update& update, uintptr_t table, uintptr_t lots, uint32_t count, const std::array<int, 2>& widths,
         uint64_t step, uint32_t num_nodes, const std::array<uintptr_t, 2>& rates, double decay, uintptr_t metrics,
         int threads) {
  if (count == 0) throw py::value_error("there is nothing to draw from");
  const gtp::TransitionRows rows{pointer<const float>(table, "table"), count, widths[0], widths[1],
                                 reinterpret_cast<const uint64_t*>(lots)};
  const gtp::UpdateInputs now{step, num_nodes, pointer<const float>(rates[0], "rate"),
                        pointer<const float>(rates[1], "critic rate"), static_cast<float>(decay)};
  float* const to = pointer<float>(metrics, "metrics");
  const py::gil_scoped_release release;
  update.run(rows, now, to, threads);
}

}  // namespace

void bind_update(py::module_& m) {
  py::class_<gtp::Update>(m, "Update", "A whole update of GTP on the CPU.")
      .def(py::init(&make), py::keep_alive<1, 2>(), py::arg("sampler"), py::arg("shape"), py::arg("clones"),
           py::arg("bf16"), py::arg("nets"), py::arg("buffers"), py::arg("optimiser"), py::arg("numbers"),
           py::arg("kinds"), py::arg("streams"), py::arg("addresses"),
           "shape: S, O, A, B, actions for the target, actions for V(s); bf16: whether products read bf16; nets: "
           "actor, both clocks, critic; buffers: actor, critic; optimiser: betas, epsilon, largest norm; numbers: "
           "discount, largest weight, sigma, t_min, initial scale; kinds: uniform u, preconditioning, weight of the "
           "consistency loss, scale of A; streams: batch, target, value, time, noise; addresses: eta, share, nodes, cdf or null, keys, diverged, levels, schedule, "
           "rates.")
      .def("run", &run, py::arg("table"), py::arg("lots"), py::arg("count"), py::arg("widths"), py::arg("step"),
           py::arg("num_nodes"), py::arg("rates"), py::arg("decay"), py::arg("metrics"), py::arg("threads") = 1,
           "Do update number `step` from a table of `count` rows and its lots (0: none); metrics [9, S]; rates: "
           "addresses of the actor's and the critic's learning rates [S], multiplied by `decay`.")
      .def_property_readonly("spent", &gtp::Update::spent,
                             "Seconds spent so far in sampler, networks forward and backward, and optimiser.");
}
