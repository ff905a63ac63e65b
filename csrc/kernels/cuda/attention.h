// Attention over a paged cache on CUDA, and what fills the cache: rotation and storing. Host
// interface; includes no CUDA header. Pointers in the arguments are device memory; pages begin at
// 16-byte boundaries.
//
// What a launch needs is split in two. AttentionGrid is what the host must know, and depends on the
// shape of a step only: rows by sequence, and the longest context rounded up to a power of two.
// Everything else (the tiles, and with them the lengths) is read from device memory. So a captured
// graph of a step can be replayed, with new tiles copied to where it reads them, for as long as the
// grid is the same.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/args.h"
#include "kernels/cuda/stream.h"

namespace chatglm::kernels::cuda {

// Consecutive rows of one sequence that are computed together.
struct RowTile {
  int32_t first_row;
  int32_t num_rows;
  int32_t sequence;       // row of the block table
  int32_t visible;        // slots that some row sees
  int32_t first_partial;  // where its partials begin in the workspace, in rows times partitions
};

// What the tiles of a step depend on besides its rows.
struct AttentionShape {
  DType dtype;  // of the cache
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t page_tokens;

  bool operator==(const AttentionShape&) const = default;
};

inline AttentionShape attention_shape(const PagedAttentionArgs& args) {
  return {args.kv.dtype, args.heads, args.kv.kv_heads, args.kv.head_dim, args.kv.page_tokens};
}

// Tiles of one height. Each is cut into `splits` blocks of partitions; one block of all partitions
// writes the output itself.
struct TileGrid {
  int32_t tiles = 0;
  int32_t splits = 1;
  int32_t partitions_per_split = 1;

  bool operator==(const TileGrid&) const = default;
};

struct AttentionGrid {
  TileGrid narrow;  // of few product rows (query rows times heads of a KV head): decode
  TileGrid wide;    // of many

  bool operator==(const AttentionGrid&) const = default;
};

// Cuts the rows of a step into tiles. A step no larger than one before allocates nothing.
class AttentionPlan {
 public:
  // sequence, visible: (rows) as in RaggedRows, on the host
  void make(const AttentionShape& shape, std::span<const int32_t> sequence,
            std::span<const int32_t> visible, int multiprocessors);

  // To be copied to the device before the step: the narrow tiles, then the wide ones; never more
  // than rows.
  std::span<const RowTile> tiles() const { return tiles_; }
  const AttentionGrid& grid() const { return grid_; }
  // Device memory for partial results of one attention at a time; 0: none. Never more than
  // kMostAttentionWorkspaceBytes.
  int64_t workspace_bytes() const { return workspace_bytes_; }

 private:
  std::vector<RowTile> tiles_, wide_;
  AttentionGrid grid_;
  int64_t workspace_bytes_ = 0;
};

// Four million slots of 32 heads of 128: more than the caches of a large GPU hold. A few long
// sequences must fit, because blocks that are not split are too few for the device.
inline constexpr int64_t kMostAttentionWorkspaceBytes = int64_t{256} << 20;

// grid, tiles (device), workspace (device, 16-byte aligned): of a plan for these rows and
// attention_shape(args). early: see launch.cuh; here and below it may be true on devices of compute
// capability 9.0 and later.
void paged_attention(const PagedAttentionArgs& args, const AttentionGrid& grid,
                     const RowTile* tiles, std::byte* workspace, Stream stream, bool early = false);

void rope(const RopeArgs& args, Stream stream);
void kv_store(const KvStoreArgs& args, Stream stream);

// rope() of the queries and of the keys, then kv_store(), as one kernel. The rotated keys go to the
// cache only: what `keys.x`, which is `store.keys`, holds afterwards is not defined.
struct RotateAndStoreArgs {
  RopeArgs queries;
  RopeArgs keys;
  KvStoreArgs store;
};
void rotate_and_store(const RotateAndStoreArgs& args, Stream stream, bool early = false);

}  // namespace chatglm::kernels::cuda
