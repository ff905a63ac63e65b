// 64-bit Arm with Advanced SIMD, without the dot product extension: 4 floats, integer dot products
// by widening multiplies.
#include <arm_neon.h>

#include "kernels/cpu/body_table.h"
#include "kernels/cpu/features.h"
#include "kernels/cpu/isa_tables.h"

namespace chatglm::kernels {
namespace {

struct Neon {
  static constexpr int64_t kLanes = 4;
  using F32 = float32x4_t;

  static F32 set(float value) { return vdupq_n_f32(value); }
  static F32 load(const float* source) { return vld1q_f32(source); }
  static void store(float* destination, F32 a) { vst1q_f32(destination, a); }
  static F32 add(F32 a, F32 b) { return vaddq_f32(a, b); }
  static F32 sub(F32 a, F32 b) { return vsubq_f32(a, b); }
  static F32 mul(F32 a, F32 b) { return vmulq_f32(a, b); }
  static F32 div(F32 a, F32 b) { return vdivq_f32(a, b); }
  static F32 fma(F32 a, F32 b, F32 c) { return vfmaq_f32(c, a, b); }
  static F32 min(F32 a, F32 b) { return vminq_f32(a, b); }
  static F32 max(F32 a, F32 b) { return vmaxq_f32(a, b); }
  static F32 round(F32 a) { return vrndnq_f32(a); }
  // In two steps: 2^n itself may lie outside the range of a float where x * 2^n is a subnormal.
  static F32 scale_pow2(F32 x, F32 n) {
    const int32x4_t exponent = vcvtq_s32_f32(n);
    const int32x4_t half = vshrq_n_s32(exponent, 1);
    return mul(mul(x, pow2(half)), pow2(vsubq_s32(exponent, half)));
  }
  static float reduce_add(F32 a) { return vaddvq_f32(a); }
  static float reduce_max(F32 a) { return vmaxvq_f32(a); }
  static F32 load_f16(const uint16_t* source) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(source)));
  }
  static F32 load_bf16(const uint16_t* source) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(source), 16));
  }
  static F32 load_i8(const int8_t* source) {
    int32_t four;
    std::memcpy(&four, source, sizeof(four));
    const int16x8_t wide = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
  }

  static constexpr int kFloatRows = 8;
  static constexpr int kFloatPanels = 4;
  static constexpr int kQuantRows = 4;
  static constexpr int kQuantPanels = 4;
  static constexpr int64_t kGroup = 4;
  static constexpr uint32_t kQ8Flip = 0;
  static constexpr float kQ8Offset = 0;
  static constexpr float kQ4Offset = 8;

  static void store_i8(int8_t* destination, F32 a) {
    const int16x4_t words = vmovn_s32(vcvtq_s32_f32(a));
    const int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
    const int32_t four = vget_lane_s32(vreinterpret_s32_s8(bytes), 0);
    std::memcpy(destination, &four, sizeof(four));
  }

  // Two products to a 16-bit sum (2 * 128 * 127 < 2^15), then pairwise into 32 bits.
  template <int kRows>
  static void dot_q8_0(const uint8_t* w, const int8_t* x, int64_t x_stride,
                       const int32_t* /*excess*/, F32* dots) {
    int32x4_t rows01[kRows], rows23[kRows];  // two sums for each of two weight rows
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) rows01[r] = rows23[r] = vdupq_n_s32(0);
    CHATGLM_UNROLL
    for (int g = 0; g < 8; g += 2) {
      const int8x16_t w0 = vreinterpretq_s8_u8(vld1q_u8(w + 16 * g));
      const int8x16_t w1 = vreinterpretq_s8_u8(vld1q_u8(w + 16 * g + 16));
      CHATGLM_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const int8x8_t x0 = broadcast4(x + r * x_stride + 4 * g);
        const int8x8_t x1 = broadcast4(x + r * x_stride + 4 * g + 4);
        const int16x8_t low = vmull_s8(vget_low_s8(w0), x0);
        const int16x8_t high = vmull_s8(vget_high_s8(w0), x0);
        rows01[r] = vpadalq_s16(rows01[r], vmlal_s8(low, vget_low_s8(w1), x1));
        rows23[r] = vpadalq_s16(rows23[r], vmlal_s8(high, vget_high_s8(w1), x1));
      }
    }
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) dots[r] = vcvtq_f32_s32(vpaddq_s32(rows01[r], rows23[r]));
  }

  // Nibbles as they are, 0..15: a block's 16-bit sums of 8 products
  // stay below 8 * 15 * 127 < 2^15.
  template <int kRows>
  static void dot_q4_0(const uint8_t* w, const int8_t* x, int64_t x_stride, const int32_t* excess,
                       F32* dots) {
    int16x8_t rows01[kRows], rows23[kRows];
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) rows01[r] = rows23[r] = vdupq_n_s16(0);
    CHATGLM_UNROLL
    for (int g = 0; g < 4; ++g) {
      const uint8x16_t bytes = vld1q_u8(w + 16 * g);
      const int8x16_t low = vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15)));
      const int8x16_t high = vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4));
      CHATGLM_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const int8x8_t x_low = broadcast4(x + r * x_stride + 4 * g);
        const int8x8_t x_high = broadcast4(x + r * x_stride + 4 * g + 16);
        rows01[r] = vmlal_s8(rows01[r], vget_low_s8(low), x_low);
        rows23[r] = vmlal_s8(rows23[r], vget_high_s8(low), x_low);
        rows01[r] = vmlal_s8(rows01[r], vget_low_s8(high), x_high);
        rows23[r] = vmlal_s8(rows23[r], vget_high_s8(high), x_high);
      }
    }
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const int32x4_t sum = vpaddq_s32(vpaddlq_s16(rows01[r]), vpaddlq_s16(rows23[r]));
      dots[r] = vcvtq_f32_s32(vsubq_s32(sum, vdupq_n_s32(excess[r])));
    }
  }

 private:
  static F32 pow2(int32x4_t n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
  }
  static int8x8_t broadcast4(const int8_t* source) {
    int32_t four;
    std::memcpy(&four, source, sizeof(four));
    return vreinterpret_s8_s32(vdup_n_s32(four));
  }
};

}  // namespace

constinit const KernelTable kNeonKernels = make_kernel_table<Neon>("neon", cpu_has_neon);

}  // namespace chatglm::kernels
