#include <algorithm>
#include <bit>

#include "base/ceil_div.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_tiles.h"

namespace chatglm::kernels::cuda {
namespace {

// Blocks that a multiprocessor holds at once.
constexpr int64_t kNarrowBlocks = 3;
constexpr int64_t kWideBlocks = 1;
// Up to here one block is done before blocks of single partitions and their merge would be.
constexpr int64_t kLeastPartitions = 3;

int64_t partitions(int64_t visible) {
  return ceil_div(visible, kAttentionPartition);
}

// As many splits as fill the device.
TileGrid cut(const AttentionShape& shape, int64_t tiles, int64_t product_rows, int64_t longest,
             int64_t device_blocks) {
  TileGrid grid{.tiles = static_cast<int32_t>(tiles)};
  if (tiles == 0) return grid;
  const auto bucket = static_cast<int64_t>(
      std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(1, partitions(longest)))));
  const int64_t blocks = tiles * shape.kv_heads * blocks_per_kv_head(shape, product_rows);
  const int64_t most =
      bucket < kLeastPartitions ? 1 : std::clamp<int64_t>(device_blocks / blocks, 1, bucket);
  const int64_t each = ceil_div(bucket, most);
  grid.partitions_per_split = static_cast<int32_t>(each);
  grid.splits = static_cast<int32_t>(ceil_div(bucket, each));
  return grid;
}

}  // namespace

void AttentionPlan::make(const AttentionShape& shape, std::span<const int32_t> sequence,
                         std::span<const int32_t> visible, int multiprocessors) {
  tiles_.clear();
  wide_.clear();
  const int64_t narrow_product_rows = narrow_tile_rows(shape);
  const int64_t narrow_rows = query_rows(shape, narrow_product_rows);
  const int64_t group = shape.heads / shape.kv_heads;
  int64_t longest_narrow = 0, longest_wide = 0;
  for (std::size_t first = 0, end = 0; first < sequence.size(); first = end) {
    while (end < sequence.size() && sequence[end] == sequence[first]) ++end;
    const bool is_wide =
        has_wide_kernel(shape) && static_cast<int64_t>(end - first) * group > narrow_product_rows;
    const auto most_rows =
        static_cast<std::size_t>(is_wide ? query_rows(shape, kWideTileRows) : narrow_rows);
    for (std::size_t row = first; row < end; row += most_rows) {
      const std::size_t num_rows = std::min(most_rows, end - row);
      const int32_t longest = std::ranges::max(visible.subspan(row, num_rows));
      (is_wide ? wide_ : tiles_)
          .push_back({.first_row = static_cast<int32_t>(row),
                      .num_rows = static_cast<int32_t>(num_rows),
                      .sequence = sequence[row],
                      .visible = longest,
                      .first_partial = 0});
      int64_t& of_all = is_wide ? longest_wide : longest_narrow;
      of_all = std::max<int64_t>(of_all, longest);
    }
  }
  grid_.narrow = cut(shape, static_cast<int64_t>(tiles_.size()), narrow_product_rows,
                     longest_narrow, kNarrowBlocks * multiprocessors);
  grid_.wide = cut(shape, static_cast<int64_t>(wide_.size()), kWideTileRows, longest_wide,
                   kWideBlocks * multiprocessors);

  // Room for the partials, narrow tiles first; what does not fit is not split.
  const int64_t row_bytes =
      shape.heads * partial_floats(shape.head_dim) * static_cast<int64_t>(sizeof(float));
  int64_t used = 0;  // rows times partitions
  const auto place = [&](std::vector<RowTile>& tiles, TileGrid& grid) {
    if (grid.splits == 1) return;
    int64_t next = used;
    for (RowTile& tile : tiles) {
      tile.first_partial = static_cast<int32_t>(next);
      next += tile.num_rows * partitions(tile.visible);
      if (next * row_bytes > kMostAttentionWorkspaceBytes) {
        const auto all = static_cast<uint32_t>(grid.partitions_per_split * grid.splits);
        grid.partitions_per_split = static_cast<int32_t>(std::bit_floor(all));
        grid.splits = 1;
        return;
      }
    }
    used = next;
  };
  place(tiles_, grid_.narrow);
  place(wide_, grid_.wide);
  workspace_bytes_ = used * row_bytes;
  tiles_.insert(tiles_.end(), wide_.begin(), wide_.end());
}

}  // namespace chatglm::kernels::cuda
