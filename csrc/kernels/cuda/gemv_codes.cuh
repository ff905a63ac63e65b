// What the two ways of multiplying few rows by quantized weights share, so that both get the same
// bits: the integer dot products of a block of 32 weights with one of 32 inputs are exact, so only
// the floating-point operations and their order must agree.
//
// Strands: the sums of blocks b, b + 32, b + 64, ... of a row in f32, in this order. A product is
// the sum of its 32 strands as a tree: neighbours are added first, then strands 2, 4, 8, 16 apart.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/int8_input.cuh"
#include "kernels/cuda/weight_layout.h"

namespace chatglm::kernels::cuda {

inline constexpr int kStrands = 32;

// Codes are multiplied as signed bytes, nibbles as 0..15.
__device__ __forceinline__ uint32_t low_nibbles(uint32_t codes) {
  return codes & 0x0f0f0f0fU;
}
__device__ __forceinline__ uint32_t high_nibbles(uint32_t codes) {
  return codes >> 4 & 0x0f0f0f0fU;
}

// What the sum of the codes' products begins with: where nibbles stand for -8..7, what is too much.
template <typename Form>
__device__ __forceinline__ int correction(int sum_of_inputs) {
  return Form::kForm.codes == Codes::kNibbles && !Form::kForm.minimums ? -8 * sum_of_inputs : 0;
}

// Scales and minimums of a block of 32.
template <typename Form>
struct BlockScales {
  static constexpr WeightForm kForm = Form::kForm;
  static constexpr int kParts = kInputBlock / kForm.part;
  float scales[kParts];
  float minimums[kForm.minimums ? kParts : 1];

  __device__ __forceinline__ void load(const std::byte* scale_row, const std::byte* minimum_row,
                                       int64_t block) {
#pragma unroll
    for (int p = 0; p < kParts; ++p) {
      const int64_t at = block * kParts + p;
      if constexpr (kForm.half_scales) {
        scales[p] = __half2float(reinterpret_cast<const __half*>(scale_row)[at]);
      } else {
        scales[p] = reinterpret_cast<const float*>(scale_row)[at];
      }
      if constexpr (kForm.minimums) {
        minimums[p] = reinterpret_cast<const float*>(minimum_row)[at];
      }
    }
  }

  // One block's step of a strand. Dots of the two halves of the block.
  __device__ __forceinline__ float add(float strand, int first_dot, int second_dot,
                                       const BlockStep& x) const {
    if constexpr (kParts == 1) {
      strand = __fmaf_rn(scales[0] * x.step, static_cast<float>(first_dot + second_dot), strand);
      if constexpr (kForm.minimums) {
        const float inputs = x.step * static_cast<float>(x.first_sum() + x.second_sum());
        strand = __fmaf_rn(minimums[0], inputs, strand);
      }
    } else {
      strand = __fmaf_rn(scales[0] * x.step, static_cast<float>(first_dot), strand);
      strand = __fmaf_rn(scales[1] * x.step, static_cast<float>(second_dot), strand);
      if constexpr (kForm.minimums) {
        strand = __fmaf_rn(minimums[0], x.step * static_cast<float>(x.first_sum()), strand);
        strand = __fmaf_rn(minimums[1], x.step * static_cast<float>(x.second_sum()), strand);
      }
    }
    return strand;
  }
};

}  // namespace chatglm::kernels::cuda
