// Tiles whose warps multiply four together, on compute capability 9.0. The weights are the first
// factor, opened into registers as mma.m16n8k16 lays it out; x is the second, read by the tensor
// cores themselves from the stage, whose swizzle is theirs. So a warp has 16 rows of weights and
// all rows of x, and each weight of a tile is opened once.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/gemm_kernel.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace chatglm::kernels::cuda {

template <int kRows_, int kStages_, int kBlocks_>
struct WgmmaShape {
  static constexpr int kRows = kRows_;
  static constexpr int kFragments = kRows / 8;  // of 8 rows of x
  static constexpr int kThreads = 256;
  static constexpr int kCols = kThreads / 32 * 16;
  static constexpr int kStages = kStages_;
  static constexpr int kBlocks = kBlocks_;
  static constexpr bool kPairs = false;
  using Rows = BoxedRows;

  __device__ static __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static __forceinline__ int warp_col() {
    return static_cast<int>(threadIdx.x) / 32 * 16;
  }
  __device__ static __forceinline__ int fragment_row(int f, int e) {
    return 8 * f + lane() % 4 * 2 + e % 2;
  }
  __device__ static __forceinline__ int fragment_col(int /*f*/, int e) {
    return warp_col() + lane() / 4 + e / 2 * 8;
  }

  template <class Weights, class Stage>
  __device__ static __forceinline__ void multiply(const Stage& stage,
                                                  float (&sums)[kFragments][4]) {
    uint32_t a[4][4];  // of 16 inputs each
#pragma unroll
    for (int block = 0; block < 2; ++block) {
      uint32_t low[4], high[4];  // rows 0 to 7, 8 to 15
      Weights::open(stage.weights, warp_col(), block, low);
      Weights::open(stage.weights, warp_col() + 8, block, high);
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        a[2 * block + part][0] = low[2 * part];
        a[2 * block + part][1] = high[2 * part];
        a[2 * block + part][2] = low[2 * part + 1];
        a[2 * block + part][3] = high[2 * part + 1];
      }
    }
    const uint64_t rows = wgmma_rows(stage.x.numbers);
    wgmma_begin(sums, a);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (Weights::kBFloat) {
        wgmma_bf16(sums, a[i], rows + i * kWgmmaStep);
      } else {
        wgmma_f16(sums, a[i], rows + i * kWgmmaStep);
      }
    }
    wgmma_finish(sums);
  }
};

using NarrowWgmma = WgmmaShape<static_cast<int>(kGemmNarrowRows), 4, 3>;
using WideWgmma = WgmmaShape<static_cast<int>(kGemmWideRows), 3, 2>;

}  // namespace chatglm::kernels::cuda
