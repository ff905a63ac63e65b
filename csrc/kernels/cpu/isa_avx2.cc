// x86-64 with AVX2, FMA and F16C: 8 floats, integer dot products by vpmaddubsw.
#include <immintrin.h>

#include "kernels/cpu/body_table.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/isa_tables.h"

namespace chatglm::kernels {
namespace {

struct Avx2 {
  static constexpr int64_t kLanes = 8;
  using F32 = __m256;

  static F32 set(float value) { return _mm256_set1_ps(value); }
  static F32 load(const float* source) { return _mm256_loadu_ps(source); }
  static void store(float* destination, F32 a) { _mm256_storeu_ps(destination, a); }
  static F32 add(F32 a, F32 b) { return _mm256_add_ps(a, b); }
  static F32 sub(F32 a, F32 b) { return _mm256_sub_ps(a, b); }
  static F32 mul(F32 a, F32 b) { return _mm256_mul_ps(a, b); }
  static F32 div(F32 a, F32 b) { return _mm256_div_ps(a, b); }
  static F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }
  static F32 min(F32 a, F32 b) { return _mm256_min_ps(a, b); }
  static F32 max(F32 a, F32 b) { return _mm256_max_ps(a, b); }
  static F32 round(F32 a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  // In two steps: 2^n itself may lie outside the range of a float where x * 2^n is a subnormal.
  static F32 scale_pow2(F32 x, F32 n) {
    const __m256i exponent = _mm256_cvtps_epi32(n);
    const __m256i half = _mm256_srai_epi32(exponent, 1);
    return mul(mul(x, pow2(half)), pow2(_mm256_sub_epi32(exponent, half)));
  }
  static float reduce_add(F32 a) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
  }
  static float reduce_max(F32 a) {
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
  }
  static F32 load_f16(const uint16_t* source) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(source)));
  }
  static F32 load_bf16(const uint16_t* source) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  static F32 load_i8(const int8_t* source) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(source));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  }

  // 6 rows * 2 vectors of sums, 2 weight vectors and one input: 15 of 16 registers.
  static constexpr int kFloatRows = 6;
  static constexpr int kFloatPanels = 4;
  static constexpr int kQuantRows = 4;
  static constexpr int kQuantPanels = 2;
  static constexpr int64_t kGroup = 4;
  static constexpr uint32_t kQ8Flip = 0;
  static constexpr float kQ8Offset = 0;
  static constexpr float kQ4Offset = 8;

  static void store_i8(int8_t* destination, F32 a) {
    const __m256i wide = _mm256_cvtps_epi32(a);
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(destination), _mm_packs_epi16(words, words));
  }

  // |w| * (x with the sign of w): the products of a pair stay below 2 * 128 * 127 < 2^15.
  template <int kRows>
  static void dot_q8_0(const uint8_t* w, const int8_t* x, int64_t x_stride,
                       const int32_t* /*excess*/, F32* dots) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum[kRows];
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) sum[r] = _mm256_setzero_si256();
    CHATGLM_UNROLL
    for (int g = 0; g < 8; ++g) {
      const __m256i weights = load_bytes(w + 32 * g);
      const __m256i magnitudes = _mm256_abs_epi8(weights);
      CHATGLM_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const __m256i input = _mm256_sign_epi8(broadcast4(x + r * x_stride + 4 * g), weights);
        const __m256i pairs = _mm256_maddubs_epi16(magnitudes, input);
        sum[r] = _mm256_add_epi32(sum[r], _mm256_madd_epi16(pairs, ones));
      }
    }
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) dots[r] = _mm256_cvtepi32_ps(sum[r]);
  }

  // Nibbles as they are, 0..15: a block's 16-bit sums of 16
  // products stay below 16 * 15 * 127 < 2^15.
  template <int kRows>
  static void dot_q4_0(const uint8_t* w, const int8_t* x, int64_t x_stride, const int32_t* excess,
                       F32* dots) {
    const __m256i low_nibble = _mm256_set1_epi8(15);
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum[kRows];
    CHATGLM_UNROLL
    for (int g = 0; g < 4; ++g) {
      const __m256i bytes = load_bytes(w + 32 * g);
      const __m256i low = _mm256_and_si256(bytes, low_nibble);
      const __m256i high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low_nibble);
      CHATGLM_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const int8_t* input = x + r * x_stride + 4 * g;
        const __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(low, broadcast4(input)),
                                               _mm256_maddubs_epi16(high, broadcast4(input + 16)));
        sum[r] = g == 0 ? pairs : _mm256_add_epi16(sum[r], pairs);
      }
    }
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) {
      dots[r] = _mm256_cvtepi32_ps(
          _mm256_sub_epi32(_mm256_madd_epi16(sum[r], ones), _mm256_set1_epi32(excess[r])));
    }
  }

 private:
  static __m256 pow2(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }
  static __m256i load_bytes(const uint8_t* source) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(source));
  }
  static __m256i broadcast4(const int8_t* source) {
    int32_t four;
    std::memcpy(&four, source, sizeof(four));
    return _mm256_set1_epi32(four);
  }
};

}  // namespace

constinit const KernelTable kAvx2Kernels = make_kernel_table<Avx2>("avx2", cpu_has_avx2);

}  // namespace chatglm::kernels
