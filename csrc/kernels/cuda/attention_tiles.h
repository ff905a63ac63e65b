// Which kernel computes an attention and how large its tiles are: what the plan and the launches
// must agree on. Includes no CUDA header.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention.h"

namespace chatglm::kernels::cuda {

// Product rows (query rows times query heads of one KV head) of a block.
inline constexpr int64_t kPlainTileRows = 8;
inline constexpr int64_t kNarrowTileRows = 16;
inline constexpr int64_t kWideTileRows = 128;

// Matrix instructions need whole k-steps of 16, and copies whole chunks of 16 bytes: of q8_0 those
// are 4 slots of a page.
inline bool has_matrix_kernel(const AttentionShape& shape) {
  if (shape.head_dim > 256) return false;
  if (shape.dtype == DType::kF16) return shape.head_dim % 16 == 0;
  return shape.dtype == DType::kQ8_0 && shape.head_dim % 64 == 0 && shape.page_tokens % 4 == 0;
}

// The accumulators of wider heads don't fit in the registers of a wide tile.
inline bool has_wide_kernel(const AttentionShape& shape) {
  return has_matrix_kernel(shape) && shape.head_dim <= 128;
}

inline int64_t narrow_tile_rows(const AttentionShape& shape) {
  return has_matrix_kernel(shape) ? kNarrowTileRows : kPlainTileRows;
}

// Query rows of a tile of `product_rows`.
inline int64_t query_rows(const AttentionShape& shape, int64_t product_rows) {
  const int64_t rows = product_rows * shape.kv_heads / shape.heads;
  return rows > 0 ? rows : 1;
}

// Blocks that compute one KV head of a tile: more than one where even a single query row has more
// heads than a block has product rows.
inline int64_t blocks_per_kv_head(const AttentionShape& shape, int64_t product_rows) {
  const int64_t all = query_rows(shape, product_rows) * (shape.heads / shape.kv_heads);
  return (all + product_rows - 1) / product_rows;
}

// Floats of a partial result of one row and head: the weighted values, the largest score and the
// sum of the weights.
inline int64_t partial_floats(int64_t head_dim) {
  return head_dim + 2;
}

}  // namespace chatglm::kernels::cuda
