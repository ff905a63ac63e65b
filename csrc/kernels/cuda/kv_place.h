// Where a step's keys and values go in the cache, as kernels are told. Includes no CUDA header.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/args.h"

namespace chatglm::kernels::cuda {

// A copy of KvStoreArgs that needs no table of types.
struct KvPlace {
  std::byte* const* pages = nullptr;
  DType dtype = DType::kF32;
  int64_t keys_offset = 0;  // from the start of a page
  int64_t plane_bytes = 0;  // from keys to values
  int64_t head_bytes = 0;
  int64_t token_bytes = 0;
  int32_t page_tokens = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
  const int32_t* slots = nullptr;        // (rows)
  const int32_t* sequence = nullptr;     // (rows)
  const int32_t* block_table = nullptr;  // (sequences, block_table_stride)
  int64_t block_table_stride = 0;
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

}  // namespace chatglm::kernels::cuda
