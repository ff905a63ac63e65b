// Attention of up to 128 product rows: rows of a prompt. Each of the eight warps of a block has 16
// rows of its own; keys and values are read once for all of them.
#include "kernels/cuda/attention_mma.cuh"
#include "kernels/cuda/attention_tiles.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/shared.cuh"

namespace chatglm::kernels::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * 32;
constexpr int kRows = 16 * kWarps;
static_assert(kRows == kWideTileRows);

// Columns of the totals in shared memory: the registers hold no more than the rest.
constexpr int kColumnsInShared = 8;

template <DType kType, int kDim>
struct WideShared {
  CacheWalk<kType, kDim, kThreads> cache;
  alignas(16) float4 totals[kColumnsInShared][kThreads];
};

template <DType kType, int kDim>
__global__ void __launch_bounds__(kThreads) wide_kernel(AttentionCall call) {
  constexpr int kSlots = kTileSlots<kDim>;

  auto& shared = shared_memory<WideShared<kType, kDim>>();
  BlockWork work;
  if (!find_work(call, work)) return;
  shared.cache.begin(call, work);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const ProductRow rows[2] = {product_row<kRows>(call, warp * 16 + lane / 4),
                              product_row<kRows>(call, warp * 16 + lane / 4 + 8)};
  const int visible[2] = {rows[0].visible, rows[1].visible};
  // Slots that some row of the warp sees, and that all its rows see.
  const int seen_by_some =
      __reduce_max_sync(kAllLanes, visible[0] > visible[1] ? visible[0] : visible[1]);
  const int seen_by_all =
      __reduce_min_sync(kAllLanes, visible[0] < visible[1] ? visible[0] : visible[1]);
  Queries<kDim> queries;
  queries.load(call, rows, lane, CacheTiles<kType, kDim, kThreads>::kKeysFactor);
  Total<kDim / 8, kColumnsInShared, kThreads> total;
  Softmax<kDim / 8> part;
  total.clear(shared.totals);
  part.clear();

  const auto on_tile = [&](int begin, const __half* keys, const __half* values) {
    if (begin >= seen_by_some) return;
    float scores[kSlots / 8][4];
    multiply_keys<kDim, kSlots / 16>(queries, keys, 0, lane, scores);
    if (begin + kSlots > seen_by_all) hide_unseen(scores, visible, begin, lane);
    float largest[2];
    largest_products(scores, largest);
    part.raise(largest, queries.factor);
    const int own_values = value_offset<kDim>(0, lane);
#pragma unroll
    for (int step = 0; step < kSlots / 16; ++step) {
      uint32_t a[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int r = i % 2;
        const float* const of = scores[2 * step + i / 2] + 2 * r;
        a[i] = part.weights(of[0], of[1], queries.factor[r], r);
      }
      part.template add<kDim>(a, values + step * 16 * kDim, own_values);
    }
  };
  const auto on_partition = [&](int partition) {
    if (call.partials != nullptr) {
      write_partial<kRows>(call, part, queries.factor, partition, warp * 16 + lane / 4, 0, true,
                           lane);
    } else {
      total.merge(part, queries.factor, visible, partition * kPartition);
    }
    part.clear();
  };
  shared.cache.run(call, work, on_tile, on_partition);
  if (call.partials == nullptr) write_output<kRows>(call, total, warp * 16 + lane / 4, 0, lane);
}

template <DType kType, int kDim>
void launch_wide(const AttentionCall& call, const dim3& grid, Stream stream) {
  static_assert(sizeof(WideShared<kType, kDim>) <= kMostSharedBytes);
  launch(wide_kernel<kType, kDim>, grid, kThreads, sizeof(WideShared<kType, kDim>), stream, call);
}

template <DType kType>
void launch_type(const AttentionCall& call, const dim3& grid, Stream stream) {
  if (call.head_dim <= 64) {
    launch_wide<kType, 64>(call, grid, stream);
  } else {
    launch_wide<kType, 128>(call, grid, stream);
  }
}

}  // namespace

void attend_wide(const AttentionCall& call, const TileGrid& grid, Stream stream) {
  const dim3 blocks = attention_blocks(call, grid);
  if (call.dtype == DType::kF16) {
    launch_type<DType::kF16>(call, blocks, stream);
  } else {
    launch_type<DType::kQ8_0>(call, blocks, stream);
  }
}

}  // namespace chatglm::kernels::cuda
