// The tile kernel of products of many rows, over a form of weights (gemm_weights.cuh) and a shape.
//
// A block computes kRows rows of x times kCols rows of weights. Inputs come in steps of kGemmDepth
// through a ring of stages in shared memory, copied kStages - 1 steps ahead; a step costs one
// barrier. Each warp holds the sums of 64 x 32 outputs in registers: for a block of 32 inputs it
// opens 4 times 8 rows of weights, loads 2 times 4 matrices of x and issues 32 mma.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/gemm_task.h"
#include "kernels/cuda/gemm_weights.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/shared.cuh"

namespace chatglm::kernels::cuda {

template <int kWarpsDown, int kWarpsAcross, int kStages_, int kBlocks_, int kUnroll_>
struct GemmShape {
  static constexpr int kRowFragments = 4;  // of 16 rows of x, for a warp
  static constexpr int kColFragments = 4;  // of 8 rows of weights
  static constexpr int kRows = kWarpsDown * kRowFragments * 16;
  static constexpr int kCols = kWarpsAcross * kColFragments * 8;
  static constexpr int kThreads = kWarpsDown * kWarpsAcross * 32;
  static constexpr int kStages = kStages_;
  static constexpr int kBlocks = kBlocks_;  // that should have room in one multiprocessor
  static constexpr int kUnroll = kUnroll_;  // blocks of inputs that are scheduled together
  static_assert(kCols == kGemmTileCols);

  __device__ static __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static __forceinline__ int warp_row() {
    return static_cast<int>(threadIdx.x) / 32 / kWarpsAcross * (kRowFragments * 16);
  }
  __device__ static __forceinline__ int warp_col() {
    return static_cast<int>(threadIdx.x) / 32 % kWarpsAcross * (kColFragments * 8);
  }
};

// Few warps for each scheduler: a warp's next weights are opened while its products are under way.
using NarrowGemm = GemmShape<1, 4, 4, 3, 2>;
// Four warps for each scheduler fill each other's gaps, and 128 registers must do.
using WideGemm = GemmShape<2, 4, 3, 2, 1>;

template <class Shape>
using GemmSums = float[Shape::kRowFragments][Shape::kColFragments][4];

struct TilePlace {
  int64_t tile;
  int64_t first_row;
  int64_t first_col;
};

// Addresses of what a thread copies and of its 64 outputs, all computed ahead of the loop over the
// inputs, would take the registers that the products need. So they begin with what the compiler
// can't know to be the same each time.
__device__ __forceinline__ TilePlace read_again(const volatile TilePlace& place) {
  return {place.tile, place.first_row, place.first_col};
}

template <class Weights, class Shape>
struct GemmShared {
  struct Stage {
    SwizzledRows<Shape::kRows> x;
    typename Weights::template Stage<Shape::kCols> weights;
  };
  Stage stages[Shape::kStages];
  TilePlace place;
  unsigned arrived;  // blocks that have finished their segment of the tile before this one
};

// Blocks that run at the same time share what they read: up to 16 tiles of rows meet the same
// weights, one after the other, before the next weights come.
__device__ __forceinline__ TilePlace tile_place(const GemmPlan& plan, int64_t index) {
  constexpr int64_t kTogether = 16;
  const int64_t group = index / (kTogether * plan.col_tiles);
  const int64_t rows = min(kTogether, plan.row_tiles - group * kTogether);
  const int64_t within = index - group * kTogether * plan.col_tiles;
  return {index, (group * kTogether + within % rows) * plan.tile_rows,
          within / rows * kGemmTileCols};
}

// One of this thread's rows of outputs, of which it has a pair in each column fragment. What lies
// beyond the matrix is passed over.
template <class Shape>
struct OutputRow {
  const ProductArgs& product;
  int64_t row;
  int64_t first_col;

  // Part 0 or 1 of row fragment i.
  __device__ __forceinline__ OutputRow(const ProductArgs& args, const TilePlace& place, int i,
                                       int part)
      : product(args),
        row(place.first_row + Shape::warp_row() + 16 * i + 8 * part + Shape::lane() / 4),
        first_col(place.first_col + Shape::warp_col() + 2 * (Shape::lane() % 4)) {}

  // Pairs are read and written at once where all of them are aligned.
  __device__ __forceinline__ bool aligned() const {
    return product.y_stride % 2 == 0 && reinterpret_cast<uintptr_t>(product.y) % 8 == 0;
  }

  // What is to be added to: the outputs so far or, before the first sums, y or zero, and the bias.
  __device__ __forceinline__ float2 load(bool first, int j) const {
    float2 value = make_float2(0.0f, 0.0f);
    const int64_t col = first_col + 8 * j;
    if (row >= product.m || col >= product.weight.n) return value;
    const float* y = product.y + row * product.y_stride + col;
    const bool two = col + 1 < product.weight.n, read = product.accumulate || !first;
    if (read && two && aligned()) {
      value = *reinterpret_cast<const float2*>(y);
    } else if (read) {
      value.x = y[0];
      if (two) value.y = y[1];
    }
    if (first && product.bias != nullptr) {
      value.x += product.bias[col];
      if (two) value.y += product.bias[col + 1];
    }
    return value;
  }

