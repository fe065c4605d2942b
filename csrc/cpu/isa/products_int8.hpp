// Integers of 16 bits times integers of 8, by the instructions of each set; layers_int8.hpp says what for.
// Included by sampler.cpp inside its anonymous namespace.
//
// Int8 is the product of inputs and the weights of one panel: kInputs inputs and kSize bytes of weights at a time, two
// vectors of sums. Inputs are stored with kOffset added; a sum starts at minus what that adds to it.
GTP_INLINE I load_integers(const int32_t* p) {
  I v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

#if GTP_VNNI
// Four products a lane, of unsigned bytes and signed bytes: low and high bytes of the inputs go separately.
struct Int8 {
  static constexpr int kInputs = 4, kSize = 4 * kPanel, kOffset = 1 << 15;
  typedef uint32_t U __attribute__((vector_size(4 * kLanes)));
  typedef I Weight;
  struct Input {
    I low, high;
  };
  struct Sum {
    I low, high;
  };
  // In assembly, because the compiler copies every sum of the intrinsic to another register and back.
  static GTP_INLINE void dot(I& sum, I x, I w) { asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w)); }
  // Takes every other 16-bit word of x, then of y; their low and high bytes go to the two halves of the row.
  static GTP_INLINE void put(I x, I y, char* row, int i, int width) {
    constexpr __mmask32 kAll = static_cast<__mmask32>(-1);
    const __m512i even = _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36, 34, 32,  //
                                          30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i words = _mm512_permutex2var_epi16((__m512i)(x + kOffset), even, (__m512i)(y + kOffset));
    const __m512i high = _mm512_maskz_srli_epi16(kAll, words, 8);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row + i), _mm512_maskz_cvtepi16_epi8(kAll, words));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row + width + i), _mm512_maskz_cvtepi16_epi8(kAll, high));
  }
  static GTP_INLINE Input input(const char* row, int i, int width) {
    int32_t low, high;
    __builtin_memcpy(&low, row + i, sizeof low);
    __builtin_memcpy(&high, row + width + i, sizeof high);
    return {(I)_mm512_set1_epi32(low), (I)_mm512_set1_epi32(high)};
  }
  static GTP_INLINE void weights(const int8_t* p, Weight& low, Weight& high) {
    low = load_integers(reinterpret_cast<const int32_t*>(p));
    high = load_integers(reinterpret_cast<const int32_t*>(p) + kLanes);
  }
  static GTP_INLINE Sum begin(I start) { return {start, I{}}; }
  static GTP_INLINE void add(const Input& x, Weight w, Sum& sum) {
    dot(sum.low, x.low, w);
    dot(sum.high, x.high, w);
  }
  // Unsigned, since the two may leave 32 bits before the start brings them back.
  static GTP_INLINE I total(const Sum& sum) { return (I)((U)sum.low + ((U)sum.high << 8)); }
};
#else
// Integers of 16 bits, two products a lane where there is an instruction for it.
struct Int8 {
  static constexpr int kOffset = 0;
  typedef int16_t Short __attribute__((vector_size(2 * kLanes)));
  typedef I Sum;
  static GTP_INLINE void put(I x, I y, char* row, int i, int) {
    const Short bits[2] = {__builtin_convertvector(x, Short), __builtin_convertvector(y, Short)};
    __builtin_memcpy(row + 2 * i, bits, sizeof bits);
  }
  static GTP_INLINE Sum begin(I start) { return start; }
  static GTP_INLINE I total(Sum sum) { return sum; }
#if GTP_AVX512 || GTP_AVX2
  static constexpr int kInputs = 2, kSize = 2 * kPanel;
  typedef I Weight, Input;
  static GTP_INLINE Input input(const char* row, int i, int) {
    int32_t pair;
    __builtin_memcpy(&pair, row + 2 * i, sizeof pair);
    return pair - I{};
  }
#if GTP_AVX512
  static GTP_INLINE Weight wide(const int8_t* p) {
    return (I)_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static GTP_INLINE void add(Input x, Weight w, Sum& sum) { sum += (I)_mm512_madd_epi16((__m512i)x, (__m512i)w); }
#else
  static GTP_INLINE Weight wide(const int8_t* p) {
    return (I)_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static GTP_INLINE void add(Input x, Weight w, Sum& sum) { sum += (I)_mm256_madd_epi16((__m256i)x, (__m256i)w); }
#endif
  static GTP_INLINE void weights(const int8_t* p, Weight& low, Weight& high) {
    low = wide(p);
    high = wide(p + 2 * kLanes);
  }
#elif GTP_NEON
  static constexpr int kInputs = 1, kSize = kPanel;
  typedef int16_t Input;
  typedef int16x4_t Weight;
  static GTP_INLINE Input input(const char* row, int i, int) {
    Input x;
    __builtin_memcpy(&x, row + 2 * i, sizeof x);
    return x;
  }
  static GTP_INLINE void weights(const int8_t* p, Weight& low, Weight& high) {
    const int16x8_t all = vmovl_s8(vld1_s8(p));
    low = vget_low_s16(all);
    high = vget_high_s16(all);
  }
  static GTP_INLINE void add(Input x, Weight w, Sum& sum) { sum = (I)vmlal_n_s16((int32x4_t)sum, w, x); }
#else
  static constexpr int kInputs = 4, kSize = 4 * kPanel;
  typedef I Weight;
  struct Input {
    int16_t at[4];
  };
  static GTP_INLINE Input input(const char* row, int i, int) {
    Input x;
    __builtin_memcpy(&x, row + 2 * i, sizeof x);
    return x;
  }
  static GTP_INLINE void weights(const int8_t* p, Weight& low, Weight& high) {
    low = load_integers(reinterpret_cast<const int32_t*>(p));
    high = load_integers(reinterpret_cast<const int32_t*>(p) + kLanes);
  }
  // A float holds the product of 16 bits and 8 exactly, and few machines multiply vectors of integers as fast.
  static GTP_INLINE void add(const Input& x, Weight w, Sum& sum) {
#pragma GCC unroll 4
    for (int b = 0; b < 4; ++b) {
      const V byte = __builtin_convertvector((w << (24 - 8 * b)) >> 24, V);
      sum += __builtin_convertvector(byte * static_cast<float>(x.at[b]), I);
    }
  }
#endif
};
#endif
