// Products of many rows with f32 weights: plain f32 multiply-adds, one chain over the inputs for
// each output.
#include <cuda_runtime.h>

#include "base/ceil_div.h"
#include "kernels/cuda/gemm_task.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/prepare_input.h"
#include "kernels/cuda/shared.cuh"

namespace chatglm::kernels::cuda {
namespace {

constexpr int kTile = 64;      // rows of x and of weights
constexpr int kDepth = 16;     // inputs of a step
constexpr int kThreads = 256;  // 16 x 16, each with 4 x 4 outputs
constexpr int kPieces = kDepth / 4;
constexpr int kPitch = kTile + 4;  // keeps groups of four numbers aligned

// Inputs by depth, so that four neighbouring rows are one access.
struct Shared {
  struct Stage {
    alignas(16) float x[kDepth][kPitch];
    alignas(16) float weights[kDepth][kPitch];
  };
  Stage stages[2];
};

// Rows of four-number pieces: the tile's piece that this thread fetches for each step.
struct RowPieces {
  const float4* row;
  int pieces;  // of a row

  __device__ __forceinline__ RowPieces(const void* rows, int64_t first, int64_t count,
                                       int64_t row_bytes)
      : pieces(static_cast<int>(row_bytes) / 16) {
    // Behind the last row that one comes again: its products are not stored.
    const int64_t mine = min(first + static_cast<int>(threadIdx.x) / kPieces, count - 1);
    row = reinterpret_cast<const float4*>(static_cast<const std::byte*>(rows) + mine * row_bytes);
  }
  __device__ __forceinline__ float4 fetch(int step) const {
    const int piece = step * kPieces + static_cast<int>(threadIdx.x) % kPieces;
    return piece < pieces ? row[piece] : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  }
  __device__ static __forceinline__ void store(float4 piece, float (&stage)[kDepth][kPitch]) {
    const int depth = static_cast<int>(threadIdx.x) % kPieces * 4;
    const int row = static_cast<int>(threadIdx.x) / kPieces;
    stage[depth][row] = piece.x;
    stage[depth + 1][row] = piece.y;
    stage[depth + 2][row] = piece.z;
    stage[depth + 3][row] = piece.w;
  }
};

__global__ void __launch_bounds__(kThreads) gemm_f32_kernel(ProductArgs args, int64_t x_row_bytes) {
  auto& shared = shared_memory<Shared>();
  const DeviceWeight& weight = args.weight;
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kTile;
  const int64_t first_col = static_cast<int64_t>(blockIdx.y) * kTile;
  const RowPieces x(args.x, first_row, args.m, x_row_bytes);
  const RowPieces w(weight.codes, first_col, weight.n, weight.codes_row_bytes);
  const int steps = (static_cast<int>(weight.k) + kDepth - 1) / kDepth;
  const int down = static_cast<int>(threadIdx.x) / 16 * 4;
  const int across = static_cast<int>(threadIdx.x) % 16 * 4;

  RowPieces::store(x.fetch(0), shared.stages[0].x);
  RowPieces::store(w.fetch(0), shared.stages[0].weights);
  float sums[4][4] = {};
  for (int step = 0; step < steps; ++step) {
    __syncthreads();
    const auto& stage = shared.stages[step % 2];
    const float4 next_x = x.fetch(step + 1), next_w = w.fetch(step + 1);
#pragma unroll
    for (int depth = 0; depth < kDepth; ++depth) {
      const float4 a = *reinterpret_cast<const float4*>(&stage.x[depth][down]);
      const float4 b = *reinterpret_cast<const float4*>(&stage.weights[depth][across]);
      const float rows[4] = {a.x, a.y, a.z, a.w}, cols[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] = __fmaf_rn(rows[i], cols[j], sums[i][j]);
      }
    }
    auto& next = shared.stages[(step + 1) % 2];  // all were done with it before the barrier
    RowPieces::store(next_x, next.x);
    RowPieces::store(next_w, next.weights);
  }

#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t row = first_row + down + i, col = first_col + across + j;
      if (row >= args.m || col >= weight.n) continue;
      float& y = args.y[row * args.y_stride + col];
      float value = args.accumulate ? y : 0.0f;
      if (args.bias != nullptr) value += args.bias[col];
      y = value + sums[i][j];
    }
  }
}

}  // namespace

void gemm_f32(const ProductArgs& args, Stream stream) {
  const int64_t x_row_bytes =
      input_cols(InputForm::kF32, args.weight.k) * static_cast<int64_t>(sizeof(float));
  const dim3 grid(static_cast<unsigned>(ceil_div(args.m, kTile)),
                  static_cast<unsigned>(ceil_div(args.weight.n, kTile)));
  launch(gemm_f32_kernel, grid, kThreads, sizeof(Shared), stream, args, x_row_bytes);
}

}  // namespace chatglm::kernels::cuda
