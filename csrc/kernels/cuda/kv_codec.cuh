// Keys and values on their way into the cache, encoded to the bytes that the storage type's plain
// codec makes (of a NaN: to a NaN): a head by a warp, or value by value.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cmath>

#include "kernels/cuda/kv_place.h"

namespace chatglm::kernels::cuda {

// The row's key of the first head.
__device__ __forceinline__ std::byte* stored_row(const KvPlace& place, int64_t row) {
  const int32_t slot = place.slots[row];
  const int32_t block = slot / place.page_tokens;
  const int32_t page = place.block_table[place.sequence[row] * place.block_table_stride + block];
  return place.pages[page] + place.keys_offset +
         (slot - block * place.page_tokens) * place.token_bytes;
}

// plane: of the keys (0) or of the values (1)
__device__ __forceinline__ std::byte* stored_head(const KvPlace& place, int64_t row, int plane,
                                                  int head) {
  return stored_row(place, row) + plane * place.plane_bytes + head * place.head_bytes;
}

// 32 values, one a lane, to a block of q8_0.
__device__ __forceinline__ void encode_q8_0(float value, std::byte* block, int lane) {
  constexpr unsigned kAll = 0xffffffffu;
  float largest = fabsf(value);
  const bool has_nan = __any_sync(kAll, value != value);
  for (int distance = 16; distance > 0; distance /= 2) {
    largest = fmaxf(largest, __shfl_xor_sync(kAll, largest, distance));
  }
  if (has_nan) largest = NAN;
  const float scale = largest / 127.0f;
  const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
  const float scaled = roundf(value * inverse);  // halves away from zero
  reinterpret_cast<int8_t*>(block)[2 + lane] =
      fabsf(scaled) <= 128 ? static_cast<int8_t>(scaled) : int8_t{0};
  if (lane == 0) *reinterpret_cast<__half*>(block) = __float2half_rn(scale);
}

// Value i of a head in a cache whose type has no blocks: f32 or f16.
__device__ __forceinline__ void encode_plain(DType dtype, float value, std::byte* head, int i) {
  if (dtype == DType::kF16) {
    reinterpret_cast<__half*>(head)[i] = __float2half_rn(value);
  } else {
    reinterpret_cast<float*>(head)[i] = value;
  }
}

// A head of head_dim values, readable by the whole warp.
__device__ __forceinline__ void encode_head(DType dtype, const float* values, int head_dim,
                                            std::byte* to, int lane) {
  for (int start = 0; start < head_dim; start += 32) {
    const int i = start + lane;
    if (dtype == DType::kQ8_0) {
      encode_q8_0(values[i], to + start / 32 * 34, lane);
    } else if (i < head_dim) {
      encode_plain(dtype, values[i], to, i);
    }
  }
}

}  // namespace chatglm::kernels::cuda
