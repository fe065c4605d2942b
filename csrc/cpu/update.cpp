#include "cpu/update.hpp"

#include <algorithm>
#include <cstring>

#include "cpu/dispatch.hpp"
#include "cpu/mlp_kernels.hpp"
#include "cpu/stopwatch.hpp"
#include "cpu/team.hpp"

namespace gtp {
namespace {

// Copies to[s] <- from[s] for every seed, `count` floats each; the strides are the distances between seeds.
void copy_seeds(int seeds, size_t count, float* to, size_t to_stride, const float* from, size_t from_stride) {
  for (int s = 0; s < seeds; ++s) std::memcpy(to + s * to_stride, from + s * from_stride, count * sizeof(float));
}

enum Stream { kBatch, kTarget, kValue, kTime, kNoise };

}  // namespace

float* Update::floats(size_t count) {
  // Not initialised: an agent that another process trains takes no memory here.
  memory_.push_back(reserve_floats(count));
  return memory_.back().get();
}

MlpShape Update::shape_of(const Trained& network, int groups, int rows) const {
  return {groups, rows, network.sizes, Activation::kMish, s_.bf16};
}

Update::Update(const UpdateSettings& settings, Sampler& sampler) : s_(settings), sampler_(sampler) {
  const int S = s_.seeds, B = s_.rows, K = sampler.shape().steps, m = s_.backups, n = s_.values;
  const int features = s_.clocks[0].sizes[0], width = s_.actor.sizes[1];
  const size_t O = s_.observation, A = s_.action, rows = static_cast<size_t>(S) * B;
  const size_t sampled = static_cast<size_t>(S) * (m + n) * B;
  embedding_width_ = 2 * s_.clocks[0].sizes.back();
  student_ = shape_of(s_.actor, S, 2 * B);
  teacher_ = shape_of(s_.actor, S, B);
  critic_ = shape_of(s_.critic, 2 * S, B);
  next_critic_ = shape_of(s_.critic, 2 * S, m * B);
  both_critic_ = shape_of(s_.critic, 2 * S, (1 + n) * B);
  sampler_pass_ = shape_of(s_.actor, S, (m + n) * B);
  bias_pass_ = {S, K, {embedding_width_, width}, Activation::kMish};
  const LayerPointers& first = s_.actor.average[0];
  first_of_embedding_.push_back({first.weight + A * width, first.bias, first.weight_stride, first.bias_stride});

  observation_ = floats(rows * O), next_observation_ = floats(rows * O), action_ = floats(rows * A);
  reward_ = floats(rows), mask_ = floats(rows), w_ = floats(rows);
  states_ = floats(sampled * O), noise_ = floats(sampled * A), sampled_ = floats(sampled * A);
  next_action_ = floats(rows * m * A), all_actions_ = floats(rows * (1 + n) * A);
  next_values_ = floats(2 * rows * m), values_ = floats(2 * rows), values_gradient_ = floats(2 * rows);
  all_values_ = floats(2 * rows * (1 + n)), critic_saved_ = floats(s_.clones ? 0 : saved_size(critic_));
  fields_ = floats(kRowFields * rows), z_ = floats(rows * A), a_t_ = floats(rows * A), a_u_ = floats(rows * A);
  student_x_ = floats(2 * rows * A), student_levels_ = floats(4 * rows);
  teacher_x_ = floats(rows * A), teacher_levels_ = floats(2 * rows);
  const size_t embedding = embedding_width_;
  scaled_ = floats(sampled * A), output_ = floats(sampled * A), embedding_now_ = floats(S * embedding);
  step_embedding_ = floats(S * K * embedding), step_bias_ = floats(static_cast<size_t>(S) * K * width);
  student_embedding_ = floats(2 * rows * embedding), embedding_gradient_ = floats(2 * rows * embedding);
  teacher_embedding_ = floats(rows * embedding);
  student_out_ = floats(2 * rows * A), student_gradient_ = floats(2 * rows * A), teacher_out_ = floats(rows * A);
  student_saved_ = floats(saved_size(student_)), loss_ = floats(S), rate_ = floats(S);

  const auto prepare = [&](ClockPass& pass, int of, bool saves) {
    pass.shape.groups = S, pass.shape.rows = of, pass.shape.sizes = s_.clocks[0].sizes;
    pass.sines = floats(2 * static_cast<size_t>(S) * of * features);
    for (float*& saved : pass.saved) saved = saves ? floats(saved_size(pass.shape)) : nullptr;
  };
  prepare(sampler_clocks_, K, false), prepare(teacher_clocks_, B, false), prepare(student_clocks_, 2 * B, true);
  const size_t block = static_cast<size_t>(K) * features;
  // Every seed's sampler has the same times.
  for (int clock = 0; clock < 2; ++clock)
    for (int s = 0; s < S; ++s)
      select_mlp().sinusoid(s_.levels + clock, K, s_.sine_rates, features / 2,
                            sampler_clocks_.sines + (clock * S + s) * block);
}

void Update::forward(const MlpShape& shape, const std::vector<Piece>& x, const std::vector<LayerPointers>& layers,
                     float* y, size_t stride, float* saved) {
  const Stopwatch watch(spent_[kForward]);
  mlp_forward(shape, x, layers, {y, stride}, saved, threads_);
}

void Update::backward(const MlpShape& shape, const float* dy, size_t stride, const Trained& network,
                      const float* saved, const std::vector<Piece>& x, const std::vector<float*>& dx) {
  const Stopwatch watch(spent_[kBackward]);
  mlp_backward(shape, {dy, stride}, network.online, saved, x, dx, network.gradient, threads_);
}

void Update::descend(const Learning& learning, const float* rate, const float* loss, const UpdateInputs& now,
                     float* norm) {
  const Stopwatch watch(spent_[kOptimiser]);
  for (int s = 0; s < s_.seeds; ++s) rate_[s] = now.decay * rate[s];
  adam_step(learning.arrays, rate_, static_cast<double>(now.step + 1), s_.first_beta, s_.second_beta, s_.epsilon,
            learning.average_rate, s_.max_norm, learning.weight_decay, {loss, learning.limit, s_.diverged}, norm,
            threads_);
}

void Update::draw(const TransitionRows& table, const UpdateInputs& now) {
  const uint32_t step = static_cast<uint32_t>(now.step);
  const auto normals = select_sampler(Precision::kFp32).normals;
  const size_t B = s_.rows, A = s_.action, O = s_.observation;
  const size_t ahead = s_.backups * B, behind = s_.values * B, both = ahead + behind;
  gather(table, s_.keys, s_.seeds, step, s_.streams[kBatch], s_.rows,
         {observation_, action_, reward_, next_observation_, mask_});
  for (int s = 0; s < s_.seeds; ++s) {
    normals(s_.keys[s], step, s_.streams[kNoise], 0, s_.rows, s_.action, z_ + s * B * A);
    if (s_.clones) continue;
    float* const noise = noise_ + s * both * A;
    normals(s_.keys[s], step, s_.streams[kTarget], 0, ahead, s_.action, noise);
    normals(s_.keys[s], step, s_.streams[kValue], 0, behind, s_.action, noise + ahead * A);
    for (int i = 0; i < s_.backups + s_.values; ++i)
      std::memcpy(states_ + (s * both + i * B) * O, (i < s_.backups ? next_observation_ : observation_) + s * B * O,
                  B * O * sizeof(float));
  }
}

void Update::embed(const ClockPass& pass, bool average, float* embedding) {
  const int S = s_.seeds, rows = pass.shape.rows, features = pass.shape.sizes[0], half = embedding_width_ / 2;
  for (int clock = 0; clock < 2; ++clock) {
    const float* const sines = pass.sines + static_cast<size_t>(clock) * S * rows * features;
    const Trained& network = s_.clocks[clock];
    forward(pass.shape, {{sines, features, S, rows}}, average ? network.average : network.online,
            embedding + clock * half, embedding_width_, pass.saved[clock]);
  }
}

void Update::sample() {
  const int S = s_.seeds, K = sampler_clocks_.shape.rows, H = s_.actor.sizes[1], layers = sampler_.shape().layers;
  const auto& of = s_.actor.average;
  forward(bias_pass_, {{step_embedding_, embedding_width_, S, K}}, first_of_embedding_, step_bias_, H, nullptr);
  const Stopwatch watch(spent_[kSampler]);
  PolicyParts parts;
  parts.first_action = {of[0].weight, of[0].weight_stride};
  parts.first_observation = {of[0].weight + static_cast<size_t>(s_.action + embedding_width_) * H, of[0].weight_stride};
  parts.step_bias = {step_bias_, static_cast<size_t>(K) * H};
  for (int l = 1; l < layers; ++l) {
    parts.hidden_weight.push_back({of[l].weight, of[l].weight_stride});
    parts.hidden_bias.push_back({of[l].bias, of[l].bias_stride});
  }
  parts.last_weight = {of[layers].weight, of[layers].weight_stride};
  parts.last_bias = {of[layers].bias, of[layers].bias_stride};
  parts.schedule = s_.schedule;
  sampler_.load(parts, s_.initial_scale);
  sampler_.sample(states_, noise_, sampled_, sampler_pass_.rows, threads_);
}

void Update::sample_bf16() {
  const int S = s_.seeds, K = sampler_clocks_.shape.rows, A = s_.action, rows = sampler_pass_.rows;
  const size_t count = static_cast<size_t>(S) * rows * A, width = embedding_width_;
  const Stopwatch watch(spent_[kSampler]);
  const std::vector<Piece> x{
      {scaled_, A, S, rows}, {embedding_now_, embedding_width_, S, 1}, {states_, s_.observation, S, rows}};
  for (size_t i = 0; i < count; ++i) sampled_[i] = s_.initial_scale * noise_[i];
  for (int k = 0; k < K; ++k) {
    const StepCoefficients step = coefficients_of({s_.schedule, K}, k);
    for (size_t i = 0; i < count; ++i) scaled_[i] = step.input_scale * sampled_[i];
    copy_seeds(S, width, embedding_now_, width, step_embedding_ + k * width, K * width);
    mlp_forward(sampler_pass_, x, s_.actor.average, {output_, static_cast<size_t>(A)}, nullptr, threads_);
    for (size_t i = 0; i < count; ++i) {
      const float phi = step.skip * sampled_[i] + step.out * output_[i];
      sampled_[i] = step.keep * sampled_[i] + step.gain * phi;
    }
  }
  for (size_t i = 0; i < count; ++i) sampled_[i] = clip_action(sampled_[i]);
}

void Update::critic_step(const UpdateInputs& now, float* metrics) {
  const int S = s_.seeds, B = s_.rows, m = s_.backups, O = s_.observation, A = s_.action;
  forward(next_critic_, {{next_observation_, O, S, B}, {next_action_, A, S, m * B}}, s_.critic.average, next_values_, 1,
          nullptr);
  const std::vector<Piece> x{{observation_, O, S, B}, {action_, A, S, B}};
  forward(critic_, x, s_.critic.online, values_, 1, critic_saved_);
  td_loss({S, 2, B}, {values_, next_values_, reward_, mask_, m, s_.discount}, metrics, values_gradient_);
  backward(critic_, values_gradient_, 1, s_.critic, critic_saved_, x, {nullptr, nullptr});
  descend(s_.critic_learning, now.critic_rate, metrics, now, metrics + kCriticNorm * S);
}

void Update::weigh_batch(float* statistics) {
  const int S = s_.seeds, B = s_.rows, n = s_.values;
  forward(both_critic_, {{observation_, s_.observation, S, B}, {all_actions_, s_.action, S, (1 + n) * B}},
          s_.critic.online, all_values_, 1, nullptr);
  weigh({S, 2, B}, all_values_, n, s_.eta, s_.weight_maximum, s_.advantage_scale, w_, statistics);
}

void Update::actor_step(const UpdateInputs& now, float* metrics) {
  const int S = s_.seeds, B = s_.rows, O = s_.observation, A = s_.action;
  const size_t plane = static_cast<size_t>(S) * B;
  const PerturbOptions options{s_.uniform, s_.kind, s_.sigma, s_.t_min, now.num_nodes, static_cast<uint32_t>(now.step),
                               s_.streams[kTime], s_.weight};
  perturb({S, B, A}, options, action_, s_.nodes, s_.cdf, s_.keys, z_,
          {fields_, a_t_, a_u_, student_x_, student_levels_, teacher_x_, teacher_levels_});
  const auto sines = [&](const ClockPass& pass, const float* levels) {
    const int features = pass.shape.sizes[0];
    const size_t count = static_cast<size_t>(S) * pass.shape.rows;
    for (int clock = 0; clock < 2; ++clock)
      select_mlp().sinusoid(levels + clock, count, s_.sine_rates, features / 2, pass.sines + clock * count * features);
  };
  sines(teacher_clocks_, teacher_levels_);
  sines(student_clocks_, student_levels_);
  embed(teacher_clocks_, true, teacher_embedding_);
  forward(teacher_, {{teacher_x_, A, S, B}, {teacher_embedding_, embedding_width_, S, B}, {observation_, O, S, B}},
          s_.actor.average, teacher_out_, A, nullptr);
  embed(student_clocks_, false, student_embedding_);
  const std::vector<Piece> x{
      {student_x_, A, S, 2 * B}, {student_embedding_, embedding_width_, S, 2 * B}, {observation_, O, S, B}};
  forward(student_, x, s_.actor.online, student_out_, A, student_saved_);
  const auto field = [&](RowField i) { return fields_ + i * plane; };
  float *const consistency = metrics + kConsistency * S, *const flow = metrics + kFlow * S;
  flow_map_loss({S, B, A},
                {student_out_, teacher_out_, action_, a_t_, a_u_, field(kQT), field(kQU), field(kSkipT),
                 field(kOutT), field(kSkipU), field(kOutU), w_, s_.share},
                consistency, flow, student_gradient_);
  backward(student_, student_gradient_, A, s_.actor, student_saved_, x, {nullptr, embedding_gradient_, nullptr});
  const MlpShape& clocks = student_clocks_.shape;
  for (int clock = 0; clock < 2; ++clock)
    backward(clocks, embedding_gradient_ + clock * (embedding_width_ / 2), embedding_width_, s_.clocks[clock],
             student_clocks_.saved[clock],
             {{student_clocks_.sines + clock * 2 * plane * clocks.sizes[0], clocks.sizes[0], S, 2 * B}}, {nullptr});
  for (int s = 0; s < S; ++s) loss_[s] = consistency[s] + s_.share[s] * flow[s];
  descend(s_.actor_learning, now.actor_rate, loss_, now, metrics + kActorNorm * S);
}

void Update::run(const TransitionRows& table, const UpdateInputs& now, float* metrics, int threads) {
  const int S = s_.seeds;
  const size_t B = s_.rows, A = s_.action, ahead = s_.backups * B * A, behind = s_.values * B * A;
  threads_ = at_most_cores(threads);
  const Team team(threads_);
  draw(table, now);
  if (s_.clones) {
    std::fill(w_, w_ + S * B, 1.0f);
    std::fill(metrics, metrics + kMetrics * S, 0.0f);
    std::fill(metrics + kMeanWeight * S, metrics + (kLargestWeight + 1) * S, 1.0f);
  } else {
    embed(sampler_clocks_, true, step_embedding_);
    s_.bf16 ? sample_bf16() : sample();
    copy_seeds(S, ahead, next_action_, ahead, sampled_, ahead + behind);
    copy_seeds(S, B * A, all_actions_, B * A + behind, action_, B * A);
    copy_seeds(S, behind, all_actions_ + B * A, B * A + behind, sampled_ + ahead, ahead + behind);
    critic_step(now, metrics);
    weigh_batch(metrics + kMeanQ * S);
  }
  actor_step(now, metrics);
}

}  // namespace gtp
