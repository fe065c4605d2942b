// Counter-based random numbers: philox4x32_10(key = seed, counter = (step, stream, row, column)).
// Host and device share it; every function is branchless so that a loop over it vectorises.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define GTP_HD __host__ __device__ __forceinline__
#else
// Internal linkage: the linker must not take the copy of an object compiled for AVX-512 for all others.
#define GTP_HD static inline __attribute__((always_inline))
#endif

namespace gtp {

struct Words {
  uint32_t w0, w1, w2, w3;
};

GTP_HD uint32_t multiply_high(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>((static_cast<uint64_t>(a) * b) >> 32);
}

GTP_HD Words philox(uint32_t k0, uint32_t k1, Words c) {
#if defined(__CUDACC__)
#pragma unroll
#endif
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * c.w0;
    const uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57u) * c.w2;
    c = Words{static_cast<uint32_t>(p1 >> 32) ^ c.w1 ^ k0, static_cast<uint32_t>(p1),
              static_cast<uint32_t>(p0 >> 32) ^ c.w3 ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

// ln 2 in two parts, the first short enough that a small integer times it is exact.
constexpr float kLn2High = 0.693359375f;
constexpr float kLn2Low = -2.12194440e-4f;
constexpr float kTwoPi24 = 3.745070282923929e-07f;  // 2 pi 2^-24

GTP_HD uint32_t float_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

GTP_HD float bits_float(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// r = sqrt(-2 ln(((word >> 8) + 1) 2^-24)). The argument is an exact float in (0, 1]; with m in [sqrt(1/2), sqrt(2))
// and ln = e ln 2 + ln m, the logarithm keeps its relative accuracy near 1, where the square root needs it.
GTP_HD float normal_radius(uint32_t word) {
  const float u = static_cast<float>(static_cast<int32_t>((word >> 8) + 1u));
  // Subtracting the bits of sqrt(1/2) starts the mantissa's range there instead of at a power of two.
  const uint32_t shifted = float_bits(u) - 0x3F3504F3u;
  const int32_t exponent = static_cast<int32_t>(shifted) >> 23;
  const float m = bits_float((shifted & 0x007FFFFFu) + 0x3F3504F3u);
  const float e = static_cast<float>(exponent - 24);
  const float f = m - 1.0f;
  // ln(1+f) = 2 atanh(s), s = f / (2 + f), |s| < 0.1716: the series to s^9 is exact to float rounding.
  const float s = f / (2.0f + f);
  const float z = s * s;
  const float series = z * (2.0f / 3 + z * (2.0f / 5 + z * (2.0f / 7 + z * (2.0f / 9))));
  // f - s (f - series) equals 2 s + s series, and its leading term is exact.
  const float log_m = f - s * (f - series);
  const float log_u = e * kLn2High + (log_m + e * kLn2Low);
  return __builtin_sqrtf(-2.0f * log_u);
}

// cos and sin of 2 pi (word >> 8) 2^-24; the reduction to [-pi/4, pi/4] is exact, in integers.
GTP_HD void normal_angle(uint32_t word, float& cosine, float& sine) {
  const int32_t v = static_cast<int32_t>(word >> 8);
  const int32_t quadrant = (v + (1 << 21)) >> 22;
  const float x = static_cast<float>(v - (quadrant << 22)) * kTwoPi24;
  const float z = x * x;
  const float s = x + x * z * (-1.0f / 6 + z * (1.0f / 120 + z * (-1.0f / 5040 + z * (1.0f / 362880))));
  const float c =
      1.0f - z * (1.0f / 2 - z * (1.0f / 24 - z * (1.0f / 720 - z * (1.0f / 40320 - z * (1.0f / 3628800)))));
  const bool odd = (quadrant & 1) != 0;
  const float cos_base = odd ? s : c;
  const float sin_base = odd ? c : s;
  // cos is negative in quadrants 1 and 2, sin in 2 and 3.
  const uint32_t cos_sign = (static_cast<uint32_t>(quadrant + 1) & 2u) << 30;
  const uint32_t sin_sign = (static_cast<uint32_t>(quadrant) & 2u) << 30;
  cosine = bits_float(float_bits(cos_base) ^ cos_sign);
  sine = bits_float(float_bits(sin_base) ^ sin_sign);
}

struct Normals {
  float z0, z1, z2, z3;
};

GTP_HD Normals box_muller(Words w) {
  float c0, s0, c1, s1;
  normal_angle(w.w1, c0, s0);
  normal_angle(w.w3, c1, s1);
  const float r0 = normal_radius(w.w0);
  const float r1 = normal_radius(w.w2);
  return Normals{r0 * c0, r0 * s0, r1 * c1, r1 * s1};
}

}  // namespace gtp
