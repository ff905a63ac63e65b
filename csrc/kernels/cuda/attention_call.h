// What the attention kernels are given, all of it by value, and the host functions that launch
// them. Private to the attention; includes no CUDA header.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/stream.h"

namespace chatglm::kernels::cuda {

struct AttentionCall {
  const float* query;  // (rows, heads, head_dim), row stride `query_stride`
  int64_t query_stride;
  float* output;  // (rows, heads, head_dim)
  int32_t heads;
  int32_t group;  // query heads of a KV head
  int32_t head_dim;
  float scale;  // times log2(e): weights are powers of two

  std::byte* const* pages;  // see PagedKvView
  DType dtype;
  int64_t keys_offset;  // from the start of a page to its keys of this attention
  int64_t plane_bytes;  // from keys to values
  int64_t head_bytes;
  int32_t token_bytes;
  int32_t page_tokens;

  const int32_t* visible;      // (rows)
  const int32_t* block_table;  // (sequences, block_table_stride)
  int64_t block_table_stride;
  const RowTile* tiles;          // (grid.x)
  int32_t blocks_per_kv_head;    // grid.y: KV heads times these
  int32_t partitions_per_split;  // grid.z: splits
  float* partials;  // (rows times partitions, heads, partial_floats), or nullptr: to the output
  bool early;       // kernels of few rows start early, see launch.cuh
};

// What a block may have on every device (compute capability 8.6 and 8.9).
inline constexpr std::size_t kMostSharedBytes = 99 * 1024;

// The tiles of `grid`: partials, or the output.
void attend_plain(const AttentionCall& call, const TileGrid& grid, Stream stream);
void attend_narrow(const AttentionCall& call, const TileGrid& grid, Stream stream);
void attend_wide(const AttentionCall& call, const TileGrid& grid, Stream stream);
// Partials to the output. rows_per_tile: at most
void merge_partials(const AttentionCall& call, const TileGrid& grid, int64_t rows_per_tile,
                    Stream stream);

}  // namespace chatglm::kernels::cuda
