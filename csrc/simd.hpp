// A vector of GTP_LANES floats by the compiler's vector types, its exponential, and mish over an array.
// Included by one kernels_*.cpp for each instruction set, inside that file's own anonymous namespace.
typedef float V __attribute__((vector_size(4 * GTP_LANES)));
typedef int32_t I __attribute__((vector_size(4 * GTP_LANES)));

inline __attribute__((always_inline)) V load(const float* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

inline __attribute__((always_inline)) void store(float* p, V v) { __builtin_memcpy(p, &v, sizeof v); }

inline __attribute__((always_inline)) V broadcast(float x) { return x - V{}; }

inline __attribute__((always_inline)) V smaller(V a, V b) { return a < b ? a : b; }

inline __attribute__((always_inline)) V larger(V a, V b) { return a > b ? a : b; }

// exp(x) for -87 <= x <= 20: 2^n exp(r), |r| <= ln(2) / 2, the polynomial's own relative error being 3e-9.
inline __attribute__((always_inline)) V exponential(V x) {
  // Adding 1.5 2^23 leaves the rounded integer in the low bits of the sum.
  const float shift = 12582912.0f;
  const V sum = x * 1.44269504f + shift;
  const V n = sum - shift;
  const V r = (x - n * kLn2High) - n * kLn2Low;
  V p = 1.3814461368e-3f * r + 8.3687809818e-3f;
  p = p * r + 4.1668394331e-2f;
  p = p * r + 1.6666520102e-1f;
  p = p * r + 4.9999993412e-1f;
  p = p * (r * r) + (r + 1.0f);
  const I exponent = ((I)sum - (int32_t)0x4B400000 + 127) << 23;
  return p * (V)exponent;
}

inline __attribute__((always_inline)) V mish_exponential(V x) {
  return exponential(larger(smaller(x, broadcast(kMishLimit)), broadcast(-87.0f)));
}

inline __attribute__((always_inline)) V mish(V x) { return mish_of_exp(x, mish_exponential(x)); }

inline __attribute__((always_inline)) void mish_and_slope(const float* x, float* y, float* slope) {
  const V v = load(x);
  const V e = mish_exponential(v);
  store(y, mish_of_exp(v, e));
  if (slope != nullptr) store(slope, mish_slope_of_exp(v, e));
}

[[maybe_unused]] void mish_array(const float* x, float* y, float* slope, size_t n) {
  size_t i = 0;
  if (slope != nullptr) {
    for (; i + GTP_LANES <= n; i += GTP_LANES) mish_and_slope(x + i, y + i, slope + i);
  } else {
    for (; i + GTP_LANES <= n; i += GTP_LANES) mish_and_slope(x + i, y + i, nullptr);
  }
  if (i == n) return;
  // The tail goes through the same vector code, so that an element's bits do not depend on where it lies.
  float in[GTP_LANES] = {}, out[GTP_LANES], derivative[GTP_LANES];
  __builtin_memcpy(in, x + i, (n - i) * sizeof(float));
  mish_and_slope(in, out, derivative);
  __builtin_memcpy(y + i, out, (n - i) * sizeof(float));
  if (slope != nullptr) __builtin_memcpy(slope + i, derivative, (n - i) * sizeof(float));
}
