// The CUDA sampler and critics on the host, for tests without a GPU: the same source that nvcc compiles.
#include <memory>

#include "cuda/choice.hpp"
#include "cuda/critics.cu"
#include "cuda/sampler.cu"

namespace {

// Packs the weights of a policy into units, which are zero before.
void pack(const gtp::CudaArguments& p, uint4* units) {
  const gtp::PackKernel kernel = gtp::pack_kernel_of(p.precision);
  run_grid(reinterpret_cast<const void*>(kernel), {3, static_cast<unsigned>(p.shape.seeds)}, gtp::kPackThreads, 1, 0,
           [&] { kernel(p, units); });
}

gtp::Shape shape_of(const int* sizes) {
  return {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5],
          {static_cast<gtp::Activation>(sizes[6]), sizes[7] != 0, sizes[8] != 0, sizes[9] != 0}};
}

}  // namespace

// sizes: those of Shape, then the form's activation, clamp, stochastic and squash. path, precision: numbers of their
// enumerations. policy: padded as by CudaSampler::load. Returns 0; 1 if threads wait for others in vain, write past the
// shared memory that they asked for or send to a block that has ended; 2 if there is no such kernel.
extern "C" int gtp_emulate(int path, int rows_of_plan, int precision, const int* sizes, const float* policy,
                           float initial_scale, const float* observation, const float* noise, float* out, int rows) {
  const gtp::CudaPlan plan{static_cast<gtp::CudaPath>(path), rows_of_plan};
  gtp::CudaArguments p = gtp::cuda_arguments(shape_of(sizes), static_cast<gtp::Precision>(precision));
  const gtp::CudaKernel kernel = gtp::kernel_of(p, plan);
  if (kernel == nullptr) return 2;
  p.policy = policy;
  p.initial_scale = initial_scale;
  const std::unique_ptr<uint4[]> units(new uint4[p.units_layout.size]());
  const unsigned seeds = static_cast<unsigned>(sizes[0]);
  pack(p, units.get());
  p.units = units.get();
  p.observation = observation;
  p.noise = noise;
  p.out = out;
  p.rows = rows;
  const int blocks = gtp::blocks_of(plan);
  const unsigned tiles = static_cast<unsigned>((rows + plan.rows - 1) / plan.rows);
  const size_t bytes = gtp::shared_bytes_of(p, plan);
  const void* const address = reinterpret_cast<const void*>(kernel);
  emulation::shared_of[address] = bytes;
  return run_grid(address, {tiles * blocks, seeds}, gtp::threads_of(plan), blocks, bytes, [&] { kernel(p); }) != 0;
}

// CudaSampler itself, on a card with the given multiprocessors, bytes of shared memory for a block, and capability
// (90 for 9.0). policy: flat. number: of a plan, -1 for the one chosen. Returns how many plans the card has; 0 with the
// error in text [200].
extern "C" int gtp_sample(const int* card, int precision, const int* sizes, const float* policy, float initial_scale,
                          const float* observation, const float* noise, float* out, int64_t rows, int number,
                          char* text) {
  emulation::card = {card[0], card[1], card[2]};
  emulation::shared_of.clear();
  try {
    gtp::CudaSampler sampler(shape_of(sizes), static_cast<gtp::Precision>(precision));
    sampler.load(policy, initial_scale, nullptr);
    const std::vector<gtp::CudaPlan> plans = sampler.plans();
    sampler.sample(observation, noise, out, rows, nullptr, number < 0 ? sampler.plan(rows) : plans.at(number));
    return static_cast<int>(plans.size());
  } catch (const std::exception& error) {
    text[std::string(error.what()).copy(text, 199)] = '\0';
    return 0;
  }
}

