// Which part of an attention a block computes, where its rows and slots are, and where its results
// go. Shared by the attention kernels; knows nothing of how scores are computed.
#pragma once

#include <cuda_runtime.h>

#include <cmath>

#include "kernels/cuda/attention_call.h"

namespace chatglm::kernels::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;
inline constexpr int kPartition = static_cast<int>(kAttentionPartition);

inline dim3 attention_blocks(const AttentionCall& call, const TileGrid& grid) {
  return dim3(static_cast<unsigned>(grid.tiles),
              static_cast<unsigned>(call.heads / call.group * call.blocks_per_kv_head),
              static_cast<unsigned>(grid.splits));
}

// What the block needs of its tile throughout; the rest is read again where it is wanted.
struct BlockWork {
  int sequence;
  int visible;
  int kv_head;
  int first_partition;
  int end_partition;
};

// Long tiles come last and are begun first.
__device__ __forceinline__ const RowTile& tile_of_block(const AttentionCall& call) {
  return call.tiles[gridDim.x - 1 - blockIdx.x];
}

// False where the block has nothing to do: the grid was made for longer rows.
__device__ __forceinline__ bool find_work(const AttentionCall& call, BlockWork& work) {
  const RowTile& tile = tile_of_block(call);
  work.sequence = tile.sequence;
  work.visible = tile.visible;
  work.kv_head = static_cast<int>(blockIdx.y) / call.blocks_per_kv_head;
  const int all = (work.visible + kPartition - 1) / kPartition;
  work.first_partition = static_cast<int>(blockIdx.z) * call.partitions_per_split;
  work.end_partition = work.first_partition + call.partitions_per_split;
  if (work.end_partition > all) work.end_partition = all;
  return work.first_partition < work.end_partition;
}

// A query head of a row.
struct ProductRow {
  int row_in_tile;
  int row;
  int head;
  int visible;  // slots; 0: there is no such row
};

template <int kProductRows>
__device__ __forceinline__ ProductRow product_row(const AttentionCall& call, int index) {
  const RowTile& tile = tile_of_block(call);
  const int block = static_cast<int>(blockIdx.y);
  const int all = block % call.blocks_per_kv_head * kProductRows + index;
  ProductRow result;
  result.row_in_tile = all / call.group;
  result.row = tile.first_row + result.row_in_tile;
  result.head = block / call.blocks_per_kv_head * call.group + all % call.group;
  result.visible = result.row_in_tile < tile.num_rows ? call.visible[result.row] : 0;
  return result;
}

__device__ __forceinline__ const float* query_of(const AttentionCall& call, const ProductRow& row) {
  return call.query + row.row * call.query_stride + row.head * call.head_dim;
}
__device__ __forceinline__ float* output_of(const AttentionCall& call, const ProductRow& row) {
  return call.output + (static_cast<int64_t>(row.row) * call.heads + row.head) * call.head_dim;
}
// (head_dim) values, then the largest score and the sum of the weights
__device__ __forceinline__ float* partial_of(const AttentionCall& call, const RowTile& tile,
                                             int row_in_tile, int head, int partition) {
  const int64_t row =
      tile.first_partial + static_cast<int64_t>(partition) * tile.num_rows + row_in_tile;
  return call.partials + (row * call.heads + head) * (call.head_dim + 2);
}

// Where the key of a slot is. Slots that no row sees have no page: they get the address of the last
// one that has, which is never read for them.
__device__ __forceinline__ const std::byte* key_address(const AttentionCall& call,
                                                        const BlockWork& work, int wanted_slot) {
  const int slot = wanted_slot < work.visible ? wanted_slot : work.visible - 1;
  const int block = slot / call.page_tokens;
  const int32_t page = call.block_table[work.sequence * call.block_table_stride + block];
  return call.pages[page] + call.keys_offset + work.kv_head * call.head_bytes +
         static_cast<int64_t>(slot - block * call.page_tokens) * call.token_bytes;
}

__device__ __forceinline__ float minus_infinity() {
  return -INFINITY;
}

// Two partial results become one in the same way everywhere: total = total * of_total + part *
// of_part. Nothing yet: largest is minus infinity, everything else 0.
struct MergeFactors {
  float largest;
  float of_total;
  float of_part;
};

__device__ __forceinline__ MergeFactors merge_factors(float total_largest, float part_largest) {
  MergeFactors result;
  result.largest = fmaxf(total_largest, part_largest);
  result.of_total = exp2f(total_largest - result.largest);
  result.of_part = exp2f(part_largest - result.largest);
  return result;
}

__device__ __forceinline__ float merged(float total, float part, const MergeFactors& factors) {
  return __fmaf_rn(part, factors.of_part, total * factors.of_total);
}

}  // namespace chatglm::kernels::cuda
