// Networks, Adam and the tally of metrics for Python: addresses of contiguous float32 arrays.
#include <tuple>

#include "bindings/layers.hpp"
#include "cpu/adam.hpp"
#include "cpu/bf16_kernels.hpp"
#include "cpu/dispatch.hpp"
#include "cpu/mlp_kernels.hpp"
#include "cpu/tally.hpp"

namespace {

gtp::MlpShape shape_of(int groups, int rows, std::vector<int> sizes, int activation, bool bf16, bool norm) {
  if (activation < 0 || activation > 2) throw py::value_error("there is no such activation");
  const auto kind = static_cast<gtp::Activation>(activation);
  const gtp::MlpShape shape{groups, rows, std::move(sizes), kind, bf16, norm};
  return gtp::checked(shape);
}

// Address, width, groups, rows.
using Part = std::tuple<uintptr_t, int, int, int>;

std::vector<gtp::Piece> pieces_of(const std::vector<Part>& parts, const gtp::MlpShape& shape) {
  std::vector<gtp::Piece> result;
  int width = 0;
  for (const auto& [address, columns, groups, rows] : parts) {
    if (columns < 1 || groups < 1 || rows < 1 || shape.groups % groups != 0 || shape.rows % rows != 0)
      throw py::value_error("a piece of the input does not fit its groups or rows");
    result.push_back({pointer<const float>(address, "a piece"), columns, groups, rows});
    width += columns;
  }
  if (width != shape.sizes[0]) throw py::value_error("the pieces of the input are not as wide as the first layer");
  return result;
}

// Address of a first row, and the distance between rows in floats.
using Rows = std::tuple<uintptr_t, size_t>;

void forward(const gtp::MlpShape& shape, const std::vector<Part>& x, const Layers& layers, const Rows& y,
             uintptr_t saved, int threads) {
  if (shape.groups == 0 || shape.rows == 0) return;
  const auto& parameters = layers.of(shape);
  const auto pieces = pieces_of(x, shape);
  const gtp::Output<float> to{pointer<float>(std::get<0>(y), "y"), std::get<1>(y)};
  const py::gil_scoped_release release;
  gtp::mlp_forward(shape, pieces, parameters, to, reinterpret_cast<float*>(saved), threads);
}

void backward(const gtp::MlpShape& shape, const Rows& dy, const Layers& layers, uintptr_t saved,
              const std::vector<Part>& x, const std::vector<uintptr_t>& dx, const Layers* gradients, int threads) {
  if (shape.groups == 0) return;
  const auto& parameters = layers.of(shape);
  const std::vector<gtp::LayerPointers> none;
  const auto& results = gradients ? gradients->of(shape) : none;
  std::vector<gtp::Piece> pieces;
  if (shape.rows > 0) pieces = pieces_of(x, shape);
  if (dx.size() != x.size()) throw py::value_error("one address of dx is needed for each piece of the input");
  std::vector<float*> inputs;
  for (const uintptr_t address : dx) inputs.push_back(reinterpret_cast<float*>(address));
  inputs.resize(pieces.size());
  gtp::Output<const float> error{nullptr, std::get<1>(dy)};
  const float* kept = nullptr;
  if (shape.rows > 0) {
    error.data = pointer<const float>(std::get<0>(dy), "dy");
    kept = pointer<const float>(saved, "saved");
  }
  const py::gil_scoped_release release;
  gtp::mlp_backward(shape, error, parameters, kept, pieces, inputs, results, threads);
}

void sinusoid(uintptr_t levels, size_t count, uintptr_t rates, int half, uintptr_t out) {
  if (count == 0) return;
  const float* from = pointer<const float>(levels, "levels");
  const float* rate = pointer<const float>(rates, "rates");
  float* to = pointer<float>(out, "out");
  const auto compute = gtp::select_mlp().sinusoid;
  for (int clock = 0; clock < 2; ++clock) compute(from + clock, count, rate, half, to + clock * count * 2 * half);
}

void adam(const std::array<uintptr_t, 5>& arrays, int seeds, size_t count, uintptr_t rate, double updates,
          const std::array<double, 2>& betas, double epsilon, double average_rate, double max_norm,
          double weight_decay, uintptr_t loss, double limit, uintptr_t diverged, uintptr_t norm, int threads) {
  if (seeds == 0) return;
  const gtp::AdamArrays all{pointer<float>(arrays[0], "parameter"), pointer<float>(arrays[2], "first"),
                            pointer<float>(arrays[3], "second"),    pointer<float>(arrays[4], "average"),
                            pointer<const float>(arrays[1], "gradient"), seeds, count};
  const float* rates = pointer<const float>(rate, "rate");
  const gtp::Health health{pointer<const float>(loss, "loss"), limit, pointer<int64_t>(diverged, "diverged")};
  float* norms = pointer<float>(norm, "norm");
  const py::gil_scoped_release release;
  gtp::adam_step(all, rates, updates, betas[0], betas[1], epsilon, average_rate, max_norm, weight_decay,
                 health, norms, threads);
}

void tally(uintptr_t metrics, const std::array<int, 3>& shape, uintptr_t limits, int64_t step, uintptr_t total,
             uintptr_t bad_step) {
  const auto [rows, losses, seeds] = shape;
  if (losses > rows) throw py::value_error("the losses are rows of the metrics");
  if (rows < 1 || seeds < 1) return;
  gtp::tally(pointer<const float>(metrics, "metrics"), rows, losses, seeds, pointer<const float>(limits, "limits"),
               step, pointer<float>(total, "total"), pointer<int64_t>(bad_step, "bad_step"));
}

}  // namespace

