// Tiles whose warps multiply on their own, with mma.sync. A warp holds the sums of 64 x 32 outputs:
// for a block of 32 inputs it opens 4 times 8 rows of weights, loads 2 times 4 matrices of x and
// issues 32 mma.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/gemm_kernel.cuh"
#include "kernels/cuda/ptx.cuh"

namespace chatglm::kernels::cuda {

template <int kWarpsDown, int kWarpsAcross, int kStages_, int kBlocks_, int kUnroll>
struct MmaShape {
  static constexpr int kRowFragments = 4;  // of 16 rows of x, for a warp
  static constexpr int kColFragments = 4;  // of 8 rows of weights
  static constexpr int kFragments = kRowFragments * kColFragments;
  static constexpr int kRows = kWarpsDown * kRowFragments * 16;
  static constexpr int kCols = kWarpsAcross * kColFragments * 8;
  static constexpr int kThreads = kWarpsDown * kWarpsAcross * 32;
  static constexpr int kStages = kStages_;
  static constexpr int kBlocks = kBlocks_;
  static constexpr bool kPairs = true;
  using Rows = CopiedRows;

  __device__ static __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static __forceinline__ int warp_row() {
    return static_cast<int>(threadIdx.x) / 32 / kWarpsAcross * (kRowFragments * 16);
  }
  __device__ static __forceinline__ int warp_col() {
    return static_cast<int>(threadIdx.x) / 32 % kWarpsAcross * (kColFragments * 8);
  }
  __device__ static __forceinline__ int fragment_row(int f, int e) {
    return warp_row() + f / kColFragments * 16 + e / 2 * 8 + lane() / 4;
  }
  __device__ static __forceinline__ int fragment_col(int f, int e) {
    return warp_col() + f % kColFragments * 8 + lane() % 4 * 2 + e % 2;
  }

  // Lane l names row l % 16 and part l / 16 of 16 inputs.
  template <class Weights, class Stage>
  __device__ static __forceinline__ void multiply(const Stage& stage,
                                                  float (&sums)[kFragments][4]) {
#pragma unroll(kUnroll)
    for (int block = 0; block < 2; ++block) {
      uint32_t w[kColFragments][4];
#pragma unroll
      for (int j = 0; j < kColFragments; ++j) {
        Weights::open(stage.weights, warp_col() + 8 * j, block, w[j]);
      }
#pragma unroll
      for (int part = 0; part < 2; ++part) {
#pragma unroll
        for (int i = 0; i < kRowFragments; ++i) {
          uint32_t x[4];
          // Rows 16 apart have their pieces at the same places.
          ldmatrix_x4(x,
                      stage.x.piece(warp_row() + lane() % 16, 4 * block + 2 * part + lane() / 16) +
                          16 * i * kGemmDepth);
#pragma unroll
          for (int j = 0; j < kColFragments; ++j) {
            const uint32_t weights[2] = {w[j][2 * part], w[j][2 * part + 1]};
            if constexpr (Weights::kBFloat) {
              mma_bf16_16x8x16(sums[i * kColFragments + j], x, weights);
            } else {
              mma_f16_16x8x16(sums[i * kColFragments + j], x, weights);
            }
          }
        }
      }
    }
  }
};

// Few warps for each scheduler: a warp's next weights are opened while its products are under way.
using NarrowMma = MmaShape<1, 4, 4, 3, 2>;
// Four warps for each scheduler fill each other's gaps, and 128 registers must do.
using WideMma = MmaShape<2, 4, 3, 2, 1>;
// The same with weights whose stages leave room for no second block.
using WideLoneMma = MmaShape<2, 4, 3, 1, 2>;

}  // namespace chatglm::kernels::cuda