  __device__ __forceinline__ void store(float2 value, int j) const {
    const int64_t col = first_col + 8 * j;
    if (row >= product.m || col >= product.weight.n) return;
    float* y = product.y + row * product.y_stride + col;
    const bool two = col + 1 < product.weight.n;
    if (two && aligned()) {
      *reinterpret_cast<float2*>(y) = value;
    } else {
      y[0] = value.x;
      if (two) y[1] = value.y;
    }
  }

  // What the row's sums are multiplied with; of a row that is not there any number.
  __device__ __forceinline__ float scale(const GemmTask& task) const {
    return task.row_scales != nullptr && row < product.m ? task.row_scales[row] : 1.0f;
  }
};

// Adds a segment's sums to the outputs and begins the next ones.
template <class Shape>
__device__ __forceinline__ void add_segment(const GemmTask& task, const volatile TilePlace& place,
                                            bool first, GemmSums<Shape>& sums) {
#pragma unroll
  for (int i = 0; i < Shape::kRowFragments; ++i) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const OutputRow<Shape> row(task.product, read_again(place), i, part);
      const float scale = row.scale(task);
      float2 values[Shape::kColFragments];
#pragma unroll
      for (int j = 0; j < Shape::kColFragments; ++j) values[j] = row.load(first, j);
#pragma unroll
      for (int j = 0; j < Shape::kColFragments; ++j) {
        float* sum = sums[i][j] + 2 * part;
        values[j].x = __fmaf_rn(scale, sum[0], values[j].x);
        values[j].y = __fmaf_rn(scale, sum[1], values[j].y);
        sum[0] = sum[1] = 0;
        row.store(values[j], j);
      }
    }
  }
}

// Where a segment's sums of a tile lie: a fragment of all threads, then the next one.
template <class Shape>
__device__ __forceinline__ float4* segment_sums(const GemmTask& task, int64_t tile,
                                                int64_t segment) {
  constexpr int64_t kFragments = Shape::kRowFragments * Shape::kColFragments;
  return reinterpret_cast<float4*>(task.partials) +
         (tile * task.plan.segments + segment) * kFragments * Shape::kThreads + threadIdx.x;
}

// Leaves this block's sums to the tile's last block, which adds up all of them in ascending order:
// the same additions as by one block that computes all segments.
template <class Shape>
__device__ __forceinline__ void join_segments(const GemmTask& task, const volatile TilePlace& place,
                                              int segment, GemmSums<Shape>& sums,
                                              unsigned& arrived) {
  float4* own = segment_sums<Shape>(task, place.tile, segment);
#pragma unroll
  for (int f = 0; f < Shape::kRowFragments * Shape::kColFragments; ++f) {
    const auto& sum = sums[f / Shape::kColFragments][f % Shape::kColFragments];
    own[f * Shape::kThreads] = make_float4(sum[0], sum[1], sum[2], sum[3]);
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) arrived = atomicAdd(&task.counters[place.tile], 1u);
  __syncthreads();
  if (arrived + 1 != static_cast<unsigned>(task.plan.segments)) return;
  __threadfence();
  if (threadIdx.x == 0) task.counters[place.tile] = 0;

  float scales[Shape::kRowFragments][2];
#pragma unroll
  for (int i = 0; i < Shape::kRowFragments; ++i) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const OutputRow<Shape> row(task.product, read_again(place), i, part);
      scales[i][part] = row.scale(task);
#pragma unroll
      for (int j = 0; j < Shape::kColFragments; ++j) {
        const float2 value = row.load(true, j);
        sums[i][j][2 * part] = value.x;
        sums[i][j][2 * part + 1] = value.y;
      }
    }
  }
  for (int s = 0; s < static_cast<int>(task.plan.segments); ++s) {
    const float4* part = segment_sums<Shape>(task, place.tile, s);
#pragma unroll
    for (int f = 0; f < Shape::kRowFragments * Shape::kColFragments; ++f) {
      const int i = f / Shape::kColFragments;
      float (&sum)[4] = sums[i][f % Shape::kColFragments];
      const float4 more = __ldcg(part + f * Shape::kThreads);  // written by other blocks
      sum[0] = __fmaf_rn(scales[i][0], more.x, sum[0]);
      sum[1] = __fmaf_rn(scales[i][0], more.y, sum[1]);
      sum[2] = __fmaf_rn(scales[i][1], more.z, sum[2]);
      sum[3] = __fmaf_rn(scales[i][1], more.w, sum[3]);
    }
  }
#pragma unroll
  for (int i = 0; i < Shape::kRowFragments; ++i) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const OutputRow<Shape> row(task.product, read_again(place), i, part);
#pragma unroll
      for (int j = 0; j < Shape::kColFragments; ++j) {
        row.store(make_float2(sums[i][j][2 * part], sums[i][j][2 * part + 1]), j);
      }
    }
  }
}

