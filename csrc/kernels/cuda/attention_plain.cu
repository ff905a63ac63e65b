// Attention in plain f32: for f32 caches, and for what the matrix instructions don't fit. A block
// has up to 8 product rows; its warps share the slots of a tile when they compute scores, and its
// threads the columns when they sum values.
#include <cuda_fp16.h>

#include "kernels/cuda/attention_block.cuh"
#include "kernels/cuda/attention_tiles.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/shared.cuh"

namespace chatglm::kernels::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kRows = static_cast<int>(kPlainTileRows);
constexpr int kSlots = 64;
constexpr int kRowsPerWarp = kRows / kWarps;

struct PlainShared {
  float queries[kRows][kMaxAttentionHeadDim];
  float weights[kSlots][kRows];  // scores first
  float shrink[kRows];
  float part_largest[kRows];  // product: the score by the scale
  float part_weight[kRows];
  int visible[kRows];
  const std::byte* addresses[kPartition];
};

template <DType kType>
__device__ __forceinline__ float element(const std::byte* vector, int i) {
  if constexpr (kType == DType::kF32) {
    return reinterpret_cast<const float*>(vector)[i];
  } else if constexpr (kType == DType::kF16) {
    return __half2float(reinterpret_cast<const __half*>(vector)[i]);
  } else {
    static_assert(kType == DType::kQ8_0);
    const std::byte* const block = vector + i / 32 * 34;
    const auto code = static_cast<float>(reinterpret_cast<const int8_t*>(block + 2)[i % 32]);
    return __half2float(*reinterpret_cast<const __half*>(block)) * code;
  }
}

__device__ __forceinline__ float sum_of_warp(float value) {
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

__device__ __forceinline__ float largest_of_warp(float value) {
  for (int distance = 16; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

// Scores of slots begin, begin + 1, ... of the sequence, in the tile at `addresses`.
template <DType kType>
__device__ __forceinline__ void score(PlainShared& shared, const AttentionCall& call,
                                      const std::byte* const* addresses, int begin, int count) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  for (int slot = warp; slot < count; slot += kWarps) {
    float sums[kRows] = {};
    for (int i = lane; i < call.head_dim; i += 32) {
      const float key = element<kType>(addresses[slot], i);
#pragma unroll
      for (int r = 0; r < kRows; ++r) sums[r] = __fmaf_rn(shared.queries[r][i], key, sums[r]);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float sum = sum_of_warp(sums[r]);
      if (lane == 0) {
        shared.weights[slot][r] = begin + slot < shared.visible[r] ? sum : minus_infinity();
      }
    }
  }
}

// Scores to weights; every warp has rows of its own.
__device__ __forceinline__ void weigh(PlainShared& shared, const AttentionCall& call, int count) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  for (int r = warp * kRowsPerWarp; r < (warp + 1) * kRowsPerWarp; ++r) {
    float largest = minus_infinity();
    for (int slot = lane; slot < count; slot += 32) {
      largest = fmaxf(largest, shared.weights[slot][r]);
    }
    const float before = shared.part_largest[r];
    largest = fmaxf(before, largest_of_warp(largest));
    float sum = 0;
    for (int slot = lane; slot < count; slot += 32) {
      const float weight = exp2f((shared.weights[slot][r] - largest) * call.scale);
      shared.weights[slot][r] = weight;
      sum += weight;
    }
    sum = sum_of_warp(sum);
    __syncwarp();  // all lanes have read what lane 0 replaces
    if (lane == 0) {
      const float shrink = exp2f((before - largest) * call.scale);
      shared.shrink[r] = shrink;
      shared.part_largest[r] = largest;
      shared.part_weight[r] = __fmaf_rn(shared.part_weight[r], shrink, sum);
    }
  }
}

// Columns threadIdx.x, threadIdx.x + kThreads, ... of all rows.
template <int kColumns>
struct Values {
  float at[kColumns][kRows];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) at[c][r] = 0;
    }
  }

  template <DType kType>
  __device__ __forceinline__ void add(const PlainShared& shared, const AttentionCall& call,
                                      const std::byte* const* addresses, int begin, int count) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int column = static_cast<int>(threadIdx.x) + c * kThreads;
      if (column >= call.head_dim) continue;
#pragma unroll
      for (int r = 0; r < kRows; ++r) at[c][r] *= shared.shrink[r];
      for (int slot = 0; slot < count; ++slot) {
        const float value = element<kType>(addresses[slot] + call.plane_bytes, column);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          // Not added with a weight of 0: it may be infinite, and is none of the row's business.
          if (begin + slot < shared.visible[r]) {
            at[c][r] = __fmaf_rn(value, shared.weights[slot][r], at[c][r]);
          }
        }
      }
    }
  }
};

