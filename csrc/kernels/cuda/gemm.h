// Products of more than kGemvRows rows, on the tensor cores: how they are cut into tiles, and the
// scratch memory that this takes. Host interface; includes no CUDA header.
//
// Every output is computed by the same additions in the same order whatever m is: the inputs of a
// product are cut into segments that depend on the matrix alone; within one, sums grow 16 inputs at
// a time, and the segments' sums are added to the output in ascending order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/product.h"
#include "kernels/cuda/stream.h"

namespace chatglm::kernels::cuda {

inline constexpr int64_t kGemmDepth = 64;       // inputs of a step of a tile
inline constexpr int64_t kGemmTileCols = 128;   // weight rows of a tile
inline constexpr int64_t kGemmNarrowRows = 64;  // x rows of a tile where there are few
inline constexpr int64_t kGemmWideRows = 128;

struct GemmPlan {
  int64_t tile_rows;  // of x: kGemmNarrowRows or kGemmWideRows
  int64_t row_tiles;  // m in tiles
  int64_t col_tiles;  // n in tiles
  int steps;          // k in steps of kGemmDepth
  int segments;       // that the steps are cut into
  int segment_steps;  // of all but the last
  bool parallel;      // a block for each segment of a tile, else one for all of them
};

// How many segments are worth their additions: few tiles of a long product.
GemmPlan gemm_plan(int64_t m, int64_t n, int64_t k);
// The same with a number of segments of one's own: what tests reach with small products.
GemmPlan gemm_plan(int64_t m, int64_t n, int64_t k, int64_t segments);

// The segments' sums of tiles, (tiles, segments, kGemmTileCols, tile_rows) f32, behind a counter
// for each tile. Zeros before its first use, and afterwards for its owner to leave alone; products
// of one stream may share it.
inline constexpr int64_t kGemmCounters = 1024;
inline constexpr int64_t kGemmPartialBytes = int64_t{16} << 20;
inline constexpr int64_t kGemmScratchBytes =
    kGemmCounters * static_cast<int64_t>(sizeof(uint32_t)) + kGemmPartialBytes;

// args.x: kF16 rows for quantized and f16 weights, kBF16 for bf16, kF32 for f32.
// scratch (kGemmScratchBytes), 256-byte aligned; nullptr: no plan is parallel.
// by_warpgroups: with the instructions that compute capability 9.0 has, and no other.
void gemm(const ProductArgs& args, bool by_warpgroups, std::byte* scratch, Stream stream);
void gemm(const ProductArgs& args, const GemmPlan& plan, bool by_warpgroups, std::byte* scratch,
          Stream stream);

}  // namespace chatglm::kernels::cuda
