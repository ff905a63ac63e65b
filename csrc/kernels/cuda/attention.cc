// Chooses the kernels of an attention and fills in what they are given.
#include "kernels/cuda/attention.h"

#include "kernels/cuda/attention_call.h"
#include "kernels/cuda/attention_tiles.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr float kLog2E = 1.44269504F;

// Tiles of one height: attended to, and merged where they were split.
void attend(AttentionCall call, const AttentionShape& shape, const TileGrid& grid,
            int64_t product_rows, void (*kernel)(const AttentionCall&, const TileGrid&, Stream),
            Stream stream) {
  if (grid.tiles == 0) return;
  call.blocks_per_kv_head = static_cast<int32_t>(blocks_per_kv_head(shape, product_rows));
  call.partitions_per_split = grid.partitions_per_split;
  if (grid.splits == 1) call.partials = nullptr;
  kernel(call, grid, stream);
  if (grid.splits > 1) merge_partials(call, grid, query_rows(shape, product_rows), stream);
}

}  // namespace

void paged_attention(const PagedAttentionArgs& args, const AttentionGrid& grid,
                     const RowTile* tiles, std::byte* workspace, Stream stream, bool early) {
  const PagedKvView& kv = args.kv;
  AttentionCall call{.query = args.query,
                     .query_stride = args.query_stride,
                     .output = args.output,
                     .heads = static_cast<int32_t>(args.heads),
                     .group = static_cast<int32_t>(args.heads / kv.kv_heads),
                     .head_dim = static_cast<int32_t>(kv.head_dim),
                     .scale = args.scale * kLog2E,
                     .pages = kv.pages,
                     .dtype = kv.dtype,
                     .keys_offset = 2 * args.layer * kv.plane_bytes(),
                     .plane_bytes = kv.plane_bytes(),
                     .head_bytes = kv.head_bytes(),
                     .token_bytes = static_cast<int32_t>(kv.token_bytes()),
                     .page_tokens = static_cast<int32_t>(kv.page_tokens),
                     .visible = args.rows.visible,
                     .block_table = args.rows.block_table,
                     .block_table_stride = args.rows.block_table_stride,
                     .tiles = tiles,
                     .blocks_per_kv_head = 1,
                     .partitions_per_split = 1,
                     .partials = reinterpret_cast<float*>(workspace),
                     .early = early};
  const AttentionShape shape = attention_shape(args);
  attend(call, shape, grid.narrow, narrow_tile_rows(shape),
         has_matrix_kernel(shape) ? attend_narrow : attend_plain, stream);
  call.tiles += grid.narrow.tiles;
  attend(call, shape, grid.wide, kWideTileRows, attend_wide, stream);
}

}  // namespace chatglm::kernels::cuda
