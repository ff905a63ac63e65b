// Rotation of pairs, see RopeArgs.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/args.h"

namespace chatglm::kernels::cuda {

// What becomes of the elements a and b of a pair.
__device__ __forceinline__ float rotated_first(float a, float b, float cosine, float sine) {
  return __fmaf_rn(a, cosine, -(b * sine));
}
__device__ __forceinline__ float rotated_second(float a, float b, float cosine, float sine) {
  return __fmaf_rn(b, cosine, a * sine);
}

// Pairs lane, lane + 32, ... and what follows them, of a head: from x to y, which may be x.
__device__ __forceinline__ void rotate_head(const RopeArgs& args, int64_t row, const float* x,
                                            float* y, int lane) {
  const float* const cos_sin = args.cos_sin + row * args.rotary_dim;
  const float scale = args.row_scale == nullptr ? 1 : args.row_scale[row];
  const int half = static_cast<int>(args.pair_span / 2);
  const int rotary_dim = static_cast<int>(args.rotary_dim);
  for (int pair = lane; pair < rotary_dim / 2; pair += 32) {
    const int i = pair / half * 2 * half + pair % half;
    const float cosine = cos_sin[2 * pair], sine = cos_sin[2 * pair + 1];
    const float a = x[i], b = x[i + half];
    y[i] = rotated_first(a, b, cosine, sine) * scale;
    y[i + half] = rotated_second(a, b, cosine, sine) * scale;
  }
  for (int i = rotary_dim + lane; i < static_cast<int>(args.head_dim); i += 32) y[i] = x[i] * scale;
}

}  // namespace chatglm::kernels::cuda
