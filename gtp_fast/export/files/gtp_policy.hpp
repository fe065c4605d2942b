// A trained policy of gtp_fast in C++17: reads policy.gtp and acts. No dependency, no allocation after loading.
//
//   gtp::Policy policy("policy.gtp");                         // throws std::runtime_error that says what is wrong
//   policy.act(observation.data(), action.data(), seed, t);   // t: the step of the control loop
//
// An action that is not finite is never written: act throws std::runtime_error instead.
// Observations are the environment's, in the order of training; actions come in the environment's units.
// Where the compiler may use fused multiply-add (-march=native), an action has the same bits as in Python:
// gtp_fast.load("policy.gtp").act(observation, seed=seed, step=t). Elsewhere it differs by rounding.
//
// Threads: an object is used by one thread at a time. Copy it for another thread: copies share the weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

// A part of -ffast-math is enough: where numbers count as finite, no check sees a NaN.
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
    (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || defined(_M_FP_FAST)
#error "gtp_policy.hpp: -ffast-math, its parts and /fp:fast change the actions or let NaN pass; compile without them"
#endif

// Only what is written as `fma` below may be fused: the compiler must not fuse more.
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#endif

// Sizes are int throughout, at most 2^20, so that no program that asks for this warning hears of them.
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
#endif

namespace gtp {
namespace detail {

#if defined(__FMA__) || defined(__AVX2__) || defined(__aarch64__) || defined(FP_FAST_FMAF)
constexpr bool kFused = true;
inline float fma(float a, float b, float c) { return std::fma(a, b, c); }
#else
constexpr bool kFused = false;
inline float fma(float a, float b, float c) { return a * b + c; }
#endif

inline std::uint32_t bits_of(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

inline float float_of(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// ---- Random numbers by counter: philox4x32_10(key = seed, counter = (step, stream, row, column)), Box-Muller ----

constexpr std::uint32_t kActStream = 6;
constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;  // ln 2 in two parts

inline void philox(std::uint64_t key, std::uint32_t c[4]) {
  std::uint32_t k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c[0], p1 = std::uint64_t{0xCD9E8D57u} * c[2];
    c[0] = static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0;
    c[1] = static_cast<std::uint32_t>(p1);
    c[2] = static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1;
    c[3] = static_cast<std::uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// sqrt(-2 ln u), u = ((word >> 8) + 1) 2^-24: the mantissa's logarithm by the series of atanh.
inline float radius(std::uint32_t word) {
  const float u = static_cast<float>(static_cast<std::int32_t>((word >> 8) + 1u));
  const std::uint32_t shifted = bits_of(u) - 0x3F3504F3u;
  const float e = static_cast<float>((static_cast<std::int32_t>(shifted) >> 23) - 24);
  const float f = float_of((shifted & 0x007FFFFFu) + 0x3F3504F3u) - 1.0f;
  const float s = f / (2.0f + f), z = s * s;
  const float series = z * (2.0f / 3 + z * (2.0f / 5 + z * (2.0f / 7 + z * (2.0f / 9))));
  const float log_m = f - s * (f - series);
  return std::sqrt(-2.0f * (e * kLn2High + (log_m + e * kLn2Low)));
}

// Cosine and sine of 2 pi (word >> 8) 2^-24, reduced to an eighth of the circle in integers.
inline void angle(std::uint32_t word, float& cosine, float& sine) {
  const std::int32_t v = static_cast<std::int32_t>(word >> 8), quadrant = (v + (1 << 21)) >> 22;
  const float x = static_cast<float>(v - (quadrant << 22)) * 3.745070282923929e-07f, z = x * x;
  const float s = x + x * z * (-1.0f / 6 + z * (1.0f / 120 + z * (-1.0f / 5040 + z * (1.0f / 362880))));
  const float c =
      1.0f - z * (1.0f / 2 - z * (1.0f / 24 - z * (1.0f / 720 - z * (1.0f / 40320 - z * (1.0f / 3628800)))));
  const bool odd = (quadrant & 1) != 0;
  cosine = float_of(bits_of(odd ? s : c) ^ ((static_cast<std::uint32_t>(quadrant + 1) & 2u) << 30));
  sine = float_of(bits_of(odd ? c : s) ^ ((static_cast<std::uint32_t>(quadrant) & 2u) << 30));
}

inline void normals(std::uint64_t key, std::uint32_t step, std::uint32_t row, int count, float* out) {
  for (int j = 0; j < count; j += 4) {
    std::uint32_t w[4] = {step, kActStream, row, static_cast<std::uint32_t>(j / 4)};
    philox(key, w);
    float z[4];
    for (int half = 0; half < 2; ++half) {
      float cosine, sine;
      angle(w[2 * half + 1], cosine, sine);
      const float r = radius(w[2 * half]);
      z[2 * half] = r * cosine;
      z[2 * half + 1] = r * sine;
    }
    for (int i = 0; i < 4 && j + i < count; ++i) out[j + i] = z[i];
  }
}

// ---- The network: the same operations in the same order as the native sampler ----

// exp(x) for x limited to [-87, 20]: 2^n p(r).
inline float limited_exp(float x) {
  x = x < 20.0f ? x : 20.0f;
  x = x > -87.0f ? x : -87.0f;
  const float shift = 12582912.0f;  // 1.5 2^23: leaves the rounded integer in the low bits of the sum
  const float sum = fma(x, 1.44269504f, shift), n = sum - shift;
  const float r = fma(n, -kLn2Low, fma(n, -kLn2High, x));
  float p = fma(1.3814461368e-3f, r, 8.3687809818e-3f);
  p = fma(p, r, 4.1668394331e-2f);
  p = fma(p, r, 1.6666520102e-1f);
  p = fma(p, r, 4.9999993412e-1f);
  p = fma(p, r * r, r + 1.0f);
  return float_of(bits_of(p) + (bits_of(sum) << 23));
}

inline float mish(float x) {
  const float e = limited_exp(x), n = e * (e + 2.0f);
  return x * (n / (n + 2.0f));
}

inline float gelu(float x) {  // the tanh form
  const float e = limited_exp(x * (1.5957691216057308f + 0.07135481627f * (x * x)));
  return x * (e / (e + 1.0f));
}

inline float clip(float x) { return x > 1.0f ? 1.0f : (x < -1.0f ? -1.0f : x); }

// tanh(x) = (e - 1) / (e + 1), e = exp(2 x), limited; the last term keeps a NaN.
inline float squash(float x) {
  const float e = limited_exp(x + x);
  return (e - 1.0f) / (e + 1.0f) + 0.0f * clip(x);
}

// y += x W: every y[j] gains x[i] W[i][j] in the order of i. Four rows of W a pass spare loads of y.
inline void multiply_add(const float* x, const float* w, int inputs, int outputs, float* __restrict y) {
  int i = 0;
  for (; i + 4 <= inputs; i += 4, w += 4 * static_cast<std::size_t>(outputs)) {
    const float x0 = x[i], x1 = x[i + 1], x2 = x[i + 2], x3 = x[i + 3];
    const float *w0 = w, *w1 = w0 + outputs, *w2 = w1 + outputs, *w3 = w2 + outputs;
    for (int j = 0; j < outputs; ++j) y[j] = fma(x3, w3[j], fma(x2, w2[j], fma(x1, w1[j], fma(x0, w0[j], y[j]))));
  }
  for (; i < inputs; ++i, w += outputs)
    for (int j = 0; j < outputs; ++j) y[j] = fma(x[i], w[j], y[j]);
}

inline std::uint32_t crc32(const unsigned char* data, std::size_t size) {
  std::uint32_t table[256];
  for (std::uint32_t i = 0; i < 256; ++i) {
    table[i] = i;
    for (int bit = 0; bit < 8; ++bit) table[i] = (table[i] >> 1) ^ ((table[i] & 1u) ? 0xEDB88320u : 0u);
  }
  std::uint32_t crc = 0xFFFFFFFFu;
  for (std::size_t i = 0; i < size; ++i) crc = (crc >> 8) ^ table[(crc ^ data[i]) & 0xFFu];
  return ~crc;
}

inline std::uint32_t word_at(const unsigned char* p) {  // little-endian, whatever the machine
  return p[0] | (std::uint32_t{p[1]} << 8) | (std::uint32_t{p[2]} << 16) | (std::uint32_t{p[3]} << 24);
}

}  // namespace detail

class Policy {
 public:
  static constexpr std::uint32_t kVersion = 1;
  // Whether this build gives the bits of Python.
  static constexpr bool kExact = detail::kFused;

  explicit Policy(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + " cannot be opened");
    const std::vector<unsigned char> data((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (const std::string wrong = parse(data); !wrong.empty())
      throw std::runtime_error(path + " " + wrong + ": " + kMend);
    state_.resize(H_);
    now_.resize(H_);
    next_.resize(H_);
    for (std::vector<float>* row : {&a_, &scaled_, &before_}) row->resize(A_);
    chains_.resize(8 * static_cast<std::size_t>(A_));
    noise_.resize(noise_size());
    if (!acts())
      throw std::runtime_error(path + " holds a policy with actions that overflow: " + kMend);
  }

  int observation_size() const { return O_; }
  int action_size() const { return A_; }
  int steps() const { return K_; }
  // Normals that one action takes: A, or K A where the sampler adds noise between its steps.
  int noise_size() const { return stochastic_ ? K_ * A_ : A_; }

  // One action, its noise drawn by counter. With several observations a step (parallel environments), observation
  // `row` of `rows` has the noise of that row of a batch in Python.
  void act(const float* observation, float* action, std::uint64_t seed, std::uint32_t step = 0,
           std::uint32_t row = 0, std::uint32_t rows = 1) {
    draw(seed, step, row, rows);
    act_with_noise(observation, noise_.data(), action);
  }

  // One action from standard normal noise [noise_size()]: draw 0 starts, draw k is added after step k - 1.
  void act_with_noise(const float* observation, const float* noise, float* action) {
    if (!sample(observation, noise))
      throw std::runtime_error(
          "the action is not finite: the observation holds NaN or infinite numbers, or is far from those of training");
    for (int j = 0; j < A_; ++j) {
      const float clipped = detail::clip(a_[j]);
      action[j] = unit_box_ ? clipped : clipped * half_[j] + middle_[j];
    }
  }

 private:
  static constexpr const char* kMend = "export the policy again, or copy the file again";

  void draw(std::uint64_t seed, std::uint32_t step, std::uint32_t row, std::uint32_t rows) {
    for (int k = 0; k * A_ < noise_size(); ++k)
      detail::normals(seed, step, k * rows + row, A_, noise_.data() + k * A_);
  }

  // Whether the actions of a few observations are finite, as huge weights' are not: those of Python's file.acts.
  bool acts() {
    constexpr float kTried[4] = {0.0f, 1.0f, 10.0f, 100.0f};
    std::vector<float> observation(O_);
    for (std::uint32_t row = 0; row < 4; ++row) {
      detail::normals(0, 1, row, O_, observation.data());
      for (float& x : observation) x *= kTried[row];
      draw(0, 0, row, 4);
      if (!sample(observation.data(), noise_.data())) return false;
    }
    return true;
  }

  // Leaves the action before it is clipped in a_; returns whether it has no NaN.
  bool sample(const float* observation, const float* noise) {
    const float* const p = numbers_->data();
    for (int j = 0; j < A_; ++j) {
      a_[j] = initial_scale_ * noise[j];
      before_[j] = 0.0f;
    }
    for (int j = 0; j < H_; ++j) state_[j] = 0.0f;
    detail::multiply_add(observation, p + first_observation_, O_, H_, state_.data());
    for (int k = 0; k < K_; ++k) {
      step(p, k);
      if (stochastic_ && k + 1 < K_) {
        const float spread = p[constants_ + 6 * K_ + k];
        for (int j = 0; j < A_; ++j) a_[j] = detail::fma(spread, noise[(k + 1) * A_ + j], a_[j]);
      }
    }
    return std::none_of(a_.begin(), a_.end(), [](float x) { return std::isnan(x); });
  }

  // phi = skip a + out F(a), through tanh and clipped if asked;
  // a <- keep a + gain phi + carry (phi of the step before).
  void step(const float* p, int k) {
    const float* c = p + constants_ + k;
    const float input_scale = c[0], skip = c[K_], out = c[2 * K_], keep = c[3 * K_], gain = c[4 * K_],
                carry = c[5 * K_];
    const float* bias = p + step_bias_ + static_cast<std::size_t>(k) * H_;
    for (int j = 0; j < A_; ++j) scaled_[j] = input_scale * a_[j];
    for (int j = 0; j < H_; ++j) now_[j] = bias[j] + state_[j];
    detail::multiply_add(scaled_.data(), p + first_action_, A_, H_, now_.data());
    activate(now_.data());
    for (int l = 0; l + 1 < L_; ++l) {
      std::memcpy(next_.data(), p + hidden_bias_ + static_cast<std::size_t>(l) * H_, H_ * sizeof(float));
      detail::multiply_add(now_.data(), p + hidden_weight_ + static_cast<std::size_t>(l) * H_ * H_, H_, H_,
                           next_.data());
      activate(next_.data());
      now_.swap(next_);
    }
    // The last layer adds up eight chains, input i in chain i mod 8.
    const float *x = now_.data(), *w = p + last_weight_, *const q = chains_.data();
    std::fill(chains_.begin(), chains_.end(), 0.0f);
    for (int i = 0; i < H_; ++i, w += A_) detail::multiply_add(x + i, w, 1, A_, chains_.data() + (i % 8) * A_);
    for (int j = 0; j < A_; ++j) {
      const float low = (q[j] + q[A_ + j]) + (q[2 * A_ + j] + q[3 * A_ + j]);
      const float high = (q[4 * A_ + j] + q[5 * A_ + j]) + (q[6 * A_ + j] + q[7 * A_ + j]);
      float phi = detail::fma(out, (low + high) + p[last_bias_ + j], skip * a_[j]);
      if (squash_) phi = detail::squash(phi);
      if (clamp_) phi = detail::clip(phi);
      a_[j] = detail::fma(carry, before_[j], detail::fma(gain, phi, keep * a_[j]));
      before_[j] = phi;
    }
  }

  void activate(float* x) const {
    if (activation_ == 0)
      for (int j = 0; j < H_; ++j) x[j] = detail::mish(x[j]);
    else if (activation_ == 1)
      for (int j = 0; j < H_; ++j) x[j] = detail::gelu(x[j]);
    else
      for (int j = 0; j < H_; ++j) x[j] = 0.0f > x[j] ? 0.0f : x[j];
  }

  // Returns what is wrong with a file's content, or nothing. The table of the format is in docs/export.md.
  std::string parse(const std::vector<unsigned char>& data) {
    constexpr std::size_t kHeader = 48, kChecksum = 4;
    if (data.size() < 8 || std::memcmp(data.data(), "GTPOLICY", 8) != 0) return "is no policy file of gtp_fast";
    if (data.size() < kHeader + kChecksum) return "was cut short";
    const auto field = [&](int i) { return detail::word_at(data.data() + 8 + 4 * i); };
    if (field(0) != kVersion)
      return "has version " + std::to_string(field(0)) + " of the format and this reader knows " +
             std::to_string(kVersion);
    constexpr std::uint32_t kMost[5] = {16384, 1024, 8192, 64, 1024};
    for (int i = 0; i < 5; ++i)
      if (field(2 + i) < 1 || field(2 + i) > kMost[i]) return "was altered (its sizes are out of range)";
    // 64 bits everywhere: the sizes of a hostile file would wrap around where a size has 32.
    const std::uint64_t O = field(2), A = field(3), H = field(4), L = field(5), K = field(6);
    constants_ = 2 * A;
    first_action_ = constants_ + 7 * K;
    first_observation_ = first_action_ + A * H;
    step_bias_ = first_observation_ + O * H;
    hidden_weight_ = step_bias_ + K * H;
    hidden_bias_ = hidden_weight_ + (L - 1) * H * H;
    last_weight_ = hidden_bias_ + (L - 1) * H;
    last_bias_ = last_weight_ + H * A;
    const std::uint64_t numbers_held = last_bias_ + A, wanted = kHeader + 4 * numbers_held + field(1) + kChecksum;
    if (data.size() != wanted)
      return (data.size() < wanted ? "was cut short (" : "has bytes after its end (") + std::to_string(data.size()) +
             " bytes instead of " + std::to_string(wanted) + ")";
    // The file is in memory, so its sizes fit from here on.
    const std::size_t count = static_cast<std::size_t>(numbers_held), end = data.size() - kChecksum;
    if (detail::crc32(data.data(), end) != detail::word_at(data.data() + end))
      return "was altered (its checksum differs)";
    if (field(7) > 2 || field(8) > 3) return "names an activation or bounds that this reader does not know";
    O_ = static_cast<int>(O), A_ = static_cast<int>(A), H_ = static_cast<int>(H), L_ = static_cast<int>(L);
    K_ = static_cast<int>(K), activation_ = static_cast<int>(field(7));
    clamp_ = (field(8) & 1) != 0, squash_ = (field(8) & 2) != 0;
    initial_scale_ = detail::float_of(field(9));
    std::vector<float> numbers(count);
    for (std::size_t i = 0; i < count; ++i)
      numbers[i] = detail::float_of(detail::word_at(data.data() + kHeader + 4 * i));
    for (const float number : numbers)
      if (!std::isfinite(number)) return "holds NaN or infinite numbers";
    if (!std::isfinite(initial_scale_)) return "holds NaN or infinite numbers";
    for (std::size_t j = 0; j < A; ++j) {
      const float low = numbers[j], high = numbers[A + j], middle = (high + low) / 2.0f;
      float half = std::min(high - middle, middle - low);
      if (!(low < high) || !std::isfinite(middle) || !std::isfinite(high - low)) return "has no action box";
      // Rounding must not put an action outside the box.
      while (middle + half > high || middle - half < low) half = std::nextafter(half, 0.0f);
      half_.push_back(half);
      middle_.push_back(middle);
      unit_box_ = unit_box_ && half_[j] == 1.0f && middle_[j] == 0.0f;
    }
    for (std::size_t k = 0; k < K; ++k) stochastic_ = stochastic_ || numbers[constants_ + 6 * K + k] != 0.0f;
    numbers_ = std::make_shared<const std::vector<float>>(std::move(numbers));
    return "";
  }

  std::shared_ptr<const std::vector<float>> numbers_;
  std::uint64_t constants_ = 0, first_action_ = 0, first_observation_ = 0, step_bias_ = 0, hidden_weight_ = 0,
              hidden_bias_ = 0, last_weight_ = 0, last_bias_ = 0;
  int O_ = 0, A_ = 0, H_ = 0, L_ = 0, K_ = 0, activation_ = 0;
  bool clamp_ = false, squash_ = false, stochastic_ = false, unit_box_ = true;
  float initial_scale_ = 0.0f;
  std::vector<float> half_, middle_, state_, now_, next_, a_, scaled_, before_, chains_, noise_;
};

}  // namespace gtp

#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif
