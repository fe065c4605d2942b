#include "cpu/sampler.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/dispatch.hpp"
#include "cpu/team.hpp"

namespace gtp {
namespace {

constexpr size_t kAlignment = 64;

size_t align(size_t count) { return (count + 15) / 16 * 16; }

// Floats of one packed hidden weight. int8: four weights a float, after a scale and a start for each column.
size_t hidden_size(const PackedLayout& p) {
  const size_t inputs = p.shape.width, width = p.width;
  if (p.precision == Precision::kInt8) return ((inputs + 3) / 4 + 2) * width;
  return (p.precision == Precision::kBf16 ? (inputs + 1) / 2 : inputs) * width;
}

PackedLayout make_layout(const Shape& shape, const SamplerKernels& kernels, Precision precision) {
  const int lanes = kernels.lanes;
  PackedLayout p{};
  p.shape = shape;
  p.precision = precision;
  p.lanes = lanes;
  p.panel = 2 * lanes;
  p.width = (shape.width + p.panel - 1) / p.panel * p.panel;
  p.last_lanes = kernels.last_lanes;
  p.action = (shape.action + p.last_lanes - 1) / p.last_lanes * p.last_lanes;
  p.stride = p.width + 16;
  size_t next = 0;
  auto take = [&next](size_t count) {
    const size_t at = next;
    next += align(count);
    return at;
  };
  const size_t width = p.width;
  p.zeros = take(width);
  p.first_action = take(shape.action * width);
  p.first_observation = take(shape.observation * width);
  p.step_bias = take(shape.steps * width);
  p.hidden_weight_size = align(hidden_size(p));
  p.hidden_weight = take((shape.layers - 1) * p.hidden_weight_size);
  p.hidden_bias = take((shape.layers - 1) * width);
  p.last_weight = take(static_cast<size_t>(shape.width) * p.action);
  p.last_bias = take(p.action);
  p.seed_size = next;
  p.scratch = static_cast<size_t>(kBlockRows) * (3 * p.stride + 5 * p.action) + p.stride;
  return p;
}

// Each thread keeps its scratch between calls, so that an action allocates nothing.
float* thread_scratch(size_t count) {
  thread_local AlignedFloats buffer;
  thread_local size_t size = 0;
  if (size < count) {
    buffer = allocate_floats(count);
    size = count;
  }
  return buffer.get();
}

}  // namespace

void AlignedDelete::operator()(float* p) const { ::operator delete[](p, std::align_val_t(kAlignment)); }

AlignedFloats reserve_floats(size_t count) {
  return AlignedFloats(static_cast<float*>(::operator new[](count * sizeof(float), std::align_val_t(kAlignment))));
}

AlignedFloats allocate_floats(size_t count) {
  AlignedFloats floats = reserve_floats(count);
  std::memset(floats.get(), 0, count * sizeof(float));
  return floats;
}

Sampler::Sampler(const Shape& shape, Precision precision)
    : kernels_(select_sampler(precision)),
      layout_(make_layout(checked(shape), kernels_, precision)),
      flat_(shape) {}

void Sampler::pack_panels(const float* weight, int inputs, int outputs, int panel, float* to) const {
  for (int first = 0; first < outputs; first += panel)
    for (int i = 0; i < inputs; ++i, to += panel)
      std::memcpy(to, weight + static_cast<size_t>(i) * outputs + first,
                  std::min(panel, outputs - first) * sizeof(float));
}

void Sampler::load(const float* flat, float initial_scale) {
  const Shape& shape = layout_.shape;
  const size_t S = shape.seeds, A = shape.action, O = shape.observation, H = shape.width;
  PolicyParts parts;
  parts.first_action = {flat + flat_.first_action, A * H};
  parts.first_observation = {flat + flat_.first_observation, O * H};
  parts.step_bias = {flat + flat_.step_bias, shape.steps * H};
  for (int l = 0; l + 1 < shape.layers; ++l) {
    parts.hidden_weight.push_back({flat + flat_.hidden_weight + l * S * H * H, H * H});
    parts.hidden_bias.push_back({flat + flat_.hidden_bias + l * S * H, H});
  }
  parts.last_weight = {flat + flat_.last_weight, H * A};
  parts.last_bias = {flat + flat_.last_bias, A};
  parts.schedule = flat + flat_.schedule;
  load(parts, initial_scale);
}

void Sampler::load(const PolicyParts& parts, float initial_scale) {
  const size_t size = layout_.seed_size * layout_.shape.seeds;
  const size_t coefficients = StepSchedule::kFields * static_cast<size_t>(layout_.shape.steps);
  // Zeros: packing writes no padding.
  policies_.write([&] { return Policy{allocate_floats(size), allocate_floats(coefficients), 0.0f}; },
                  [&](Policy& policy) {
                    pack(parts, policy);
                    policy.initial_scale = initial_scale;
                  });
}

void Sampler::pack(const PolicyParts& parts, Policy& policy) const {
  const Shape& shape = layout_.shape;
  const size_t A = shape.action, H = shape.width, K = shape.steps;
  const int panel = layout_.panel;
  for (size_t s = 0; s < static_cast<size_t>(shape.seeds); ++s) {
    float* to = policy.packed.get() + s * layout_.seed_size;
    const auto of = [s](const PolicyField& field) { return field.data + s * field.stride; };
    pack_panels(of(parts.first_action), shape.action, shape.width, panel, to + layout_.first_action);
    pack_panels(of(parts.first_observation), shape.observation, shape.width, panel, to + layout_.first_observation);
    for (size_t k = 0; k < K; ++k)
      std::memcpy(to + layout_.step_bias + k * layout_.width, of(parts.step_bias) + k * H, H * sizeof(float));
    for (size_t l = 0; l < parts.hidden_weight.size(); ++l) {
      const float* weight = of(parts.hidden_weight[l]);
      float* packed = to + layout_.hidden_weight + l * layout_.hidden_weight_size;
      if (layout_.precision == Precision::kInt8)
        kernels_.pack_int8(weight, shape.width, shape.width, layout_.width, packed);
      else if (layout_.precision == Precision::kBf16)
        kernels_.pack_bfloat16(weight, shape.width, shape.width, packed);
      else
        pack_panels(weight, shape.width, shape.width, panel, packed);
      std::memcpy(to + layout_.hidden_bias + l * layout_.width, of(parts.hidden_bias[l]), H * sizeof(float));
    }
    pack_panels(of(parts.last_weight), shape.width, shape.action, layout_.last_lanes, to + layout_.last_weight);
    std::memcpy(to + layout_.last_bias, of(parts.last_bias), A * sizeof(float));
  }
  std::memcpy(policy.schedule.get(), parts.schedule, StepSchedule::kFields * K * sizeof(float));
}

void Sampler::run_blocks(const Task& task, const Policy& policy, int64_t first, int64_t last) const {
  const Shape& shape = layout_.shape;
  const StepSchedule schedule{policy.schedule.get(), shape.steps};
  const int64_t draw = task.rows * shape.action;
  float* scratch = thread_scratch(layout_.scratch);
  for (int64_t t = first; t < last; ++t) {
    const int64_t seed = t / task.blocks, block = t % task.blocks;
    const int64_t begin = task.rows * block / task.blocks, end = task.rows * (block + 1) / task.blocks;
    const int64_t row = seed * task.rows + begin;
    const float* rows =
        task.noise == nullptr ? nullptr : task.noise + seed * draws_of(shape) * draw + begin * shape.action;
    const Noise noise{rows, draw, task.key, task.step, begin, task.rows};
    kernels_.sample(layout_, policy.packed.get() + seed * layout_.seed_size, schedule, policy.initial_scale,
                    task.observation + row * shape.observation, noise, task.out + row * shape.action,
                    static_cast<int>(end - begin), scratch);
  }
}

void Sampler::run(const Task& task, int threads) const {
  const auto policy = policies_.read();
  if (!policy) throw std::logic_error("the sampler has no weights yet: call load first");
  const int64_t total = task.blocks * layout_.shape.seeds;
  const int64_t workers = std::max<int64_t>(1, std::min<int64_t>(threads, total));
  if (workers == 1) return run_blocks(task, *policy, 0, total);
  run_workers(static_cast<int>(workers),
              [&](int w) { run_blocks(task, *policy, total * w / workers, total * (w + 1) / workers); });
}

void Sampler::sample(const float* observation, const float* noise, float* out, int64_t rows, int threads) const {
  if (rows == 0) return;
  run({observation, noise, out, rows, 0, 0, (rows + kBlockRows - 1) / kBlockRows}, threads);
}

void Sampler::act(const float* observation, float* out, int64_t rows, uint64_t seed, uint32_t step,
                  int threads) const {
  if (layout_.shape.seeds != 1) throw std::invalid_argument("act is for a sampler of one seed");
  if (rows == 0) return;
  if (rows * draws_of(layout_.shape) >= int64_t{1} << 32) throw std::invalid_argument("the batch is too large");
  run({observation, nullptr, out, rows, seed, step, (rows + kBlockRows - 1) / kBlockRows}, threads);
}

}  // namespace gtp
