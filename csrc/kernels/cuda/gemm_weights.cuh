// How a tile's weights come from memory, lie in shared memory as they are stored, and are opened
// into the registers that mma.m16n8k16 takes as its second factor. One struct for each form:
//   Stage<kCols>                       a step of kGemmDepth inputs of kCols weight rows
//   copy<kThreads>(stage, tile, step)  starts to copy one
//   Scales<kCols, kThreads>            a step's scales on their way through registers
//   open(stage, col, block, w)         32 weights of the 8 rows from `col` on, by the whole warp:
//                                      w[j] of lane 4 g + t gets weights 8 j + 2 t and the next of
//                                      row g. So w[0], w[1] are the second factor of the first 16
//                                      inputs and w[2], w[3] that of the others
//   kBFloat                            whether that is bf16, else f16
//
// Quantized weights become scale * (code - c) + (minimum + scale * c), with c amidst the codes, in
// f16: the difference is exact, so are the scales of q4_0 and q8_0. What is rounded, by 2^-11 of it
// at most: the result, and of other types also the scale and the minimum (in brackets, which f32
// computes): |error| <= 2^-11 (|weight| + |minimum + scale c| + |scale (code - c)|). Scales below
// 2^-14 are f16's subnormal numbers, off by 2^-25 at most. Matrices with more than f16 can hold
// don't come here (half_range.h).
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstring>

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/weight_layout.h"

namespace chatglm::kernels::cuda {

__device__ __forceinline__ __half2 as_half2(uint32_t bits) {
  __half2 value;
  memcpy(static_cast<void*>(&value), &bits, sizeof(value));
  return value;
}

__device__ __forceinline__ uint32_t as_bits(__half2 value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// Two halves of which bits 0 to 9 are an integer are 1024 plus it with this exponent.
inline constexpr uint32_t k1024 = 0x64006400;

// Where a row of a tile begins: 32 bits hold it.
__device__ __forceinline__ unsigned row_offset(int row, int64_t row_bytes) {
  return static_cast<unsigned>(row) * static_cast<unsigned>(row_bytes);
}

// A tile's weights. What lies beyond the matrix is never read: in its place come the last row or
// the last piece of a row, whose products nobody stores or which meet inputs that are zero.
struct WeightTile {
  const DeviceWeight& weight;
  const std::byte* codes;  // of the first row
  int64_t first_col;
  int last_col;  // of the rows that there are, counted from the first one

  __device__ __forceinline__ WeightTile(const DeviceWeight& all, int64_t first)
      : weight(all),
        codes(all.codes + first * all.codes_row_bytes),
        first_col(first),
        last_col(static_cast<int>(min(all.n - first, kGemmTileCols)) - 1) {}
};

// A step's scales and minimums of kCols rows, (kCols, kParts) pairs of halves: the scale, and the
// minimum as it is after the codes were centred. They are fetched in the types and at the
// alignments they have, which cp.async can't, while the step before is computed.
template <int kPart, int kCentre, int kCols, int kThreads>
struct ScalesOnTheWay {
  static constexpr int kParts = static_cast<int>(kGemmDepth) / kPart;
  static constexpr int kEach = kCols * kParts / kThreads;
  static_assert(kEach * kThreads == kCols * kParts && kThreads % kParts == 0);
  uint32_t scales[kEach];  // bits of an f32, or of an f16
  float minimums[kEach];

  __device__ __forceinline__ void fetch(const WeightTile& tile, int step) {
    const DeviceWeight& weight = tile.weight;
    const int parts = static_cast<int>(weight.k) / kPart;
    const int part = min(step * kParts + static_cast<int>(threadIdx.x) % kParts, parts - 1);
    const std::byte* from_scales = weight.scales + tile.first_col * weight.scales_row_bytes;
    const std::byte* from_minimums = weight.minimums + tile.first_col * weight.minimums_row_bytes;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int col = min((static_cast<int>(threadIdx.x) + i * kThreads) / kParts, tile.last_col);
      const std::byte* row = from_scales + row_offset(col, weight.scales_row_bytes);
      scales[i] = weight.form.half_scales ? reinterpret_cast<const uint16_t*>(row)[part]
                                          : reinterpret_cast<const uint32_t*>(row)[part];
      if (weight.form.minimums) {
        row = from_minimums + row_offset(col, weight.minimums_row_bytes);
        minimums[i] = reinterpret_cast<const float*>(row)[part];
      }
    }
  }

  // A form without minimums has its codes centred already.
  __device__ __forceinline__ void store(const WeightForm& form,
                                        __half2 (&stage)[kCols * kParts]) const {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const float scale =
          form.half_scales ? __low2float(as_half2(scales[i])) : __uint_as_float(scales[i]);
      const float minimum =
          form.minimums ? __fmaf_rn(scale, static_cast<float>(kCentre), minimums[i]) : 0.0f;
      stage[static_cast<int>(threadIdx.x) + i * kThreads] = __floats2half2_rn(scale, minimum);
    }
  }
};

