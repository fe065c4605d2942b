// A vector of kLanes floats, its exponential, and activations over it.
// Included by the files of one instruction set, inside their anonymous namespace.
//
// The sampler writes every multiply-add that may be fused as `fma`, and the compiler may fuse no other
// (-ffp-contract=off): so AVX2, AVX-512 and NEON give the same bits. The portable form rounds twice; its bits differ.
#define GTP_INLINE inline __attribute__((always_inline))

typedef float V __attribute__((vector_size(4 * kLanes)));
typedef int32_t I __attribute__((vector_size(4 * kLanes)));

template <class T = V>
GTP_INLINE T load(const float* p) {
  T v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

template <class T>
GTP_INLINE void store(float* p, T v) {
  __builtin_memcpy(p, &v, sizeof v);
}

template <class T = V>
GTP_INLINE T broadcast(float x) {
  return x - T{};
}

#if GTP_AVX512
GTP_INLINE V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
GTP_INLINE V smaller(V x, V limit) { return _mm512_maskz_min_ps(static_cast<__mmask16>(-1), x, limit); }
GTP_INLINE V larger(V x, V limit) { return _mm512_maskz_max_ps(static_cast<__mmask16>(-1), x, limit); }
GTP_INLINE __m256 fma(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
GTP_INLINE __m256 smaller(__m256 x, __m256 limit) { return _mm256_min_ps(x, limit); }
GTP_INLINE __m256 larger(__m256 x, __m256 limit) { return _mm256_max_ps(x, limit); }
#elif GTP_AVX2
GTP_INLINE V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
GTP_INLINE V smaller(V x, V limit) { return _mm256_min_ps(x, limit); }
GTP_INLINE V larger(V x, V limit) { return _mm256_max_ps(x, limit); }
#else
#if GTP_NEON
GTP_INLINE V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
#else
GTP_INLINE V fma(V a, V b, V c) { return a * b + c; }
#endif
// Like the x86 instructions: the second of two numbers that do not compare.
GTP_INLINE V smaller(V x, V limit) { return x < limit ? x : limit; }
GTP_INLINE V larger(V x, V limit) { return x > limit ? x : limit; }
#endif

#if GTP_AVX512 || GTP_AVX2 || GTP_NEON
GTP_INLINE float scalar_fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#else
GTP_INLINE float scalar_fma(float a, float b, float c) { return a * b + c; }
#endif

// exp(x) for -87 <= x <= 20: 2^n exp(r), |r| <= ln(2) / 2; the polynomial's relative error is 3e-9.
// N vectors go operation by operation: the processor looks ahead over only two or three of these chains.
template <int N, class T>
GTP_INLINE void exponentials(T (&x)[N]) {
  typedef decltype(T{} < T{}) Bits;
#define GTP_EACH _Pragma("GCC unroll 8") for (int i = 0; i < N; ++i)
  // Adding 1.5 2^23 leaves the rounded integer in the low bits of the sum, where a shift moves it into the exponent.
  const T shift = broadcast<T>(12582912.0f);
  T sum[N], r[N], p[N], square[N];
  GTP_EACH sum[i] = fma(x[i], broadcast<T>(1.44269504f), shift);
  GTP_EACH r[i] = sum[i] - shift;
  GTP_EACH x[i] = fma(r[i], broadcast<T>(-kLn2High), x[i]);
  GTP_EACH r[i] = fma(r[i], broadcast<T>(-kLn2Low), x[i]);
  GTP_EACH p[i] = fma(broadcast<T>(1.3814461368e-3f), r[i], broadcast<T>(8.3687809818e-3f));
  GTP_EACH p[i] = fma(p[i], r[i], broadcast<T>(4.1668394331e-2f));
  GTP_EACH p[i] = fma(p[i], r[i], broadcast<T>(1.6666520102e-1f));
  GTP_EACH p[i] = fma(p[i], r[i], broadcast<T>(4.9999993412e-1f));
  GTP_EACH square[i] = r[i] * r[i];
  GTP_EACH r[i] = r[i] + 1.0f;
  GTP_EACH p[i] = fma(p[i], square[i], r[i]);
  GTP_EACH x[i] = (T)((Bits)p[i] + ((Bits)sum[i] << 23));
}

template <int N, class T>
GTP_INLINE void limited_exponentials(T (&x)[N]) {
  GTP_EACH x[i] = larger(smaller(x[i], broadcast<T>(kExpLimit)), broadcast<T>(-87.0f));
  exponentials(x);
}

GTP_INLINE V exponential(V x) {
  V one[1] = {x};
  exponentials(one);
  return one[0];
}

template <class T>
GTP_INLINE T limited_exponential(T x) {
  T one[1] = {x};
  limited_exponentials(one);
  return one[0];
}

struct Identity {
  template <int N>
  static GTP_INLINE void of(V (&)[N]) {}
};
struct Mish {
  template <int N>
  static GTP_INLINE void of(V (&x)[N]) {
    V e[N];
    GTP_EACH e[i] = x[i];
    limited_exponentials(e);
    GTP_EACH x[i] = mish_of_exp(x[i], e[i]);
  }
};
struct Gelu {
  template <int N>
  static GTP_INLINE void of(V (&x)[N]) {
    V e[N];
    GTP_EACH e[i] = gelu_exponent(x[i]);
    limited_exponentials(e);
    GTP_EACH x[i] = gelu_of_exp(x[i], e[i]);
  }
};
struct Relu {
  // For a NaN `larger` returns its second operand, the NaN.
  template <int N>
  static GTP_INLINE void of(V (&x)[N]) {
    GTP_EACH x[i] = larger(V{}, x[i]);
  }
};
#undef GTP_EACH

// The arithmetic of flow_step on a vector.
template <class T>
struct VectorMath {
  static GTP_INLINE T fma(T a, T b, T c) { return gtp::fma(a, b, c); }
  static GTP_INLINE T fill(float x) { return broadcast<T>(x); }
  static GTP_INLINE T clip(T x) { return larger(fill(-1.0f), smaller(fill(1.0f), x)); }
  // (e - 1) / (e + 1), e = exp(2 x). The limits of the exponent turn a NaN into a number; the last term restores it.
  static GTP_INLINE T tanh(T x) {
    const T e = limited_exponential(x + x);
    return (e - 1.0f) / (e + 1.0f) + 0.0f * clip(x);
  }
};
