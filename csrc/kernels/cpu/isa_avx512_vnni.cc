// x86-64 with AVX-512 (F, BW, VL, DQ) and VNNI: 16 floats, integer dot products by vpdpbusd.
#include <immintrin.h>

#include "kernels/cpu/body_table.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/isa_tables.h"

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

  // 8 rows * 2 vectors of sums, 2 weight vectors and one input: 19 of 32 registers.
  static constexpr int kFloatRows = 8;
  static constexpr int kFloatPanels = 2;
  static constexpr int kQuantRows = 8;
  static constexpr int kQuantPanels = 2;
  static constexpr int64_t kGroup = 4;
  static constexpr uint32_t kQ8Flip = 0x80;
  static constexpr float kQ8Offset = 128;
  static constexpr float kQ4Offset = 8;

  static void store_i8(int8_t* destination, F32 a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(destination),
                     _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a)));
  }

  // vpdpbusd takes unsigned by signed: the weights are stored as w + 128.
  template <int kRows>
  static void dot_q8_0(const uint8_t* w, const int8_t* x, int64_t x_stride, const int32_t* excess,
                       F32* dots) {
    __m512i sum[kRows];
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) sum[r] = _mm512_set1_epi32(-excess[r]);
    CHATGLM_UNROLL
    for (int g = 0; g < 8; ++g) {
      const __m512i weights = load_bytes(w + 64 * g);
      CHATGLM_UNROLL
      for (int r = 0; r < kRows; ++r) {
        sum[r] = _mm512_dpbusd_epi32(sum[r], weights, broadcast4(x + r * x_stride + 4 * g));
      }
    }
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) dots[r] = _mm512_cvtepi32_ps(sum[r]);
  }

  // Nibbles are unsigned as they are.
  template <int kRows>
  static void dot_q4_0(const uint8_t* w, const int8_t* x, int64_t x_stride, const int32_t* excess,
                       F32* dots) {
    const __m512i low_nibble = _mm512_set1_epi8(15);
    __m512i sum[kRows];
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) sum[r] = _mm512_set1_epi32(-excess[r]);
    CHATGLM_UNROLL
    for (int g = 0; g < 4; ++g) {
      const __m512i bytes = load_bytes(w + 64 * g);
      const __m512i low = _mm512_and_si512(bytes, low_nibble);
      const __m512i high = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low_nibble);
      CHATGLM_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const int8_t* input = x + r * x_stride + 4 * g;
        sum[r] = _mm512_dpbusd_epi32(sum[r], low, broadcast4(input));
        sum[r] = _mm512_dpbusd_epi32(sum[r], high, broadcast4(input + 16));
      }
    }
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) dots[r] = _mm512_cvtepi32_ps(sum[r]);
  }

 private:
  static __m512i load_bytes(const uint8_t* source) {
    return _mm512_load_si512(reinterpret_cast<const void*>(source));
  }
  static __m512i broadcast4(const int8_t* source) {
    int32_t four;
    std::memcpy(&four, source, sizeof(four));
    return _mm512_set1_epi32(four);
  }
};

}  // namespace

constinit const KernelTable kAvx512VnniKernels =
    make_kernel_table<Avx512Vnni>("avx512_vnni", cpu_has_avx512_vnni);

}  // namespace chatglm::kernels
