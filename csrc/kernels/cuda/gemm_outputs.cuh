// From a tile's sums to the outputs. Over a Shape that tells which outputs a thread holds:
//   kFragments, kThreads           sums of a thread: kFragments times 4
//   kPairs                         elements 0, 1 and 2, 3 of a fragment are neighbours of one row
//   fragment_row(f, e), fragment_col(f, e)  of element e of fragment f in the tile
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/gemm_task.h"

namespace chatglm::kernels::cuda {

template <class Shape>
using GemmSums = float[Shape::kFragments][4];

struct TilePlace {
  int64_t tile;
  int64_t first_row;
  int64_t first_col;
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

// Addresses of what a thread copies and of its 64 outputs, all computed ahead of the loop over the
// inputs, would take the registers that the products need. So they begin with what the compiler
// can't know to be the same each time.
__device__ __forceinline__ TilePlace read_again(const volatile TilePlace& place) {
  return {place.tile, place.first_row, place.first_col};
}

// A tile's outputs, of which a thread has those that Shape names. What lies beyond the matrix is
// passed over.
template <class Shape>
struct OutputTile {
  float* y;  // of the tile's first row and column
  int stride;
  int rows;  // that there are
  int cols;
  const float* bias;
  const float* scales;
  bool read;   // y is added to
  bool pairs;  // Shape's pairs may be read and written at once

  __device__ __forceinline__ OutputTile(const GemmTask& task, const volatile TilePlace& somewhere) {
    const TilePlace place = read_again(somewhere);
    const ProductArgs& product = task.product;
    y = product.y + place.first_row * product.y_stride + place.first_col;
    stride = static_cast<int>(product.y_stride);
    rows = static_cast<int>(min(product.m - place.first_row, static_cast<int64_t>(Shape::kRows)));
    cols = static_cast<int>(
        min(product.weight.n - place.first_col, static_cast<int64_t>(Shape::kCols)));
    bias = product.bias == nullptr ? nullptr : product.bias + place.first_col;
    scales = task.row_scales == nullptr ? nullptr : task.row_scales + place.first_row;
    read = product.accumulate;
    pairs = Shape::kPairs && stride % 2 == 0 && reinterpret_cast<uintptr_t>(y) % 8 == 0;
  }

  __device__ __forceinline__ bool has(int f, int e) const {
    return Shape::fragment_row(f, e) < rows && Shape::fragment_col(f, e) < cols;
  }
  __device__ __forceinline__ float* at(int f, int e) const {
    return y + Shape::fragment_row(f, e) * stride + Shape::fragment_col(f, e);
  }

  // What is to be added to: the outputs so far or, before the first sums, y or zero, and the bias.
  __device__ __forceinline__ void load(int f, bool first, float (&values)[4]) const {
    const bool wanted = read || !first;
#pragma unroll
    for (int e = 0; e < 4; e += 2) {
      values[e] = values[e + 1] = 0;
      if (wanted && pairs && has(f, e + 1)) {
        const float2 pair = *reinterpret_cast<const float2*>(at(f, e));
        values[e] = pair.x;
        values[e + 1] = pair.y;
      } else if (wanted) {
        if (has(f, e)) values[e] = *at(f, e);
        if (has(f, e + 1)) values[e + 1] = *at(f, e + 1);
      }
    }
    if (!first || bias == nullptr) return;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (has(f, e)) values[e] += bias[Shape::fragment_col(f, e)];
    }
  }

  __device__ __forceinline__ void store(int f, const float (&values)[4]) const {
#pragma unroll
    for (int e = 0; e < 4; e += 2) {
      if (pairs && has(f, e + 1)) {
        *reinterpret_cast<float2*>(at(f, e)) = make_float2(values[e], values[e + 1]);
        continue;
      }
      if (has(f, e)) *at(f, e) = values[e];
      if (has(f, e + 1)) *at(f, e + 1) = values[e + 1];
    }
  }

  // What an output's sum is multiplied with; of a row that is not there any number.
  __device__ __forceinline__ float scale(int f, int e) const {
    const int row = Shape::fragment_row(f, e);
    return scales != nullptr && row < rows ? scales[row] : 1.0f;
  }
};

// Adds a segment's sums to the outputs and begins the next ones; a few at a time, so that their
// loads are under way together.
template <class Shape>
__device__ __forceinline__ void add_segment(const GemmTask& task, const volatile TilePlace& place,
                                            bool first, GemmSums<Shape>& sums) {
  constexpr int kTogether = 2;
#pragma unroll
  for (int group = 0; group < Shape::kFragments; group += kTogether) {
    const OutputTile<Shape> outputs(task, place);
    float values[kTogether][4];
#pragma unroll
    for (int i = 0; i < kTogether; ++i) outputs.load(group + i, first, values[i]);
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        float& sum = sums[group + i][e];
        values[i][e] = __fmaf_rn(outputs.scale(group + i, e), sum, values[i][e]);
        sum = 0;
      }
      outputs.store(group + i, values[i]);
    }
  }
}

// Where a segment's sums of a tile lie: a fragment of all threads, then the next one.
template <class Shape>
__device__ __forceinline__ float4* segment_sums(const GemmTask& task, int64_t tile,
                                                int64_t segment) {
  return reinterpret_cast<float4*>(task.partials) +
         (tile * task.plan.segments + segment) * Shape::kFragments * Shape::kThreads + threadIdx.x;
}

// Leaves this block's sums to the tile's last block, which adds up all of them in ascending order:
// the same additions as by one block that computes all segments.
template <class Shape>
__device__ __forceinline__ void join_segments(const GemmTask& task, const volatile TilePlace& place,
                                              GemmSums<Shape>& sums, unsigned& arrived) {
  const int64_t tile = place.tile;
  float4* own = segment_sums<Shape>(task, tile, blockIdx.y);
#pragma unroll
  for (int f = 0; f < Shape::kFragments; ++f) {
    own[f * Shape::kThreads] = make_float4(sums[f][0], sums[f][1], sums[f][2], sums[f][3]);
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) arrived = atomicAdd(&task.counters[tile], 1u);
  __syncthreads();
  if (arrived + 1 != static_cast<unsigned>(task.plan.segments)) return;
  __threadfence();
  if (threadIdx.x == 0) task.counters[tile] = 0;

  const OutputTile<Shape> before(task, place);
#pragma unroll
  for (int f = 0; f < Shape::kFragments; ++f) before.load(f, true, sums[f]);
  for (int s = 0; s < task.plan.segments; ++s) {
    const OutputTile<Shape> outputs(task, place);
    const float4* part = segment_sums<Shape>(task, tile, s);
#pragma unroll
    for (int f = 0; f < Shape::kFragments; ++f) {
      const float4 more = __ldcg(part + f * Shape::kThreads);  // written by other blocks
      sums[f][0] = __fmaf_rn(outputs.scale(f, 0), more.x, sums[f][0]);
      sums[f][1] = __fmaf_rn(outputs.scale(f, 1), more.y, sums[f][1]);
      sums[f][2] = __fmaf_rn(outputs.scale(f, 2), more.z, sums[f][2]);
      sums[f][3] = __fmaf_rn(outputs.scale(f, 3), more.w, sums[f][3]);
    }
  }
  const OutputTile<Shape> after(task, place);
#pragma unroll
  for (int f = 0; f < Shape::kFragments; ++f) after.store(f, sums[f]);
}

}  // namespace chatglm::kernels::cuda
