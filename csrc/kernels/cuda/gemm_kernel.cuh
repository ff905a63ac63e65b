// The tile kernel of products of many rows, over a form of weights (gemm_weights.cuh) and a Shape:
// who multiplies, and how many rows (gemm_mma.cuh, gemm_wgmma.cuh).
//
// A block computes kRows rows of x times kCols rows of weights. Inputs come in steps of kGemmDepth
// through a ring of stages in shared memory, copied kStages - 1 steps ahead; a step costs one
// barrier.
//   Shape::kRows, kCols, kThreads, kStages
//   Shape::kBlocks                      that should have room in one multiprocessor
//   Shape::Rows                         how x comes into a stage (gemm_rows.cuh)
//   Shape::multiply<Weights>(stage, sums)  one step's products, by all threads
//   and what gemm_outputs.cuh asks for
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/gemm_outputs.cuh"
#include "kernels/cuda/gemm_rows.cuh"
#include "kernels/cuda/gemm_weights.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/shared.cuh"

namespace chatglm::kernels::cuda {

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
  typename Shape::Rows::template Arrivals<Shape::kStages> arrivals;

  __device__ __forceinline__ Stage& stage(int index) {
    static_assert(sizeof(GemmShared) <= kStageAlignment);
    return *reinterpret_cast<Stage*>(reinterpret_cast<std::byte*>(this) + kStageAlignment +
                                     index * kStageBytes);
  }
};

template <class Weights, class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks)
    gemm_kernel(GemmTask task, const __grid_constant__ typename Shape::Rows::Source source) {
  using Rows = typename Shape::Rows;
  auto& shared = shared_memory<GemmShared<Weights, Shape>>();
  const ProductArgs& product = task.product;
  const GemmPlan& plan = task.plan;
  const int begin = static_cast<int>(blockIdx.y) * plan.segment_steps;
  const int end = plan.parallel ? min(begin + plan.segment_steps, plan.steps) : plan.steps;
  if (threadIdx.x == 0) {
    shared.place = tile_place(plan, blockIdx.x);
    Rows::begin(shared.arrivals, source);
  }
  __syncthreads();

  typename Weights::template Scales<Shape::kCols, Shape::kThreads> scales;
  const auto start_copies = [&](int index, int step) {
    if (step < end) {
      auto& stage = shared.stage(index);
      const TilePlace place = read_again(shared.place);
      const WeightTile weights(product.weight, place.first_col);
      Rows::template copy<Shape::kThreads>(stage.x, source, task, place, step, shared.arrivals,
                                           index);
      Weights::template copy<Shape::kThreads>(stage.weights, weights, step);
      scales.fetch(weights, step);
    }
    cp_async_commit();
  };
  const auto end_copies = [&](int index, int step) {
    if (step < end) scales.store(product.weight.form, shared.stage(index).weights.scales);
  };
  for (int s = 0; s < Shape::kStages - 1; ++s) {
    start_copies(s, begin + s);
    end_copies(s, begin + s);
  }

  GemmSums<Shape> sums = {};
  int segment_end = min(begin + plan.segment_steps, end);
  int now = 0;          // stage of the step
  unsigned parity = 0;  // of the round through the stages
  for (int step = begin; step < end; ++step) {
    cp_async_wait<Shape::kStages - 2>();
    Rows::wait(shared.arrivals, now, parity);
    __syncthreads();  // the step is there for all, and all are done with the one before
    const auto& stage = shared.stage(now);
    const int free_stage = now == 0 ? Shape::kStages - 1 : now - 1;
    if (++now == Shape::kStages) {
      now = 0;
      parity ^= 1;
    }
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
  typename Shape::Rows::Source source;
  // Without a source there is no block, which the runtime refuses: so the caller learns of it.
  const bool described = Shape::Rows::describe(task, Shape::kRows, source);
  const dim3 grid(described ? static_cast<unsigned>(plan.row_tiles * plan.col_tiles) : 0,
                  static_cast<unsigned>(plan.parallel ? plan.segments : 1));
  launch(gemm_kernel<Weights, Shape>, grid, Shape::kThreads, GemmShared<Weights, Shape>::kBytes,
         stream, task, source);
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
