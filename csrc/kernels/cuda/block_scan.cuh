// Running sums and maxima over a block. All threads of the block call these; `partial` is shared,
// one for each warp, and may be used again at once.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/block_sum.cuh"

namespace chatglm::kernels::cuda {

template <typename T>
struct Scan {
  T inclusive;  // of this thread and those before it
  T total;
};

template <typename T, int kWarps>
__device__ __forceinline__ Scan<T> block_scan(T value, T (&partial)[kWarps]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
  const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
#pragma unroll
  for (int distance = 1; distance < kWarpLanes; distance *= 2) {
    const T other = __shfl_up_sync(kAllLanes, value, distance);
    if (lane >= distance) value += other;
  }
  __syncthreads();
  if (lane == kWarpLanes - 1) partial[warp] = value;
  __syncthreads();
  T before = 0, total = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) {
    if (i < warp) before += partial[i];
    total += partial[i];
  }
  return {before + value, total};
}

template <typename T, int kWarps>
__device__ __forceinline__ T block_max(T value, T (&partial)[kWarps]) {
#pragma unroll
  for (int distance = kWarpLanes / 2; distance > 0; distance /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, value, distance);
    if (other > value) value = other;
  }
  __syncthreads();
  if (threadIdx.x % kWarpLanes == 0) partial[threadIdx.x / kWarpLanes] = value;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kWarps; ++i) {
    if (partial[i] > value) value = partial[i];
  }
  return value;
}

}  // namespace chatglm::kernels::cuda
