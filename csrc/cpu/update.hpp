// A whole update of GTP on the CPU: Algorithm 1 as a fixed sequence of this folder's passes, on memory of its own, so
// that an update is one call of Python. What each pass computes stands in its own file.
#pragma once

#include <array>
#include <vector>

#include "cpu/gather.hpp"
#include "cpu/loss.hpp"
#include "cpu/mlp.hpp"
#include "cpu/sampler.hpp"

namespace gtp {

// A perceptron of every seed, or of every twin of every seed, that learns: its parameters, gradients, moving average.
struct Trained {
  std::vector<int> sizes;  // input, hidden layers, output
  std::vector<LayerPointers> online, gradient, average;
};

// What the optimiser is told of networks whose parameters lie in one buffer.
struct Learning {
  AdamArrays arrays;
  double average_rate, limit;
};

struct UpdateSettings {
  int seeds, observation, action, rows;
  int backups, values;  // next actions of each s', and actions that V(s) is the mean of
  bool clones;          // every weight is 1, and no critic is trained
  bool rounds;          // products of actor and critic read bfloat16, those of the sampler too; clocks stay float32
  Trained actor, clocks[2], critic;
  Learning actor_learning, critic_learning;
  double first_beta, second_beta, epsilon, max_norm;
  float discount, weight_maximum;
  const float *eta, *share;  // [S]; share: of the flow loss
  bool uniform;              // as PerturbOptions has it, like the next three
  Preconditioning kind;
  float sigma, t_min;
  const float* nodes;
  const int64_t* cdf;  // as `perturb` has it
  const uint64_t* keys;
  int64_t* diverged;
  // Of the sampler: the time levels of its steps [K, 2], its coefficients [7, K], and what z_0 is multiplied by.
  const float *levels, *schedule;
  float initial_scale;
  const float* rates;  // of the sines that tell a time
  std::array<uint32_t, 5> streams;  // of the draws: batch, target, value, time, noise
};

// What differs from one update to the next. Rates are [S]; decay: what remains of them.
struct Moment {
  uint64_t step;
  uint32_t num_nodes;
  const float *actor_rate, *critic_rate;
  float decay;
};

class Update {
 public:
  // The sampler is loaded anew in every update, unless products are rounded, when the steps of the actor's own passes
  // make the chains. Both must outlive this.
  Update(const UpdateSettings& settings, Sampler& chain);

  // Do one update. metrics [9, S]: critic loss, consistency and flow loss, mean Q, std A, mean and largest weight,
  // norms of the actor's and of the critic's gradient.
  void run(const TransitionRows& table, const Moment& now, float* metrics, int threads);

  enum Part { kSampler, kForward, kBackward, kOptimiser, kParts };
  // Seconds that each part has taken since this was made.
  const std::array<double, kParts>& spent() const { return spent_; }

 private:
  // The passes of both clocks over the same rows.
  struct Embedded {
    MlpShape shape;
    float *sines, *saved[2];  // saved: null where no gradient is wanted
  };

  float* floats(size_t count);
  MlpShape shape_of(const Trained& network, int groups, int rows) const;
  void draw(const TransitionRows& table, const Moment& now);
  void sample();
  void sample_rounded();
  void critic_step(const Moment& now, float* metrics);
  void weigh_batch(float* statistics);
  void actor_step(const Moment& now, float* metrics);
  void embed(const Embedded& pass, bool average, float* told);
  void forward(const MlpShape& shape, const std::vector<Piece>& x, const std::vector<LayerPointers>& layers, float* y,
               size_t stride, float* saved);
  void backward(const MlpShape& shape, const float* dy, size_t stride, const Trained& network, const float* saved,
                const std::vector<Piece>& x, const std::vector<float*>& dx);
  void descend(const Learning& learning, const float* rate, const float* loss, const Moment& now, float* norm);

  const UpdateSettings s_;
  Sampler& chain_;
  int threads_ = 1;
  std::array<double, kParts> spent_{};
  std::vector<AlignedFloats> memory_;
  int told_width_;
  std::vector<LayerPointers> first_of_told_;  // the rows of the actor's first layer that read embedded times
  MlpShape student_, teacher_, step_, bias_, critic_, next_critic_, both_critic_;
  Embedded steps_, student_clocks_, teacher_clocks_;
  // The batch; states, noise and actions of both chains, s' first.
  float *observation_, *action_, *reward_, *following_, *mask_, *states_, *noise_, *sampled_;
  float *next_action_, *all_actions_, *next_values_, *values_, *values_gradient_, *all_values_, *critic_saved_, *w_;
  float *fields_, *z_, *a_t_, *a_u_, *student_x_, *student_levels_, *teacher_x_, *teacher_levels_;
  // Of the sampler's steps; then of students and teacher.
  float *step_told_, *told_now_, *scaled_, *output_, *step_bias_;
  float *told_, *teacher_told_, *student_out_, *teacher_out_, *student_saved_;
  float *student_gradient_, *told_gradient_, *loss_, *rate_;
};

}  // namespace gtp