// What forms without scales have in its place.
struct NoScales {
  __device__ __forceinline__ void fetch(const WeightTile& /*tile*/, int /*step*/) {}
  __device__ __forceinline__ void store(const WeightForm& /*form*/, NoScales& /*stage*/) const {}
};

// Codes in pieces of 16 bytes: kChunks of a row for each step, of which kPerBlock are 32 weights.
// The pieces of 8 rows are neighbours, so that the 32 lanes, which read 2 bytes each at the same
// places of 8 pieces, meet all banks once; the gap behind the last row moves a row's next piece so
// that also the 8 pieces that are copied at a time meet all of them.
template <int kChunks, int kPerBlock, int kCols>
struct CodeChunks {
  static constexpr int kGap = 8 / kChunks;
  alignas(16) uint16_t pieces[kChunks][kCols + kGap][8];

  template <int kThreads>
  __device__ __forceinline__ void copy(const WeightTile& tile, int step) {
    const int chunks = static_cast<int>(tile.weight.k) / 32 * kPerBlock;  // of a row
    const int chunk = static_cast<int>(threadIdx.x) % kChunks;
    const std::byte* source = tile.codes + min(step * kChunks + chunk, chunks - 1) * 16;
#pragma unroll
    for (int i = 0; i < kCols * kChunks / kThreads; ++i) {
      const int col = (static_cast<int>(threadIdx.x) + i * kThreads) / kChunks;
      cp_async_16(pieces[chunk][col],
                  source + row_offset(min(col, tile.last_col), tile.weight.codes_row_bytes));
    }
  }
};

template <int kPart>
struct NibbleWeights {
  static constexpr bool kBFloat = false;
  static constexpr int kCentre = 8;
  template <int kCols, int kThreads>
  using Scales = ScalesOnTheWay<kPart, kCentre, kCols, kThreads>;
  template <int kCols>
  struct Stage {
    CodeChunks<2, 1, kCols> codes;
    __half2 scales[kCols * (static_cast<int>(kGemmDepth) / kPart)];
  };

  template <int kThreads, int kCols>
  __device__ static __forceinline__ void copy(Stage<kCols>& stage, const WeightTile& tile,
                                              int step) {
    stage.codes.template copy<kThreads>(tile, step);
  }

  // Bytes 2 t, 2 t + 1 and 8 + 2 t, 8 + 2 t + 1 of a block hold just the lane's eight codes: in
  // their low nibbles those of j = 0 and 1, in the high ones those of j = 2 and 3.
  template <int kCols>
  __device__ static __forceinline__ void open(const Stage<kCols>& stage, int col, int block,
                                              uint32_t (&w)[4]) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int row = col + lane / 4;
    const uint16_t* codes = stage.codes.pieces[block][row];
    // A first byte of either pair below, a second one of either above: nibbles 0 to 3 are codes 2 t
    // of j = 0, 2, 1, 3, nibbles 4 to 7 those after them.
    uint32_t nibbles = __byte_perm(codes[lane % 4], codes[4 + lane % 4], 0x5140);
    constexpr int kParts = static_cast<int>(kGemmDepth) / kPart;
    const __half2* scales = stage.scales + row * kParts + block * (kParts / 2);
    const __half2 below = __float2half2_rn(-1024.0f - kCentre);
    const __half2 sixteenth = __float2half2_rn(1.0f / 16);
    const __half2 above = __float2half2_rn(-1024.0f / 16 - kCentre);
#pragma unroll
    for (int j = 0; j < 2; ++j, nibbles >>= 8) {
      // 1024 + code, and 1024 + 16 * code: exact after the centre is taken off.
      const __half2 low = __hadd2(as_half2((nibbles & 0x000f000f) | k1024), below);
      const __half2 high = __hfma2(as_half2((nibbles & 0x00f000f0) | k1024), sixteenth, above);
      const __half2 low_part = scales[0], high_part = scales[kPart == 16 ? 1 : 0];
      w[j] = as_bits(
          __hfma2(low, __half2half2(__low2half(low_part)), __half2half2(__high2half(low_part))));
      w[2 + j] = as_bits(
          __hfma2(high, __half2half2(__low2half(high_part)), __half2half2(__high2half(high_part))));
    }
  }
};

