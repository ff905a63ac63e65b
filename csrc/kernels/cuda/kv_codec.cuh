// Keys and values on their way into the cache: one head, encoded by one warp to the bytes that the
// storage type's plain codec makes (of a NaN: to a NaN).
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cmath>

#include "kernels/args.h"

namespace chatglm::kernels::cuda {

// Where a row's keys and values go; a copy of KvStoreArgs that needs no table of types.
struct KvPlace {
  std::byte* const* pages;
  DType dtype;
  int64_t keys_offset;  // from the start of a page
  int64_t plane_bytes;  // from keys to values
  int64_t head_bytes;
  int64_t token_bytes;
  int32_t page_tokens;
  int32_t kv_heads;
  int32_t head_dim;
  const int32_t* slots;        // (rows)
  const int32_t* sequence;     // (rows)
  const int32_t* block_table;  // (sequences, block_table_stride)
  int64_t block_table_stride;
};

inline KvPlace kv_place(const KvStoreArgs& args) {
  return {.pages = args.kv.pages,
          .dtype = args.kv.dtype,
          .keys_offset = 2 * args.layer * args.kv.plane_bytes(),
          .plane_bytes = args.kv.plane_bytes(),
          .head_bytes = args.kv.head_bytes(),
          .token_bytes = args.kv.token_bytes(),
          .page_tokens = static_cast<int32_t>(args.kv.page_tokens),
          .kv_heads = static_cast<int32_t>(args.kv.kv_heads),
          .head_dim = static_cast<int32_t>(args.kv.head_dim),
          .slots = args.rows.slots,
          .sequence = args.rows.sequence,
          .block_table = args.rows.block_table,
          .block_table_stride = args.rows.block_table_stride};
}

// plane: of the keys (0) or of the values (1)
__device__ __forceinline__ std::byte* stored_head(const KvPlace& place, int64_t row, int plane,
                                                  int head) {
  const int32_t slot = place.slots[row];
  const int32_t block = slot / place.page_tokens;
  const int32_t page = place.block_table[place.sequence[row] * place.block_table_stride + block];
  return place.pages[page] + place.keys_offset + plane * place.plane_bytes +
         head * place.head_bytes + (slot - block * place.page_tokens) * place.token_bytes;
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

// A head of head_dim values, readable by the whole warp.
__device__ __forceinline__ void encode_head(DType dtype, const float* values, int head_dim,
                                            std::byte* to, int lane) {
  for (int start = 0; start < head_dim; start += 32) {
    const int i = start + lane;
    if (dtype == DType::kQ8_0) {
      encode_q8_0(values[i], to + start / 32 * 34, lane);
    } else if (i < head_dim && dtype == DType::kF16) {
      reinterpret_cast<__half*>(to)[i] = __float2half_rn(values[i]);
    } else if (i < head_dim) {
      reinterpret_cast<float*>(to)[i] = values[i];
    }
  }
}

}  // namespace chatglm::kernels::cuda
