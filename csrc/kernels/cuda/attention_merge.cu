// Partial results to outputs: a block for every row and head, a thread for every column.
#include "kernels/cuda/attention_block.cuh"
#include "kernels/cuda/attention_tiles.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/ptx.cuh"

namespace chatglm::kernels::cuda {
namespace {

constexpr int kThreads = 128;
// Loads of a thread that are under way.
constexpr int kAhead = 8;

// What one lane knows of a partition, for 32 partitions: how it joins those before it.
struct Step {
  MergeFactors factors;
  float weight;
};

__device__ __forceinline__ Step step_of(const float* sums, bool present, float before, int lane) {
  Step step;
  const float own = present ? sums[0] : minus_infinity();
  step.weight = present ? sums[1] : 0;
  float largest = own;  // of this partition and those before it
  for (int distance = 1; distance < 32; distance *= 2) {
    const float other = __shfl_sync(kAllLanes, largest, lane - distance);
    if (lane >= distance) largest = fmaxf(largest, other);
  }
  largest = fmaxf(largest, before);
  const float preceding = __shfl_sync(kAllLanes, largest, lane - 1);
  step.factors = merge_factors(lane == 0 ? before : preceding, own);
  return step;
}

__device__ __forceinline__ MergeFactors factors_of(const Step& step, int lane) {
  return {0, __shfl_sync(kAllLanes, step.factors.of_total, lane),
          __shfl_sync(kAllLanes, step.factors.of_part, lane)};
}

__global__ void __launch_bounds__(kThreads) merge_kernel(AttentionCall call) {
  grid_dependency_trigger();
  const RowTile tile = call.tiles[blockIdx.x];
  const int row_in_tile = static_cast<int>(blockIdx.y) / call.heads;
  const int head = static_cast<int>(blockIdx.y) % call.heads;
  if (row_in_tile >= tile.num_rows) return;
  const int row = tile.first_row + row_in_tile;
  const int partitions = (call.visible[row] + kPartition - 1) / kPartition;
  const float* const first = partial_of(call, tile, row_in_tile, head, 0);
  const int64_t stride = partial_of(call, tile, row_in_tile, head, 1) - first;
  float* const output =
      call.output + (static_cast<int64_t>(row) * call.heads + head) * call.head_dim;
  const int lane = static_cast<int>(threadIdx.x) % 32;

  grid_dependency_wait();
  for (int start = 0; start < call.head_dim; start += kThreads) {
    const int column = start + static_cast<int>(threadIdx.x);
    const bool is_column = column < call.head_dim;
    float total = 0, weight = 0, largest = minus_infinity();
    for (int base = 0; base < partitions; base += 32) {
      const float* const part = first + base * stride;
      const int count = partitions - base < 32 ? partitions - base : 32;
      const Step step = step_of(part + lane * stride + call.head_dim, lane < count, largest, lane);
      largest = __shfl_sync(kAllLanes, step.factors.largest, 31);
      for (int i = 0; i < count; i += kAhead) {
        float values[kAhead];
#pragma unroll
        for (int j = 0; j < kAhead; ++j) {
          values[j] = is_column && i + j < count ? part[(i + j) * stride + column] : 0;
        }
#pragma unroll
        for (int j = 0; j < kAhead; ++j) {
          const MergeFactors factors = factors_of(step, i + j);
          const float part_weight = __shfl_sync(kAllLanes, step.weight, i + j);
          if (i + j >= count) continue;
          total = merged(total, values[j], factors);
          weight = merged(weight, part_weight, factors);
        }
      }
    }
    const float inverse = 1 / weight;
    if (is_column) output[column] = total * inverse;
  }
}

}  // namespace

void merge_partials(const AttentionCall& call, const TileGrid& grid, int64_t rows_per_tile,
                    Stream stream) {
  launch_early(
      call.early, merge_kernel,
      dim3(static_cast<unsigned>(grid.tiles), static_cast<unsigned>(rows_per_tile * call.heads)),
      kThreads, 0, stream, call);
}

}  // namespace chatglm::kernels::cuda
