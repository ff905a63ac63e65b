// Vectors of 64-bit Arm: 4 floats and 16 bytes of codes, without the integer dot products, in which
// the rows of the table differ. In an anonymous namespace: each row's file compiles its own copy
// with its own flags.
#pragma once

#include <arm_neon.h>

#include "kernels/cpu/body_quant_codes.h"

namespace chatglm::kernels {
namespace {

struct NeonVectors {
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

  static F32 set_f16(const std::byte* source) {
    uint16_t half;
    std::memcpy(&half, source, sizeof(half));
    return vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half)));
  }
  static F32 if_less(F32 x, F32 y, F32 a, F32 b) { return vbslq_f32(vcltq_f32(x, y), a, b); }
  static constexpr float kLeastPower = -127;
  static F32 times_pow2(F32 x, F32 n) { return mul(x, pow2(vcvtq_s32_f32(n))); }
  static void transpose4(const float* const* from, float* const* to) {
    const float32x4x2_t ab = vtrnq_f32(vld1q_f32(from[0]), vld1q_f32(from[1]));
    const float32x4x2_t cd = vtrnq_f32(vld1q_f32(from[2]), vld1q_f32(from[3]));
    vst1q_f32(to[0], vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0])));
    vst1q_f32(to[1], vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1])));
    vst1q_f32(to[2], vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0])));
    vst1q_f32(to[3], vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1])));
  }

  // 6 steps * 4 vectors of sums, 4 vectors of rows and a number: 29 of 32 registers.
  static constexpr int kAttentionVectors = 4;
  static constexpr int kAttentionSteps = 6;
  static constexpr int kAttentionNarrowSteps = 16;

  static constexpr int kFloatRows = 8;
  static constexpr int kFloatPanels = 4;
  static constexpr int kQuantRows = 4;
  static constexpr int kQuantPanels = 4;
  static constexpr int kPeakChains = 12;
  static constexpr int64_t kGroup = 4;
  static void store_i8(int8_t* destination, F32 a) {
    const int16x4_t words = vmovn_s32(vcvtq_s32_f32(a));
    const int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
    const int32_t four = vget_lane_s32(vreinterpret_s32_s8(bytes), 0);
    std::memcpy(destination, &four, sizeof(four));
  }

  using Bytes = uint8x16_t;
  static constexpr int kByteFlip = 0;
  static constexpr int kByteOffset = 0;
  static Bytes load_bytes(const uint8_t* source) { return vld1q_u8(source); }
  static void store_bytes(uint8_t* destination, Bytes a) { vst1q_u8(destination, a); }
  static Bytes field(Bytes a, int from, int to, int bits) {
    const uint8x16_t moved = vshlq_u8(a, vdupq_n_s8(static_cast<int8_t>(to - from)));
    return vandq_u8(moved, vdupq_n_u8(static_cast<uint8_t>(((1 << bits) - 1) << to)));
  }
  static Bytes merge(Bytes a, Bytes b) { return vorrq_u8(a, b); }
  static Bytes lookup(Bytes a) {
    return vqtbl1q_u8(vreinterpretq_u8_s8(vld1q_s8(kLookupTable<NeonVectors>.values)), a);
  }

 private:
  static F32 pow2(int32x4_t n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
  }
};

}  // namespace
}  // namespace chatglm::kernels
