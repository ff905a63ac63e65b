// How operations that look at one element at a time cut rows into blocks: blockIdx.x is the row, so
// that there may be any number of them, and blockIdx.y a slice of it.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "base/ceil_div.h"

namespace chatglm::kernels::cuda {

inline constexpr int kSliceThreads = 256;
inline constexpr int64_t kSlice = 4 * kSliceThreads;  // elements

inline dim3 slice_grid(int64_t rows, int64_t cols) {
  return dim3(static_cast<unsigned>(rows), static_cast<unsigned>(ceil_div(cols, kSlice)));
}

// Calls body(column) for the columns of this thread.
template <typename Body>
__device__ __forceinline__ void for_slice(int64_t cols, const Body& body) {
  const int64_t begin = blockIdx.y * kSlice;
  const int64_t end = min(begin + kSlice, cols);
  for (int64_t i = begin + threadIdx.x; i < end; i += kSliceThreads) body(i);
}

}  // namespace chatglm::kernels::cuda
