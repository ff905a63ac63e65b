// Vectors of AVX2, FMA and F16C: 8 floats and 32 bytes of codes, without the integer dot products,
// in which the rows of the table differ. In an anonymous namespace: each row's file compiles its
// own copy with its own flags.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/body_quant_codes.h"

namespace chatglm::kernels {
namespace {

struct Avx2Vectors {
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

  static F32 set_f16(const std::byte* source) {
    uint16_t half;
    std::memcpy(&half, source, sizeof(half));
    return _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
  }
  static F32 if_less(F32 x, F32 y, F32 a, F32 b) {
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, y, _CMP_LT_OQ));
  }
  static constexpr float kLeastPower = -127;
  static F32 times_pow2(F32 x, F32 n) { return mul(x, pow2(_mm256_cvtps_epi32(n))); }
  static void transpose4(const float* const* from, float* const* to) {
    __m128 a = _mm_loadu_ps(from[0]), b = _mm_loadu_ps(from[1]);
    __m128 c = _mm_loadu_ps(from[2]), d = _mm_loadu_ps(from[3]);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(to[0], a);
    _mm_storeu_ps(to[1], b);
    _mm_storeu_ps(to[2], c);
    _mm_storeu_ps(to[3], d);
  }

  // 6 steps * 2 vectors of sums, 2 vectors of rows and a number: 15 of 16 registers.
  static constexpr int kAttentionVectors = 2;
  static constexpr int kAttentionSteps = 6;
  static constexpr int kAttentionNarrowSteps = 8;

  // 6 rows * 2 vectors of sums, 2 weight vectors and one input: 15 of 16 registers.
  static constexpr int kFloatRows = 6;
  static constexpr int kFloatPanels = 4;
  static constexpr int kQuantRows = 4;
  static constexpr int kQuantPanels = 4;
  static constexpr int kPeakChains = 12;
  static constexpr int64_t kGroup = 4;
  static void store_i8(int8_t* destination, F32 a) {
    const __m256i wide = _mm256_cvtps_epi32(a);
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(destination), _mm_packs_epi16(words, words));
  }

  using Bytes = __m256i;
  using Ints = __m256i;
  static Bytes load_bytes(const uint8_t* source) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(source));
  }
  static void store_bytes(uint8_t* destination, Bytes a) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(destination), a);
  }
  static Bytes field(Bytes a, int from, int to, int bits) {
    const __m256i moved =
        from < to ? _mm256_slli_epi16(a, to - from) : _mm256_srli_epi16(a, from - to);
    return _mm256_and_si256(moved, _mm256_set1_epi8(static_cast<char>(((1 << bits) - 1) << to)));
  }
  static Bytes merge(Bytes a, Bytes b) { return _mm256_or_si256(a, b); }
  static Ints ints(int32_t value) { return _mm256_set1_epi32(value); }
  static F32 to_f32(Ints a) { return _mm256_cvtepi32_ps(a); }

 protected:
  static Bytes look_up(const CodeTable& codes, Bytes places) {
    const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes.values));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), places);
  }
  static __m256i broadcast4(const int8_t* source) {
    int32_t four;
    std::memcpy(&four, source, sizeof(four));
    return _mm256_set1_epi32(four);
  }

 private:
  static __m256 pow2(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }
};

}  // namespace
}  // namespace chatglm::kernels