template <DType kType, int kColumns>
__global__ void __launch_bounds__(kThreads, kColumns == 1 ? 6 : 3)
    plain_kernel(AttentionCall call) {
  auto& shared = shared_memory<PlainShared>();
  BlockWork work;
  if (!find_work(call, work)) return;
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < kRows) {
    shared.visible[thread] = product_row<kRows>(call, thread).visible;
    shared.part_largest[thread] = minus_infinity();
    shared.part_weight[thread] = 0;
  }
  for (int r = 0; r < kRows; ++r) {
    const ProductRow row = product_row<kRows>(call, r);
    for (int i = thread; i < call.head_dim; i += kThreads) {
      shared.queries[r][i] = row.visible > 0 ? query_of(call, row)[i] : 0;
    }
  }
  Values<kColumns> total, part;
  float total_largest[kRows], total_weight[kRows];
  total.clear();
  part.clear();
  for (int r = 0; r < kRows; ++r) {
    total_largest[r] = minus_infinity();
    total_weight[r] = 0;
  }

  for (int partition = work.first_partition; partition < work.end_partition; ++partition) {
    __syncthreads();  // nobody reads the addresses of the partition before
    for (int slot = thread; slot < kPartition; slot += kThreads) {
      shared.addresses[slot] = key_address(call, work, partition * kPartition + slot);
    }
    const int left = work.visible - partition * kPartition;
    const int seen = left < kPartition ? left : kPartition;
    for (int first = 0; first < seen; first += kSlots) {
      const int count = seen - first < kSlots ? seen - first : kSlots;
      const int begin = partition * kPartition + first;
      __syncthreads();  // the addresses are there; nobody reads the weights of the tile before
      score<kType>(shared, call, shared.addresses + first, begin, count);
      __syncthreads();
      weigh(shared, call, count);
      __syncthreads();
      part.template add<kType>(shared, call, shared.addresses + first, begin, count);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (partition * kPartition >= shared.visible[r]) continue;
      const ProductRow row = product_row<kRows>(call, r);
      const float largest = shared.part_largest[r] * call.scale;
      const float weight = shared.part_weight[r];
      const MergeFactors factors = merge_factors(total_largest[r], largest);
      float* const to = call.partials == nullptr ? nullptr
                                                 : partial_of(call, tile_of_block(call),
                                                              row.row_in_tile, row.head, partition);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const int column = thread + c * kThreads;
        if (column >= call.head_dim) continue;
        if (to != nullptr) {
          to[column] = part.at[c][r];
        } else {
          total.at[c][r] = merged(total.at[c][r], part.at[c][r], factors);
        }
      }
      if (to != nullptr && thread == 0) {
        to[call.head_dim] = largest;
        to[call.head_dim + 1] = weight;
      }
      total_largest[r] = factors.largest;
      total_weight[r] = merged(total_weight[r], weight, factors);
    }
    part.clear();
    __syncthreads();  // everybody has read the sums
    if (thread < kRows) {
      shared.part_largest[thread] = minus_infinity();
      shared.part_weight[thread] = 0;
    }
  }
  if (call.partials != nullptr) return;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const ProductRow row = product_row<kRows>(call, r);
    if (row.visible == 0) continue;
    const float inverse = 1 / total_weight[r];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const int column = thread + c * kThreads;
      if (column < call.head_dim) output_of(call, row)[column] = total.at[c][r] * inverse;
    }
  }
}

template <DType kType>
void launch_type(const AttentionCall& call, const dim3& grid, Stream stream) {
  if (call.head_dim <= kThreads) {
    launch(plain_kernel<kType, 1>, grid, kThreads, sizeof(PlainShared), stream, call);
  } else {
    launch(plain_kernel<kType, kMaxAttentionHeadDim / kThreads>, grid, kThreads,
           sizeof(PlainShared), stream, call);
  }
}

}  // namespace

void attend_plain(const AttentionCall& call, const TileGrid& grid, Stream stream) {
  const dim3 blocks = attention_blocks(call, grid);
  if (call.dtype == DType::kF32) {
    launch_type<DType::kF32>(call, blocks, stream);
  } else if (call.dtype == DType::kF16) {
    launch_type<DType::kF16>(call, blocks, stream);
  } else {
    launch_type<DType::kQ8_0>(call, blocks, stream);
  }
}

}  // namespace chatglm::kernels::cuda