template <int kPart>
struct ByteWeights {
  static constexpr bool kBFloat = false;
  static constexpr int kCentre = 0;
  template <int kCols, int kThreads>
  using Scales = ScalesOnTheWay<kPart, kCentre, kCols, kThreads>;
  template <int kCols>
  struct Stage {
    CodeChunks<4, 2, kCols> codes;
    __half2 scales[kCols * (static_cast<int>(kGemmDepth) / kPart)];
  };

  template <int kThreads, int kCols>
  __device__ static __forceinline__ void copy(Stage<kCols>& stage, const WeightTile& tile,
                                              int step) {
    stage.codes.template copy<kThreads>(tile, step);
  }

  template <int kCols>
  __device__ static __forceinline__ void open(const Stage<kCols>& stage, int col, int block,
                                              uint32_t (&w)[4]) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int row = col + lane / 4;
    constexpr int kParts = static_cast<int>(kGemmDepth) / kPart;
    const __half2* scales = stage.scales + row * kParts + block * (kParts / 2);
    const __half2 offset = __float2half2_rn(-1024.0f - 128.0f);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const uint32_t two = stage.codes.pieces[2 * block + j / 2][row][4 * (j % 2) + lane % 4];
      // code + 128 in either half, under the exponent of 1024.
      const uint32_t spread = __byte_perm(two ^ 0x8080, k1024, 0x5150);
      const __half2 part = scales[kPart == 16 ? j / 2 : 0];
      w[j] = as_bits(__hfma2(__hadd2(as_half2(spread), offset), __half2half2(__low2half(part)),
                             __half2half2(__high2half(part))));
    }
  }
};

// Rows of 64 16-bit numbers, in eight pieces of 16 bytes. Piece c of row r lies at place c ^ (r %
// 8): ldmatrix reads the same piece of 8 rows at a time and copies write 8 pieces of one row, and
// both meet all banks once.
template <int kRows>
struct SwizzledRows {
  alignas(16) uint16_t numbers[kRows][kGemmDepth];

  __device__ __forceinline__ uint16_t* piece(int row, int chunk) {
    return &numbers[row][(chunk ^ (row % 8)) * 8];
  }
  __device__ __forceinline__ const uint16_t* piece(int row, int chunk) const {
    return &numbers[row][(chunk ^ (row % 8)) * 8];
  }

  // Piece `first_piece + c` of each row to piece c; of the rows and pieces that there are. `rows`
  // is the first of them.
  template <int kThreads>
  __device__ __forceinline__ void copy(const std::byte* rows, int last_row, int64_t row_bytes,
                                       int first_piece, int last_piece) {
    constexpr int kRowsAtOnce =
        kThreads / 8;  // a multiple of 8: a thread's places are alike in all
    const int chunk = static_cast<int>(threadIdx.x) % 8;
    const int row = static_cast<int>(threadIdx.x) / 8;
    const std::byte* source = rows + min(first_piece + chunk, last_piece) * 16;
    uint16_t* target = piece(row, chunk);
#pragma unroll
    for (int i = 0; i < kRows; i += kRowsAtOnce) {
      cp_async_16(target + i * kGemmDepth, source + row_offset(min(row + i, last_row), row_bytes));
    }
  }
};

struct HalfWeights {
  static constexpr bool kBFloat = false;
  template <int kCols, int kThreads>
  using Scales = NoScales;
  template <int kCols>
  struct Stage {
    SwizzledRows<kCols> codes;
    NoScales scales;
  };

  template <int kThreads, int kCols>
  __device__ static __forceinline__ void copy(Stage<kCols>& stage, const WeightTile& tile,
                                              int step) {
    const int64_t row_bytes = tile.weight.codes_row_bytes;
    stage.codes.template copy<kThreads>(tile.codes, tile.last_col, row_bytes, step * 8,
                                        static_cast<int>(row_bytes) / 16 - 1);
  }

  template <int kCols>
  __device__ static __forceinline__ void open(const Stage<kCols>& stage, int col, int block,
                                              uint32_t (&w)[4]) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    ldmatrix_x4(w, stage.codes.piece(col + lane % 8, 4 * block + lane / 8));
  }
};

struct BFloatWeights : HalfWeights {
  static constexpr bool kBFloat = true;
};

}  // namespace chatglm::kernels::cuda
