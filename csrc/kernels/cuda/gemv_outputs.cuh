// The end of products of few rows: an output, whole in one lane, is written to y, or as an element
// of a head (HeadOutputs) with the bits that linear(), rope() and kv_store() make one after the
// other.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/block_sum.cuh"
#include "kernels/cuda/kv_codec.cuh"
#include "kernels/cuda/product.h"
#include "kernels/cuda/rotation.cuh"

namespace chatglm::kernels::cuda {

__device__ __forceinline__ bool are_heads(const HeadOutputs& heads) {
  return heads.cache.pages != nullptr;
}

// The kernels find out where rows lie in the cache, stored_row(), before grid_dependency_wait():
// three reads that wait for each other, of what no kernel writes, while weights are on their way.
// It is kept in shared memory, because the loops have no registers to spare.

// Element `output` of a row's heads, which has its bias. other: of the same pair
__device__ __forceinline__ void finish_head(const ProductArgs& args, const HeadOutputs& heads,
                                            int64_t row, int output, float value, float other,
                                            std::byte* cached) {
  const KvPlace& cache = heads.cache;
  const int head = output / cache.head_dim, element = output % cache.head_dim;
  const int kv_head = head - heads.query_heads;  // of the keys, then of the values
  if (kv_head < cache.kv_heads && element < heads.rotary_dim) {
    const float* const pair = heads.cos_sin + row * heads.rotary_dim + element / 2 * 2;
    value = element % 2 == 0 ? rotated_first(value, other, pair[0], pair[1])
                             : rotated_second(other, value, pair[0], pair[1]);
  }
  if (kv_head < 0) {
    if (heads.query_scale != nullptr) value *= heads.query_scale[row];
    args.y[row * args.y_stride + output] = value;
    return;
  }
  const int plane = kv_head / cache.kv_heads;
  encode_plain(cache.dtype, value,
               cached + plane * cache.plane_bytes + kv_head % cache.kv_heads * cache.head_bytes,
               element);
}

// Writes output `output` of a row where `is_there`. The whole warp calls it; the lanes of a pair of
// outputs, of which the first is even, differ by kPairLanes. cached: of the row, read where there
// are heads only
template <int kPairLanes>
__device__ __forceinline__ void finish_output(const ProductArgs& args, const HeadOutputs& heads,
                                              int64_t row, int64_t output, float sum, bool is_there,
                                              std::byte* const& cached) {
  if (is_there && args.bias != nullptr) sum += args.bias[output];
  if (are_heads(heads)) {
    const float other = __shfl_xor_sync(kAllLanes, sum, kPairLanes);
    if (is_there) {
      finish_head(args, heads, row, static_cast<int>(output), sum, other, cached);
    }
  } else if (is_there) {
    float* const y = args.y + row * args.y_stride + output;
    if (args.accumulate) sum += *y;
    *y = sum;
  }
}

}  // namespace chatglm::kernels::cuda