// The products of one step. Lane l names row l % 16 and part l / 16 of 16 inputs.
template <class Weights, class Shape, class Stage>
__device__ __forceinline__ void multiply_step(const Stage& stage, GemmSums<Shape>& sums) {
  const int lane = Shape::lane();
#pragma unroll(Shape::kUnroll)
  for (int block = 0; block < 2; ++block) {
    uint32_t w[Shape::kColFragments][4];
#pragma unroll
    for (int j = 0; j < Shape::kColFragments; ++j) {
      Weights::open(stage.weights, Shape::warp_col() + 8 * j, block, w[j]);
    }
#pragma unroll
    for (int part = 0; part < 2; ++part) {
#pragma unroll
      for (int i = 0; i < Shape::kRowFragments; ++i) {
        uint32_t x[4];
        // Rows 16 apart have their pieces at the same places.
        ldmatrix_x4(x,
                    stage.x.piece(Shape::warp_row() + lane % 16, 4 * block + 2 * part + lane / 16) +
                        16 * i * kGemmDepth);
#pragma unroll
        for (int j = 0; j < Shape::kColFragments; ++j) {
          Weights::multiply(sums[i][j], x, {w[j][2 * part], w[j][2 * part + 1]});
        }
      }
    }
  }
}

template <class Weights, class Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kBlocks) gemm_kernel(GemmTask task) {
  auto& shared = shared_memory<GemmShared<Weights, Shape>>();
  const ProductArgs& product = task.product;
  const GemmPlan& plan = task.plan;
  const auto steps = static_cast<int>(plan.steps);
  const auto segment_steps = static_cast<int>(plan.segment_steps);
  const auto segment = static_cast<int>(blockIdx.y);
  const int begin = segment * segment_steps;
  const int end = plan.parallel ? min(begin + segment_steps, steps) : steps;
  const int64_t x_row_bytes = steps * kGemmDepth * static_cast<int64_t>(sizeof(uint16_t));
  if (threadIdx.x == 0) shared.place = tile_place(plan, blockIdx.x);
  __syncthreads();

  typename Weights::template Scales<Shape::kCols, Shape::kThreads> scales;
  const auto start_copies = [&](auto& stage, int step) {
    if (step < end) {
      const TilePlace place = read_again(shared.place);
      const WeightTile weights(product.weight, place.first_col);
      const std::byte* x = static_cast<const std::byte*>(product.x) + place.first_row * x_row_bytes;
      const int last_row = static_cast<int>(min(product.m - place.first_row, plan.tile_rows)) - 1;
      stage.x.template copy<Shape::kThreads>(x, last_row, x_row_bytes, step * 8, steps * 8 - 1);
      Weights::template copy<Shape::kThreads>(stage.weights, weights, step);
      scales.fetch(weights, step);
    }
    cp_async_commit();
  };
  const auto end_copies = [&](auto& stage, int step) {
    if (step < end) scales.store(product.weight.form, stage.weights.scales);
  };
  for (int s = 0; s < Shape::kStages - 1; ++s) {
    start_copies(shared.stages[s], begin + s);
    end_copies(shared.stages[s], begin + s);
  }

  GemmSums<Shape> sums = {};
  int segment_end = min(begin + segment_steps, end);
  int now = 0;  // stage of the step
  for (int step = begin; step < end; ++step) {
    cp_async_wait<Shape::kStages - 2>();
    __syncthreads();  // the step is there for all, and all are done with the one before
    auto& stage = shared.stages[now];
    auto& free_stage = shared.stages[now == 0 ? Shape::kStages - 1 : now - 1];
    now = now == Shape::kStages - 1 ? 0 : now + 1;
    start_copies(free_stage, step + Shape::kStages - 1);
    multiply_step<Weights, Shape>(stage, sums);
    end_copies(free_stage, step + Shape::kStages - 1);
    if (step + 1 != segment_end || plan.parallel) continue;
    add_segment<Shape>(task, shared.place, step < segment_steps, sums);
    segment_end = min(segment_end + segment_steps, end);
  }
  cp_async_wait<0>();
  if (plan.parallel) join_segments<Shape>(task, shared.place, segment, sums, shared.arrived);
}

template <class Weights, class Shape>
void launch_gemm_shape(const GemmTask& task, Stream stream) {
  const GemmPlan& plan = task.plan;
  const dim3 grid(static_cast<unsigned>(plan.row_tiles * plan.col_tiles),
                  static_cast<unsigned>(plan.parallel ? plan.segments : 1));
  launch(gemm_kernel<Weights, Shape>, grid, Shape::kThreads, sizeof(GemmShared<Weights, Shape>),
         stream, task);
}

template <class Weights>
void launch_gemm(const GemmTask& task, Stream stream) {
  if (task.plan.tile_rows == NarrowGemm::kRows) {
    launch_gemm_shape<Weights, NarrowGemm>(task, stream);
  } else {
    launch_gemm_shape<Weights, WideGemm>(task, stream);
  }
}

}  // namespace chatglm::kernels::cuda
