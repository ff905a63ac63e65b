// The tile kernel of products of many rows, over a form of weights (gemm_weights.cuh) and a Shape:
// who multiplies, and how many rows (gemm_mma.cuh, gemm_wgmma.cuh).
//
// A block computes kRows rows of x times kCols rows of weights. Inputs come in steps of kGemmDepth
// through a ring of stages in shared memory, copied kStages - 1 steps ahead; a step costs one
// barrier.
//   Shape::kRows, kCols, kThreads, kStages
//   Shape::kBlocks                      that should have room in one multiprocessor
//   Shape::see_copies()                 what a thread does after its copies have come
//   Shape::multiply<Weights>(stage, sums)  one step's products, by all threads
//   and what gemm_outputs.cuh asks for
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/gemm_outputs.cuh"
#include "kernels/cuda/gemm_weights.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/shared.cuh"

namespace chatglm::kernels::cuda {

// Of a row of x.
inline constexpr int64_t kStepBytes = kGemmDepth * static_cast<int64_t>(sizeof(uint16_t));
// A stage's rows of x begin at multiples of this.
inline constexpr int kStageAlignment = 1024;

template <class Weights, class Shape>
struct GemmShared {
  struct Stage {
    SwizzledRows<Shape::kRows> x;
    typename Weights::template Stage<Shape::kCols> weights;
  };
  static constexpr int kStageBytes =
      (static_cast<int>(sizeof(Stage)) + kStageAlignment - 1) / kStageAlignment * kStageAlignment;
  static constexpr int kBytes = kStageAlignment + Shape::kStages * kStageBytes;

  // Lies before the first stage.
  TilePlace place;
  unsigned arrived;  // blocks that have finished their segment of the tile before this one

  __device__ __forceinline__ Stage& stage(int index) {
    return *reinterpret_cast<Stage*>(reinterpret_cast<std::byte*>(this) + kStageAlignment +
                                     index * kStageBytes);
  }
};

template <class Weights, class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks) gemm_kernel(GemmTask task) {
  auto& shared = shared_memory<GemmShared<Weights, Shape>>();
  const ProductArgs& product = task.product;
  const GemmPlan& plan = task.plan;
  const int begin = static_cast<int>(blockIdx.y) * plan.segment_steps;
  const int end = plan.parallel ? min(begin + plan.segment_steps, plan.steps) : plan.steps;
  if (threadIdx.x == 0) shared.place = tile_place(plan, blockIdx.x);
  __syncthreads();

  typename Weights::template Scales<Shape::kCols, Shape::kThreads> scales;
  const auto start_copies = [&](auto& stage, int step) {
    if (step < end) {
      const TilePlace place = read_again(shared.place);
      const int64_t x_row_bytes = int64_t{plan.steps} * kStepBytes;
      const WeightTile weights(product.weight, place.first_col);
      const std::byte* x = static_cast<const std::byte*>(product.x) + place.first_row * x_row_bytes;
      const int last_row = static_cast<int>(min(product.m - place.first_row, plan.tile_rows)) - 1;
      stage.x.template copy<Shape::kThreads>(x, last_row, x_row_bytes, step * 8,
                                             plan.steps * 8 - 1);
      Weights::template copy<Shape::kThreads>(stage.weights, weights, step);
      scales.fetch(weights, step);
    }
    cp_async_commit();
  };
  const auto end_copies = [&](auto& stage, int step) {
    if (step < end) scales.store(product.weight.form, stage.weights.scales);
  };
  for (int s = 0; s < Shape::kStages - 1; ++s) {
    start_copies(shared.stage(s), begin + s);
    end_copies(shared.stage(s), begin + s);
  }

  GemmSums<Shape> sums = {};
  int segment_end = min(begin + plan.segment_steps, end);
  int now = 0;  // stage of the step
  for (int step = begin; step < end; ++step) {
    cp_async_wait<Shape::kStages - 2>();
    Shape::see_copies();
    __syncthreads();  // the step is there for all, and all are done with the one before
    auto& stage = shared.stage(now);
    auto& free_stage = shared.stage(now == 0 ? Shape::kStages - 1 : now - 1);
    now = now == Shape::kStages - 1 ? 0 : now + 1;
    start_copies(free_stage, step + Shape::kStages - 1);
    Shape::template multiply<Weights>(stage, sums);
    end_copies(free_stage, step + Shape::kStages - 1);
    if (step + 1 != segment_end || plan.parallel) continue;
    add_segment<Shape>(task, shared.place, step < plan.segment_steps, sums);
    segment_end = min(segment_end + plan.segment_steps, end);
  }
  cp_async_wait<0>();
  if (plan.parallel) join_segments<Shape>(task, shared.place, sums, shared.arrived);
}

template <class Weights, class Shape>
void launch_gemm_shape(const GemmTask& task, Stream stream) {
  const GemmPlan& plan = task.plan;
  const dim3 grid(static_cast<unsigned>(plan.row_tiles * plan.col_tiles),
                  static_cast<unsigned>(plan.parallel ? plan.segments : 1));
  launch(gemm_kernel<Weights, Shape>, grid, Shape::kThreads, GemmShared<Weights, Shape>::kBytes,
         stream, task);
}

// Shapes for few rows and for many.
template <class Weights, class Narrow, class Wide>
void launch_gemm(const GemmTask& task, Stream stream) {
  static_assert(Narrow::kRows == kGemmNarrowRows && Wide::kRows == kGemmWideRows);
  static_assert(Narrow::kCols == kGemmTileCols && Wide::kCols == kGemmTileCols);
  if (task.plan.tile_rows == kGemmNarrowRows) {
    launch_gemm_shape<Weights, Narrow>(task, stream);
  } else {
    launch_gemm_shape<Weights, Wide>(task, stream);
  }
}

}  // namespace chatglm::kernels::cuda
