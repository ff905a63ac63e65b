// Products of many rows with quantized weights: a stretch of kPanels panels is opened once, to
// whole bytes and f32 scales, and then used by a block of rows. What is opened stays in the
// first-level cache, the rows' inputs in the second; the sums are carried from stretch to stretch.
//
// Opening leaves nothing of a type but how its codes are summed (Dot), how many parts a block has
// and whether there are corrections or minimums: few combinations serve all types. Every output is
// computed by the same operations in the same order as for one row (body_linear_quant.h).
#pragma once

#include "kernels/cpu/body_quant_codes.h"
#include "kernels/cpu/body_quant_inputs.h"

namespace chatglm::kernels {

template <class V, class Dot, int kParts, bool kCorrected, bool kMinimum>
struct OpenedPanels {
  using F32 = typename V::F32;
  using Inputs = QuantInputs<V, kParts, kCorrected || kMinimum>;
  static constexpr int kPanels = 2;
  static constexpr int kBlock = 32;
  static constexpr int kMaxBlocks = 8;  // of a stretch
  static constexpr int kMaxRows = 64;   // of a block of rows
  static constexpr int64_t kLanes = V::kLanes;

  alignas(64) uint8_t codes[kPanels][kMaxBlocks][kBlock * kLanes];
  alignas(64) float scales[kPanels][kMaxBlocks][kParts][kLanes];
  alignas(64) float minimums[kPanels][kMinimum ? kMaxBlocks : 1][kParts][kLanes];
  alignas(64) float sums[kMaxRows][kPanels][kLanes];

  // Adds the products of `blocks` opened blocks with `rows` rows of `inputs`, from row `first` and
  // block `first_block` of these on; k inputs a row.
  void multiply(const std::byte* inputs, int64_t k, int64_t first, int64_t rows,
                int64_t first_block, int64_t blocks) {
    for (int64_t row = 0; row < rows; row += V::kQuantRows) {
      rows_of_tile<V::kQuantRows>(rows - row, [&]<int kRows>() {
        tile<kRows>({inputs, k, first + row, first_block}, sums + row, blocks);
      });
    }
  }

 private:
  static constexpr int kPartVectors = static_cast<int>(kBlock / kParts / V::kGroup);
  static constexpr int64_t kVectorBytes = V::kLanes * V::kGroup;
  static constexpr int kChunk = Dot::kVectors < kPartVectors ? Dot::kVectors : kPartVectors;
  static_assert(kPartVectors % kChunk == 0);

  template <int kRows>
  void tile(typename Inputs::template Reader<kRows> x, float (*sums_of_rows)[kPanels][kLanes],
            int64_t blocks) {
    F32 total[kRows][kPanels];
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) {
      CHATGLM_UNROLL
      for (int p = 0; p < kPanels; ++p) total[r][p] = V::load(sums_of_rows[r][p]);
    }
    for (int64_t block = 0; block < blocks; ++block) {
      CHATGLM_UNROLL
      for (int part = 0; part < kParts; ++part) {
        typename V::Ints dots[kRows][kPanels];
        CHATGLM_UNROLL
        for (int r = 0; r < kRows; ++r) {
          int32_t correction = 0;
          if constexpr (kCorrected) correction = x.template correction<int32_t>(r, part);
          CHATGLM_UNROLL
          for (int p = 0; p < kPanels; ++p) dots[r][p] = V::ints(correction);
        }
        CHATGLM_UNROLL
        for (int start = 0; start < kPartVectors; start += kChunk) {
          typename Dot::Partial partial[kRows][kPanels];
          CHATGLM_UNROLL
          for (int r = 0; r < kRows; ++r) {
            CHATGLM_UNROLL
            for (int p = 0; p < kPanels; ++p) partial[r][p] = Dot::begin(dots[r][p]);
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
                partial[r][p] = Dot::add(partial[r][p], code[p], x.quants(r, vector));
              }
            }
          }
          CHATGLM_UNROLL
          for (int r = 0; r < kRows; ++r) {
            CHATGLM_UNROLL
            for (int p = 0; p < kPanels; ++p) dots[r][p] = Dot::end(dots[r][p], partial[r][p]);
          }
        }
        F32 scale[kPanels];
        CHATGLM_UNROLL
        for (int p = 0; p < kPanels; ++p) scale[p] = V::load(scales[p][block][part]);
        CHATGLM_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const float x_scale = x.scale(r);
          CHATGLM_UNROLL
          for (int p = 0; p < kPanels; ++p) {
            total[r][p] =
                V::fma(V::to_f32(dots[r][p]), V::mul(scale[p], V::set(x_scale)), total[r][p]);
          }
        }
        if constexpr (kMinimum) {
          CHATGLM_UNROLL
          for (int r = 0; r < kRows; ++r) {
            const auto part_inputs = x.template correction<float>(r, part);
            CHATGLM_UNROLL
            for (int p = 0; p < kPanels; ++p) {
              total[r][p] =
                  V::fma(V::load(minimums[p][block][part]), V::set(part_inputs), total[r][p]);
            }
          }
        }
      }
      x.next_block();
    }
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) {
      CHATGLM_UNROLL
      for (int p = 0; p < kPanels; ++p) V::store(sums_of_rows[r][p], total[r][p]);
    }
  }
};

}  // namespace chatglm::kernels
