// Products of many rows with quantized weights: a stretch of kPanels panels is opened once, to
// whole bytes and f32 scales, and then used by a block of rows. What is opened stays in the
// first-level cache, the rows' inputs in the second; the sums are carried from stretch to stretch.
//
// Opening leaves nothing of a type but how its codes are summed (Dot), how many parts a block has
// and whether there are corrections or minimums: few combinations serve all types. Every output is
// computed by the same operations in the same order as for one row (body_linear_quant.h).
#pragma once

#include "kernels/cpu/body_quant_codes.h"

namespace chatglm::kernels {

// Prepared input rows, see body_linear_quant.h.
struct PreparedRows {
  const std::byte* quants;       // (rows, k) int8
  const std::byte* scales;       // (rows, k / 32) f32
  const std::byte* corrections;  // (rows, k / part) f32 or int32
  int64_t stride;                // bytes from one row to the next, of all three
};

template <class V, class Dot, int kParts, bool kCorrected, bool kMinimum>
struct OpenedPanels {
  using F32 = typename V::F32;
  static constexpr int kPanels = 2;
  static constexpr int kBlock = 32;
  static constexpr int kMaxBlocks = 8;  // of a stretch
  static constexpr int kMaxRows = 64;   // of a block of rows
  static constexpr int64_t kLanes = V::kLanes;

  alignas(64) uint8_t codes[kPanels][kMaxBlocks][kBlock * kLanes];
  alignas(64) float scales[kPanels][kMaxBlocks][kParts][kLanes];
  alignas(64) float minimums[kPanels][kMinimum ? kMaxBlocks : 1][kParts][kLanes];
  alignas(64) float sums[kMaxRows][kPanels][kLanes];

  // Adds the products of `blocks` opened blocks with `rows` rows, whose inputs begin at `inputs`.
  void multiply(const PreparedRows& inputs, int64_t rows, int64_t blocks) {
    int64_t row = 0;
    for (; row + V::kQuantRows <= rows; row += V::kQuantRows)
      tile<V::kQuantRows>(inputs, row, blocks);
    last_rows<V::kQuantRows - 1>(inputs, row, rows - row, blocks);
  }

 private:
  static constexpr int kPartVectors = static_cast<int>(kBlock / kParts / V::kGroup);
  static constexpr int64_t kVectorBytes = V::kLanes * V::kGroup;
  static constexpr int kChunk = Dot::kVectors < kPartVectors ? Dot::kVectors : kPartVectors;
  static_assert(kPartVectors % kChunk == 0);

  // What whole tiles leave: `count` rows, kRows at most.
  template <int kRows>
  void last_rows(const PreparedRows& inputs, int64_t row, int64_t count, int64_t blocks) {
    if constexpr (kRows > 0) {
      if (count == kRows) {
        tile<kRows>(inputs, row, blocks);
      } else {
        last_rows<kRows - 1>(inputs, row, count, blocks);
      }
    }
  }

  template <int kRows>
  void tile(const PreparedRows& inputs, int64_t row, int64_t blocks) {
    const int64_t stride = inputs.stride;
    const auto* x = reinterpret_cast<const int8_t*>(inputs.quants) + row * stride;
    const std::byte* x_scales = inputs.scales + row * stride;
    const std::byte* x_corrections = inputs.corrections + row * stride;

    F32 total[kRows][kPanels];
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) {
      CHATGLM_UNROLL
      for (int p = 0; p < kPanels; ++p) total[r][p] = V::load(sums[row + r][p]);
    }
    for (int64_t block = 0; block < blocks; ++block) {
      CHATGLM_UNROLL
      for (int part = 0; part < kParts; ++part) {
        typename V::Ints dots[kRows][kPanels];
        CHATGLM_UNROLL
        for (int r = 0; r < kRows; ++r) {
          int32_t correction = 0;
          if constexpr (kCorrected) std::memcpy(&correction, x_corrections + r * stride, 4);
          CHATGLM_UNROLL
          for (int p = 0; p < kPanels; ++p) dots[r][p] = V::ints(correction);
        }
        CHATGLM_UNROLL
        for (int start = 0; start < kPartVectors; start += kChunk) {
          typename Dot::Partial partial[kRows][kPanels];
          CHATGLM_UNROLL
          for (int r = 0; r < kRows; ++r) {
            CHATGLM_UNROLL
            for (int p = 0; p < kPanels; ++p) partial[r][p] = Dot::zero();
          }
          CHATGLM_UNROLL
          for (int i = start; i < start + kChunk; ++i) {
            const int vector = part * kPartVectors + i;
            typename V::Bytes code[kPanels];
            CHATGLM_UNROLL
            for (int p = 0; p < kPanels; ++p) {
              code[p] = V::load_bytes(codes[p][block] + vector * kVectorBytes);
            }
            CHATGLM_UNROLL
            for (int r = 0; r < kRows; ++r) {
              CHATGLM_UNROLL
              for (int p = 0; p < kPanels; ++p) {
                partial[r][p] =
                    Dot::add(partial[r][p], code[p], x + r * stride + vector * V::kGroup);
              }
            }
          }
          CHATGLM_UNROLL
          for (int r = 0; r < kRows; ++r) {
            CHATGLM_UNROLL
            for (int p = 0; p < kPanels; ++p) dots[r][p] = Dot::widen(dots[r][p], partial[r][p]);
          }
        }
        F32 scale[kPanels];
        CHATGLM_UNROLL
        for (int p = 0; p < kPanels; ++p) scale[p] = V::load(scales[p][block][part]);
        CHATGLM_UNROLL
        for (int r = 0; r < kRows; ++r) {
          float x_scale;
          std::memcpy(&x_scale, x_scales + r * stride, 4);
          CHATGLM_UNROLL
          for (int p = 0; p < kPanels; ++p) {
            total[r][p] =
                V::fma(V::to_f32(dots[r][p]), V::mul(scale[p], V::set(x_scale)), total[r][p]);
          }
        }
        if constexpr (kMinimum) {
          CHATGLM_UNROLL
          for (int r = 0; r < kRows; ++r) {
            float part_inputs;
            std::memcpy(&part_inputs, x_corrections + r * stride, 4);
            CHATGLM_UNROLL
            for (int p = 0; p < kPanels; ++p) {
              total[r][p] =
                  V::fma(V::load(minimums[p][block][part]), V::set(part_inputs), total[r][p]);
            }
          }
        }
        if constexpr (kCorrected || kMinimum) x_corrections += 4;
      }
      x += kBlock;
      x_scales += 4;
    }
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) {
      CHATGLM_UNROLL
      for (int p = 0; p < kPanels; ++p) V::store(sums[row + r][p], total[r][p]);
    }
  }
};

}  // namespace chatglm::kernels
