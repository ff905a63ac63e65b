// Attention of up to 16 product rows: all rows of a decode step that share a KV head. The four
// warps of a block compute the scores of a quarter of a tile's slots each, exchange the weights,
// and each sum a quarter of the columns of the values.
#include "kernels/cuda/attention_mma.cuh"
#include "kernels/cuda/attention_tiles.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/shared.cuh"

namespace chatglm::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
// Slots of a row of weights; of the widest heads half of them are used.
constexpr int kWeightsStride = 64;
constexpr int kRows = static_cast<int>(kNarrowTileRows);

template <DType kType, int kDim>
struct NarrowShared {
  CacheWalk<kType, kDim, kThreads> cache;
  alignas(128) __half weights[kRows * kWeightsStride];
  float largest[kWarps][kRows];
};

template <DType kType, int kDim>
__global__ void __launch_bounds__(kThreads) narrow_kernel(AttentionCall call) {
  constexpr int kSlots = kTileSlots<kDim>;
  constexpr int kColumns = kDim / 8 / kWarps;
  // Of the widest heads two warps compute the scores.
  constexpr int kScoreWarps = kSlots / 16;

  auto& shared = shared_memory<NarrowShared<kType, kDim>>();
  grid_dependency_trigger();
  BlockWork work;
  if (!find_work(call, work)) return;
  shared.cache.begin(call, work);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int first_chunk = warp * kColumns;
  const ProductRow rows[2] = {product_row<kRows>(call, lane / 4),
                              product_row<kRows>(call, lane / 4 + 8)};
  const int visible[2] = {rows[0].visible, rows[1].visible};
  Queries<kDim> queries;
  queries.load(call, rows, lane, CacheTiles<kType, kDim, kThreads>::kKeysFactor);
  Total<kColumns, 0, kThreads> total;
  Softmax<kColumns> part;
  total.clear(nullptr);
  part.clear();

  const auto on_tile = [&](int begin, const __half* keys, const __half* values) {
    float scores[2][4];
    float largest[2] = {minus_infinity(), minus_infinity()};
    if (warp < kScoreWarps) {
      multiply_keys<kDim, 1>(queries, keys, warp * 16, lane, scores);
      hide_unseen(scores, visible, begin + warp * 16, lane);
      largest_products(scores, largest);
      if (lane % 4 == 0) {
        shared.largest[warp][lane / 4] = largest[0];
        shared.largest[warp][lane / 4 + 8] = largest[1];
      }
    }
    __syncthreads();
    for (int other = 0; other < kScoreWarps; ++other) {
      largest[0] = fmaxf(largest[0], shared.largest[other][lane / 4]);
      largest[1] = fmaxf(largest[1], shared.largest[other][lane / 4 + 8]);
    }
    part.raise(largest, queries.factor);
    if (warp < kScoreWarps) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int r = i % 2, column = i / 2;
        const int row = lane / 4 + 8 * r, chunk = warp * 2 + column;
        *reinterpret_cast<uint32_t*>(shared.weights + swizzled<kWeightsStride>(row, chunk) +
                                     lane % 4 * 2) =
            part.weights(scores[column][2 * r], scores[column][2 * r + 1], queries.factor[r], r);
      }
    }
    __syncthreads();
    const int own_weights = unknown(swizzled<kWeightsStride>(lane % 16, lane / 16));
    const int own_values = value_offset<kDim>(first_chunk, lane);
#pragma unroll
    for (int step = 0; step < kSlots / 16; ++step) {
      uint32_t a[4];
      ldmatrix_x4(a, shared.weights + (own_weights ^ swizzled<kWeightsStride>(0, step * 2)));
      part.template add<kDim>(a, values + step * 16 * kDim, own_values);
    }
  };
  const auto on_partition = [&](int partition) {
    if (call.partials != nullptr) {
      write_partial<kRows>(call, part, queries.factor, partition, lane / 4, first_chunk, warp == 0,
                           lane);
    } else {
      total.merge(part, queries.factor, visible, partition * kPartition);
    }
    part.clear();
  };
  shared.cache.run(call, work, on_tile, on_partition);
  if (call.partials == nullptr) write_output<kRows>(call, total, lane / 4, first_chunk, lane);
}

template <DType kType, int kDim>
void launch_narrow(const AttentionCall& call, const dim3& grid, Stream stream) {
  static_assert(sizeof(NarrowShared<kType, kDim>) <= kMostSharedBytes);
  launch_early(call.early, narrow_kernel<kType, kDim>, grid, kThreads,
               sizeof(NarrowShared<kType, kDim>), stream, call);
}

template <DType kType>
void launch_type(const AttentionCall& call, const dim3& grid, Stream stream) {
  if (call.head_dim <= 64) {
    launch_narrow<kType, 64>(call, grid, stream);
  } else if (call.head_dim <= 128) {
    launch_narrow<kType, 128>(call, grid, stream);
  } else {
    launch_narrow<kType, 256>(call, grid, stream);
  }
}

}  // namespace

void attend_narrow(const AttentionCall& call, const TileGrid& grid, Stream stream) {
  const dim3 blocks = attention_blocks(call, grid);
  if (call.dtype == DType::kF16) {
    launch_type<DType::kF16>(call, blocks, stream);
  } else {
    launch_type<DType::kQ8_0>(call, blocks, stream);
  }
}

}  // namespace chatglm::kernels::cuda
