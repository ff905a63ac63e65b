// Quantized inputs as products with quantized weights read them.
//
// Rows stand in groups of kGroupRows (the last has what is left), and a group's blocks of 32 inputs
// follow each other. A block holds of all rows of its group, one row after the other each time: for
// each kGroup inputs the quants (int8); then the scales (f32); then for each part, where the form
// wants them, the corrections (4 bytes, see body_linear_quant.h). So a product of kGroupRows rows
// reads one stretch of memory from end to end, whatever k is: rows that lie k bytes apart would
// often share a few sets of the first-level cache.
//
// V offers besides: kQuantRows: rows of a group, and of a tile of products.
#pragma once

#include "kernels/cpu/body_common.h"

namespace chatglm::kernels {

template <class V, int kParts, bool kCorrected>
struct QuantInputs {
  static constexpr int64_t kBlock = 32;
  static constexpr int64_t kGroupRows = V::kQuantRows;
  static constexpr int64_t kRowBytes = kBlock + 4 + (kCorrected ? 4 * kParts : 0);  // of a block

  static int64_t row_bytes(int64_t k) { return k / kBlock * kRowBytes; }

  // Writes block b of row `row` of m.
  static void put(std::byte* inputs, int64_t m, int64_t k, int64_t row, int64_t b,
                  const int8_t* quants, const std::byte* scale, const std::byte* corrections) {
    const int64_t first = row / kGroupRows * kGroupRows, left = m - first;
    const int64_t rows = left < kGroupRows ? left : kGroupRows;
    std::byte* block = inputs + first * row_bytes(k) + b * rows * kRowBytes;
    std::byte* place = block + (row - first) * V::kGroup;
    for (int64_t i = 0; i < kBlock; i += V::kGroup, place += rows * V::kGroup) {
      std::memcpy(place, quants + i, static_cast<std::size_t>(V::kGroup));
    }
    place = block + rows * kBlock + (row - first) * 4;
    std::memcpy(place, scale, 4);
    if constexpr (kCorrected) {
      for (int64_t part = 0; part < kParts; ++part) {
        std::memcpy(place + (part + 1) * rows * 4, corrections + part * 4, 4);
      }
    }
  }

  // Reads kRows rows from the first of a group on, block by block: one group, or a whole one and
  // the next.
  template <int kRows>
  class Reader {
   public:
    Reader(const std::byte* inputs, int64_t k, int64_t row, int64_t block) {
      CHATGLM_UNROLL
      for (int g = 0; g < kGroups; ++g) {
        const int64_t first = row + g * kGroupRows;
        at_[g] = inputs + first * row_bytes(k) + block * group_rows(g) * kRowBytes;
      }
    }

    // kGroup inputs, from i * kGroup of the block on.
    const int8_t* quants(int r, int i) const {
      const int g = r / static_cast<int>(kGroupRows);
      return reinterpret_cast<const int8_t*>(at_[g]) +
             (i * group_rows(g) + r % kGroupRows) * V::kGroup;
    }
    float scale(int r) const { return number<float>(r, 0); }
    template <class Number>
    Number correction(int r, int part) const {
      return number<Number>(r, part + 1);
    }
    void next_block() {
      CHATGLM_UNROLL
      for (int g = 0; g < kGroups; ++g) at_[g] += group_rows(g) * kRowBytes;
    }

   private:
    static constexpr int kGroups = static_cast<int>((kRows + kGroupRows - 1) / kGroupRows);
    static_assert(kGroups == 1 || kGroups == 2);

    static constexpr int64_t group_rows(int g) {
      return kRows - g * kGroupRows < kGroupRows ? kRows - g * kGroupRows : kGroupRows;
    }
    template <class Number>
    Number number(int r, int which) const {
      const int g = r / static_cast<int>(kGroupRows);
      Number value;
      std::memcpy(&value, at_[g] + group_rows(g) * (kBlock + 4 * which) + r % kGroupRows * 4, 4);
      return value;
    }

    const std::byte* at_[kGroups];
  };
};

}  // namespace chatglm::kernels