// Samples three times on a card as in gtp_sample: from a padded policy with its weights packed in `units`, from the
// padded policy alone, which the sampler packs itself, and from the flat policy. Each input is overwritten once it has
// been used. out: the three samples, one after another.
extern "C" int gtp_take(const int* card, int precision, const int* sizes, float* padded, void* units, const float* flat,
                        float initial_scale, const float* observation, const float* noise, float* out, int64_t rows,
                        int number, char* text) {
  emulation::card = {card[0], card[1], card[2]};
  emulation::shared_of.clear();
  try {
    const gtp::Shape shape = shape_of(sizes);
    gtp::CudaSampler sampler(shape, static_cast<gtp::Precision>(precision));
    const std::vector<gtp::CudaPlan> plans = sampler.plans();
    const gtp::CudaPlan plan = number < 0 ? sampler.plan(rows) : plans.at(number);
    const auto sample = [&](int which) {
      sampler.sample(observation, noise, out + which * shape.seeds * rows * shape.action, rows, nullptr, plan);
    };
    sampler.take(padded, initial_scale, rows, nullptr, units);
    sample(0);
    std::memset(units, 0xff, sampler.packed());
    sampler.take(padded, initial_scale, rows, nullptr, nullptr);
    sample(1);
    std::memset(padded, 0xff, sampler.padded().total * sizeof(float));
    sampler.load(flat, initial_scale, nullptr);
    sample(2);
    return static_cast<int>(plans.size());
  } catch (const std::exception& error) {
    text[std::string(error.what()).copy(text, 199)] = '\0';
    return 0;
  }
}

// Packs a policy, as gtp_emulate takes it, into units, which are zero before; returns their bytes. Null: packs nothing.
extern "C" int64_t gtp_pack(int precision, const int* sizes, const float* policy, void* units) {
  gtp::CudaArguments p = gtp::cuda_arguments(shape_of(sizes), static_cast<gtp::Precision>(precision));
  p.policy = policy;
  if (units != nullptr) pack(p, static_cast<uint4*>(units));
  return static_cast<int64_t>(p.units_layout.size * sizeof(uint4));
}

// The choice for a batch on a device with the given multiprocessors, bytes of shared memory for a block and resident
// clusters of each plan that fits, or as many pairs as their blocks make. Writes path, rows and whether the plan fits,
// and the description into text [200].
extern "C" void gtp_choose(int multiprocessors, int shared_limit, int clusters, int precision, const int* sizes,
                           int64_t rows, int* chosen, char* text) {
  gtp::CudaDevice device{multiprocessors, static_cast<size_t>(shared_limit), {}};
  const gtp::Precision asked = static_cast<gtp::Precision>(precision);
  const gtp::CudaArguments p = gtp::cuda_arguments(shape_of(sizes), gtp::served(device, shape_of(sizes), asked));
  const gtp::CudaPlans plans = gtp::cluster_plans(p.precision);
  for (int i = 0; i < plans.count; ++i) {
    const int most = clusters * gtp::kClusterBlocks / gtp::blocks_of(plans.all[i]);
    device.clusters[i] = gtp::fits(device, p, plans.all[i]) ? most : 0;
  }
  const gtp::CudaPlan plan = gtp::choose(device, p, rows);
  chosen[0] = static_cast<int>(plan.path);
  chosen[1] = plan.rows;
  chosen[2] = gtp::fits(device, p, plan);
  const std::string words = gtp::describe(plan, p.precision, asked);
  text[words.copy(text, 199)] = '\0';
}

// CudaCritics on a card as in gtp_sample. sizes: those of CriticsShape, then the seeds. Returns the clusters that the
// card holds at once; 0 with the error in text [200].
extern "C" int gtp_critics(const int* card, const int* sizes, int64_t rows, float discount, const uintptr_t* addresses,
                           const int64_t* strides, char* text) {
  emulation::card = {card[0], card[1], card[2]};
  emulation::shared_of.clear();
  try {
    const gtp::CudaCritics critics({sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]});
    gtp::CriticsAddresses at;
    gtp::CriticsStrides stride;
    std::copy_n(addresses, at.size(), at.begin());
    std::copy_n(strides, stride.size(), stride.begin());
    critics.run(gtp::critics_arguments(sizes[5], rows, discount, at, stride), nullptr);
    return critics.clusters();
  } catch (const std::exception& error) {
    text[std::string(error.what()).copy(text, 199)] = '\0';
    return 0;
  }
}
