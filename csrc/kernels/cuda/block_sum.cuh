// Sums over a block, in one fixed order: every thread gets the same bits.
#pragma once

#include <cuda_runtime.h>

namespace chatglm::kernels::cuda {

inline constexpr int kWarpLanes = 32;
inline constexpr unsigned kAllLanes = 0xffffffff;

template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int distance = kWarpLanes / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

// `partial` is shared, one for each warp; all threads of the block call it. It may be used again
// for the next sum at once.
template <typename T, int kWarps>
__device__ __forceinline__ T block_sum(T value, T (&partial)[kWarps]) {
  value = warp_sum(value);
  const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
  __syncthreads();
  if (threadIdx.x % kWarpLanes == 0) partial[warp] = value;
  __syncthreads();
  T sum = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) sum += partial[i];
  return sum;
}

}  // namespace chatglm::kernels::cuda
