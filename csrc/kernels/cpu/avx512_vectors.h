// The vector type of the AVX-512 tables: 16 floats, integer dot products by vpdpbusd. Each
// isa_<name>.cc that includes it has its own, in an anonymous namespace.
#pragma once

#include <immintrin.h>

#include "kernels/cpu/body_quant_codes.h"

namespace chatglm::kernels {
namespace {

struct Avx512Vnni {
  static constexpr int64_t kLanes = 16;
  using F32 = __m512;

  static F32 set(float value) { return _mm512_set1_ps(value); }
  static F32 load(const float* source) { return _mm512_loadu_ps(source); }
  static void store(float* destination, F32 a) { _mm512_storeu_ps(destination, a); }
  static F32 add(F32 a, F32 b) { return _mm512_add_ps(a, b); }
  static F32 sub(F32 a, F32 b) { return _mm512_sub_ps(a, b); }
  static F32 mul(F32 a, F32 b) { return _mm512_mul_ps(a, b); }
  static F32 div(F32 a, F32 b) { return _mm512_div_ps(a, b); }
  static F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
  static F32 min(F32 a, F32 b) { return _mm512_min_ps(a, b); }
  static F32 max(F32 a, F32 b) { return _mm512_max_ps(a, b); }
  static F32 round(F32 a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static F32 scale_pow2(F32 x, F32 n) { return _mm512_scalef_ps(x, n); }
  static float reduce_add(F32 a) { return _mm512_reduce_add_ps(a); }
  static float reduce_max(F32 a) { return _mm512_reduce_max_ps(a); }
  static F32 load_f16(const uint16_t* source) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(source)));
  }
  static F32 load_bf16(const uint16_t* source) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static F32 load_i8(const int8_t* source) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source));
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
  }

  static F32 set_f16(const std::byte* source) {
    uint16_t half;
    std::memcpy(&half, source, sizeof(half));
    return _mm512_cvtph_ps(_mm256_set1_epi16(static_cast<int16_t>(half)));
  }
  static F32 if_less(F32 x, F32 y, F32 a, F32 b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, y, _CMP_LT_OQ), b, a);
  }
  static constexpr float kLeastPower = -160;
  static F32 times_pow2(F32 x, F32 n) { return _mm512_scalef_ps(x, n); }
  static void transpose4(const float* const* from, float* const* to) {
    __m128 a = _mm_loadu_ps(from[0]), b = _mm_loadu_ps(from[1]);
    __m128 c = _mm_loadu_ps(from[2]), d = _mm_loadu_ps(from[3]);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(to[0], a);
    _mm_storeu_ps(to[1], b);
    _mm_storeu_ps(to[2], c);
    _mm_storeu_ps(to[3], d);
  }

  // 8 steps * 2 vectors of sums, or 16 of one: 16 sums, 1 or 2 vectors of rows, and the number
  // straight from memory.
  static constexpr int kAttentionVectors = 2;
  static constexpr int kAttentionSteps = 8;
  static constexpr int kAttentionNarrowSteps = 16;

  // 8 rows * 2 vectors of sums, 2 weight vectors and one input: 19 of 32 registers.
  static constexpr int kFloatRows = 8;
  static constexpr int kFloatPanels = 2;
  static constexpr int kQuantRows = 4;
  static constexpr int kQuantPanels = 4;
  static constexpr int kPeakChains = 18;
  static constexpr int64_t kGroup = 4;
  static void store_i8(int8_t* destination, F32 a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(destination),
                     _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a)));
  }

  using Bytes = __m512i;
  using Ints = __m512i;
  static constexpr int kByteFlip = 0x80;
  static constexpr int kByteOffset = 128;
  static Bytes load_bytes(const uint8_t* source) {
    return _mm512_load_si512(reinterpret_cast<const void*>(source));
  }
  static void store_bytes(uint8_t* destination, Bytes a) {
    _mm512_store_si512(reinterpret_cast<void*>(destination), a);
  }
  static Bytes field(Bytes a, int from, int to, int bits) {
    const auto left = static_cast<unsigned>(to - from), right = static_cast<unsigned>(from - to);
    const __m512i moved = from < to ? _mm512_slli_epi16(a, left) : _mm512_srli_epi16(a, right);
    return _mm512_and_si512(moved, _mm512_set1_epi8(static_cast<char>(((1 << bits) - 1) << to)));
  }
  template <int kLess>
  static Bytes less(Bytes a) {
    return kLess == 0 ? a : _mm512_sub_epi8(a, _mm512_set1_epi8(static_cast<char>(kLess)));
  }
  static Ints load_ints(const int32_t* source) {
    return _mm512_load_si512(reinterpret_cast<const void*>(source));
  }
  static Bytes merge(Bytes a, Bytes b) { return _mm512_or_si512(a, b); }
  static Bytes lookup(Bytes a) {
    const int8_t* values = kLookupTable<Avx512Vnni>.values;
    const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), a);
  }
  static Ints ints(int32_t value) { return _mm512_set1_epi32(value); }
  static F32 to_f32(Ints a) { return _mm512_cvtepi32_ps(a); }

  // vpdpbusd takes unsigned by signed, and sums in 32 bits.
  template <int kLargest>
  struct CodeDot {
    using Partial = __m512i;
    static constexpr int kVectors = 8;
    static Partial begin(Ints sums) { return sums; }
    static Partial add(Partial partial, Bytes codes, const int8_t* x) {
      return _mm512_dpbusd_epi32(partial, codes, broadcast4(x));
    }
    static Ints end(Ints, Partial partial) { return partial; }
  };
  using ByteDot = CodeDot<255>;

 private:
  static __m512i broadcast4(const int8_t* source) {
    int32_t four;
    std::memcpy(&four, source, sizeof(four));
    return _mm512_set1_epi32(four);
  }
};

}  // namespace
}  // namespace chatglm::kernels
