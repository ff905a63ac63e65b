#include <algorithm>

#include "base/ceil_div.h"
#include "kernels/cuda/gemm.h"

namespace chatglm::kernels::cuda {
namespace {

// A GPU of these days has 80 to 150 multiprocessors, each with room for two tiles or more. A matrix
// with fewer column tiles than this leaves most of them idle where there is one tile of rows.
constexpr int64_t kFewColTiles = 72;
// A segment shorter than this ends before its copies have come under way, and where one block adds
// up all of them each costs a pass over the output.
constexpr int64_t kShortestSegment = 2048 / kGemmDepth;
constexpr int64_t kMostSegments = 4;

// Of n and k alone, so that no output depends on how many rows there are.
int64_t segments_of(int64_t n, int64_t k) {
  if (ceil_div(n, kGemmTileCols) > kFewColTiles) return 1;
  return std::clamp(ceil_div(k, kGemmDepth) / kShortestSegment, int64_t{1}, kMostSegments);
}

}  // namespace

GemmPlan gemm_plan(int64_t m, int64_t n, int64_t k, int64_t segments) {
  GemmPlan plan{};
  plan.tile_rows = m <= kGemmNarrowRows ? kGemmNarrowRows : kGemmWideRows;
  plan.row_tiles = ceil_div(m, plan.tile_rows);
  plan.col_tiles = ceil_div(n, kGemmTileCols);
  plan.steps = static_cast<int>(ceil_div(k, kGemmDepth));
  plan.segment_steps = static_cast<int>(ceil_div(plan.steps, segments));
  plan.segments = static_cast<int>(ceil_div(plan.steps, plan.segment_steps));
  const int64_t tiles = plan.row_tiles * plan.col_tiles;
  const int64_t partial_bytes =
      tiles * plan.segments * plan.tile_rows * kGemmTileCols * static_cast<int64_t>(sizeof(float));
  plan.parallel = plan.segments > 1 && tiles <= kGemmCounters && partial_bytes <= kGemmPartialBytes;
  return plan;
}

GemmPlan gemm_plan(int64_t m, int64_t n, int64_t k) {
  return gemm_plan(m, n, k, segments_of(n, k));
}

}  // namespace chatglm::kernels::cuda