void bind_mlp(py::module_& m) {
  m.def("bf16", [] { const auto* found = gtp::select_bf16(); return found ? found->name : ""; },
        "Name of the instruction set that multiplies bf16 in training, or an empty string.");
  py::class_<gtp::MlpShape>(m, "MlpShape", "Groups, rows and layers of a multilayer perceptron.")
      .def(py::init(&shape_of), py::arg("groups"), py::arg("rows"), py::arg("sizes"), py::arg("activation"),
           py::arg("bf16") = false, py::arg("norm") = false,
           "sizes: input, hidden layers, output; activation: 0 mish, 1 relu, 2 gelu (tanh form); bf16: whether "
           "products read bf16; norm: whether a layer norm follows every activation.")
      .def_property_readonly("saved", &gtp::saved_size, "How many floats the forward pass saves.");
  py::class_<Layers>(m, "MlpLayers", "The parameters of a multilayer perceptron, or their gradients.")
      .def(py::init<const std::vector<LayerAddress>&>(), py::arg("layers"),
           "layers: of weight and bias, and of a norm's scale and shift, the address and the distance between groups "
           "in floats.");
  m.def("mlp_forward", &forward, py::arg("shape"), py::arg("x"), py::arg("layers"), py::arg("y"), py::arg("saved"),
        py::arg("threads") = 1,
        "y [G, B, out], an address and the distance between rows, of the pieces of x side by side; saves what the "
        "backward pass needs unless saved is 0.");
  m.def("mlp_backward", &backward, py::arg("shape"), py::arg("dy"), py::arg("layers"), py::arg("saved"), py::arg("x"),
        py::arg("dx"), py::arg("gradients"), py::arg("threads") = 1,
        "From dy [G, B, out], passed like y: the gradients of every layer unless that is None, and dx of each piece of "
        "x unless its address is 0.");
  m.def("sinusoid", &sinusoid, py::arg("levels"), py::arg("count"), py::arg("rates"), py::arg("half"), py::arg("out"),
        "Sines and cosines of two levels of each row, [count, 2] -> [2, count, 2 half].");
  m.def("adam", &adam, py::arg("arrays"), py::arg("seeds"), py::arg("count"), py::arg("rate"), py::arg("updates"),
        py::arg("betas"), py::arg("epsilon"), py::arg("average_rate"), py::arg("max_norm"), py::arg("weight_decay"),
        py::arg("loss"), py::arg("limit"), py::arg("diverged"), py::arg("norm"), py::arg("threads") = 1,
        "One step of Adam and of the moving average on parameter, gradient, first, second, average [S, P].");
  m.def("tally", &tally, py::arg("metrics"), py::arg("shape"), py::arg("limits"), py::arg("step"), py::arg("total"),
        py::arg("bad_step"),
        "Add metrics [n, S] to total; bad_step [losses, S] gets the first step at which a loss left its limit. shape: "
        "n, losses, S.");
}
