// A whole update of GTP on the CPU: Algorithm 1 as a fixed sequence of this folder's passes on its own buffers, in one
// call of Python. Each pass is documented in its own file.
#pragma once

#include <array>
#include <vector>

#include "cpu/adam.hpp"
#include "cpu/gather.hpp"
#include "cpu/loss.hpp"
#include "cpu/mlp.hpp"
#include "cpu/sampler.hpp"
#include "cpu/td.hpp"

namespace gtp {

// A trained perceptron of every seed, or of every twin of every seed: its parameters, gradients, moving average.
struct Trained {
  std::vector<int> sizes;  // input, hidden layers, output
  std::vector<LayerPointers> online, gradient, average;
};

// The optimiser's buffers, rate of the moving average, largest sound loss and weight decay, for networks that share one
// buffer.
struct Learning {
  AdamArrays arrays;
  double average_rate, limit, weight_decay;
};

struct UpdateSettings {
  int seeds, observation, action, rows;
  int backups, values;  // next actions for each s', and actions in the mean V(s)
  bool clones;          // every weight is 1, and no critic is trained
  bool bf16;            // products of actor, critic and sampler read bf16; clocks stay float32
  Trained actor, clocks[2], critic;
  Learning actor_learning, critic_learning;
  double first_beta, second_beta, epsilon, max_norm;
  float discount, weight_maximum;
  AdvantageScale advantage_scale;
  const float *eta, *share;  // [S]; share: weight of the flow loss
  bool uniform;              // this and the next four: PerturbOptions
  Preconditioning kind;
  ConsistencyWeight weight;
  float sigma, t_min;
  const float* nodes;
  const int64_t* cdf;  // see `perturb`
  const uint64_t* keys;
  int64_t* diverged;
  // The sampler's time levels [K, 2], the coefficients of its steps [7, K], and the scale of z_0.
  const float *levels, *schedule;
  float initial_scale;
  const float* sine_rates;          // frequencies of the time embedding
  std::array<uint32_t, 5> streams;  // of random numbers: batch, target, value, time, noise
};

// The inputs that change from update to update: its number, learning rates [S] and the factor `decay` on them.
struct UpdateInputs {
  uint64_t step;
  uint32_t num_nodes;
  const float *actor_rate, *critic_rate;
  float decay;
};

// The rows of the metrics; std A is that of the advantages, norms are those of gradients.
enum Metric {
  kCriticLoss, kConsistency, kFlow, kMeanQ, kStdA, kMeanWeight, kLargestWeight, kActorNorm, kCriticNorm, kMetrics
};

class Update {
 public:
  // Every update loads the sampler with the actor's moving average; with bf16 products the actor's own passes sample
  // instead. The sampler must outlive this.
  Update(const UpdateSettings& settings, Sampler& sampler);

  // Do one update; writes metrics [kMetrics, S].
  void run(const TransitionRows& table, const UpdateInputs& now, float* metrics, int threads);

  enum Part { kSampler, kForward, kBackward, kOptimiser, kParts };
  // Seconds spent in each part so far.
  const std::array<double, kParts>& spent() const { return spent_; }

 private:
  // A pass of both clocks over the same rows.
  struct ClockPass {
    MlpShape shape;
    float *sines, *saved[2];  // saved: null if no gradient is taken
  };

  float* floats(size_t count);
  MlpShape shape_of(const Trained& network, int groups, int rows) const;
  void draw(const TransitionRows& table, const UpdateInputs& now);
  void sample();
  void sample_bf16();
  void critic_step(const UpdateInputs& now, float* metrics);
  void weigh_batch(float* statistics);
  void actor_step(const UpdateInputs& now, float* metrics);
  void embed(const ClockPass& pass, bool average, float* embedding);
  void forward(const MlpShape& shape, const std::vector<Piece>& x, const std::vector<LayerPointers>& layers, float* y,
               size_t stride, float* saved);
  void backward(const MlpShape& shape, const float* dy, size_t stride, const Trained& network, const float* saved,
                const std::vector<Piece>& x, const std::vector<float*>& dx);
  void descend(const Learning& learning, const float* rate, const float* loss, const UpdateInputs& now, float* norm);

  const UpdateSettings s_;
  Sampler& sampler_;
  int threads_ = 1;
  std::array<double, kParts> spent_{};
  std::vector<AlignedFloats> memory_;
  int embedding_width_;
  std::vector<LayerPointers> first_of_embedding_;  // the rows of the actor's first layer that read the time embedding
  MlpShape student_, teacher_, sampler_pass_, bias_pass_, critic_, next_critic_, both_critic_;
  ClockPass sampler_clocks_, student_clocks_, teacher_clocks_;
  // The batch; states, noise and actions of the sampler's two batches, s' first.
  float *observation_, *action_, *reward_, *next_observation_, *mask_, *states_, *noise_, *sampled_;
  float *next_action_, *all_actions_, *next_values_, *values_, *values_gradient_, *all_values_, *critic_saved_, *w_;
  float *fields_, *z_, *a_t_, *a_u_, *student_x_, *student_levels_, *teacher_x_, *teacher_levels_;
  // Of the sampler; then of student and teacher.
  float *step_embedding_, *embedding_now_, *scaled_, *output_, *step_bias_;
  float *student_embedding_, *teacher_embedding_, *student_out_, *teacher_out_, *student_saved_;
  float *student_gradient_, *embedding_gradient_, *loss_, *rate_;
};

}  // namespace gtp
