// Products with q8_0 and q4_0 weights: integer dot products of blocks of 32.
//
// The inputs are quantized too, in the same blocks. A prepared row is the signed quants (k), then
// the block scales as f32 (k / 32), then each block's excess as int32 (k / 32): what its sums of
// products have too much because the kernel's weights are kOffset larger than the stored ones.
//
// Layout: a panel is kLanes weight rows: first the scales as f16 (k / 32, kLanes), then the quants,
// for every block (bytes / kGroup, kLanes, kGroup): kGroup consecutive bytes of each row, so that a
// vector of integer sums has one lane for each row and there is no horizontal sum. A q4_0 byte
// holds, as in the file, inputs j (low nibble) and j + 16.
//
// V offers besides
//   kQuantRows kQuantPanels   the tiles for many rows and for one row
//   kGroup                    1 or 4
//   kQ8Flip                   xor of every packed q8_0 byte: 0x80 stores w + 128, unsigned
//   kQ8Offset kQ4Offset       kOffset of the two types
//   store_i8(destination, a)  kLanes integral floats as signed bytes
//   dot_q8_0<kRows>(w, x, x_stride, excess, dots) and dot_q4_0<kRows>(...)
//                             one block: w its packed bytes, x the first row's quants,
//                             excess[kRows] to be taken off, dots[kRows] the results as F32
#pragma once

#include <type_traits>

#include "kernels/cpu/body_common.h"

namespace chatglm::kernels {

template <class V>
struct Q8_0Weights {
  static constexpr int64_t kQuantBytes = 32;
  static constexpr uint32_t kFlip = V::kQ8Flip;
  static constexpr float kOffset = V::kQ8Offset;
  template <int kRows>
  static void dot(const uint8_t* w, const int8_t* x, int64_t x_stride, const int32_t* excess,
                  typename V::F32* dots) {
    V::template dot_q8_0<kRows>(w, x, x_stride, excess, dots);
  }
};
template <class V>
struct Q4_0Weights {
  static constexpr int64_t kQuantBytes = 16;
  static constexpr uint32_t kFlip = 0;
  static constexpr float kOffset = V::kQ4Offset;
  template <int kRows>
  static void dot(const uint8_t* w, const int8_t* x, int64_t x_stride, const int32_t* excess,
                  typename V::F32* dots) {
    V::template dot_q4_0<kRows>(w, x, x_stride, excess, dots);
  }
};

template <class V, class Weights>
struct QuantLinear {
  using F32 = typename V::F32;
  static constexpr int64_t kPanelRows = V::kLanes;
  static constexpr int64_t kBlock = 32;
  static constexpr int64_t kScaleBytes = 2;
  static constexpr int64_t kBlockBytes = kScaleBytes + Weights::kQuantBytes;  // as stored
  using Group = std::conditional_t<V::kGroup == 4, uint32_t, uint8_t>;
  static_assert(sizeof(Group) == V::kGroup);
  static constexpr uint32_t kGroupFlip = Weights::kFlip * 0x01010101U;
  static constexpr int64_t kPanelBlockBytes = kPanelRows * Weights::kQuantBytes;  // quants, packed

  static int64_t panel_bytes(int64_t k) {
    return scales_bytes(k) + round_up<V>(k / kBlock * kPanelBlockBytes, 64);
  }

  static void pack(const std::byte* weights, int64_t n, int64_t k, std::byte* packed, int64_t begin,
                   int64_t end) {
    const int64_t blocks = k / kBlock;
    for (int64_t panel = begin; panel < end; ++panel) {
      std::byte* scales = packed + panel * panel_bytes(k);
      std::memset(scales, 0, static_cast<std::size_t>(panel_bytes(k)));
      std::byte* quants = scales + scales_bytes(k);
      for (int64_t r = 0; r < kPanelRows && panel * kPanelRows + r < n; ++r) {
        const std::byte* source = weights + (panel * kPanelRows + r) * blocks * kBlockBytes;
        for (int64_t b = 0; b < blocks; ++b, source += kBlockBytes) {
          std::memcpy(scales + (b * kPanelRows + r) * kScaleBytes, source, kScaleBytes);
          std::byte* block = quants + b * kPanelBlockBytes + r * V::kGroup;
          for (int64_t j = 0; j < Weights::kQuantBytes; j += V::kGroup) {
            Group group;
            std::memcpy(&group, source + kScaleBytes + j, sizeof(group));
            group = static_cast<Group>(group ^ kGroupFlip);
            std::memcpy(block + j * kPanelRows, &group, sizeof(group));
          }
        }
      }
    }
  }

  static int64_t input_row_bytes(int64_t k) {
    return round_up<V>(k + k / kBlock * static_cast<int64_t>(sizeof(float) + sizeof(int32_t)), 64);
  }

  static void prepare_input(const float* x, int64_t k, std::byte* prepared, int64_t begin,
                            int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      std::byte* out = prepared + row * input_row_bytes(k);
      auto* quants = reinterpret_cast<int8_t*>(out);
      auto* scales = reinterpret_cast<float*>(out + k);
      auto* excess = reinterpret_cast<int32_t*>(out + k + k / kBlock * 4);
      for (int64_t b = 0; b < k / kBlock; ++b) {
        prepare_block(x + row * k + b * kBlock, quants + b * kBlock, scales[b], excess[b]);
      }
    }
  }

  static void product(const LinearArgs& args, int64_t begin, int64_t end) {
    if (args.m == 1) {
      int64_t panel = begin;
      for (; panel + V::kQuantPanels <= end; panel += V::kQuantPanels) {
        tile<1, V::kQuantPanels>(args, 0, panel);
      }
      for (; panel < end; ++panel) tile<1, 1>(args, 0, panel);
      return;
    }
    for (int64_t panel = begin; panel < end; ++panel) {
      int64_t row = 0;
      for (; row + V::kQuantRows <= args.m; row += V::kQuantRows) {
        tile<V::kQuantRows, 1>(args, row, panel);
      }
      last_rows<V::kQuantRows - 1>(args, row, panel);
    }
  }

 private:
  static int64_t scales_bytes(int64_t k) {
    return round_up<V>(k / kBlock * kPanelRows * kScaleBytes, 64);
  }

  static void prepare_block(const float* x, int8_t* quants, float& scale, int32_t& excess) {
    // Zero, but NaN where any input is NaN or infinite: the maximum would lose it.
    F32 poison = V::set(0.0F);
    F32 largest_lanes = V::set(0.0F);
    for (int64_t i = 0; i < kBlock; i += V::kLanes) {
      const F32 value = V::load(x + i);
      poison = V::fma(value, V::set(0.0F), poison);
      largest_lanes = V::max(largest_lanes, V::max(value, V::sub(V::set(0.0F), value)));
    }
    const float largest = V::reduce_max(largest_lanes);
    // Below this bound 127 / largest overflows: the block counts as zero.
    constexpr float kSmallest = 1e-35F;
    const bool usable = largest > kSmallest;
    const float inverse = usable ? 127.0F / largest : 0.0F;
    scale = (usable ? largest / 127.0F : 0.0F) + V::reduce_add(poison);

    F32 sum = V::set(0.0F);
    for (int64_t i = 0; i < kBlock; i += V::kLanes) {
      const F32 quant = V::round(V::mul(V::load(x + i), V::set(inverse)));
      V::store_i8(quants + i, quant);
      sum = V::add(sum, quant);
    }
    const float total = Weights::kOffset * V::reduce_add(sum);
    excess = scale == scale ? static_cast<int32_t>(total) : 0;
  }

  template <int kRows>
  static void last_rows(const LinearArgs& args, int64_t row, int64_t panel) {
    if constexpr (kRows > 0) {
      if (args.m - row == kRows) {
        tile<kRows, 1>(args, row, panel);
      } else {
        last_rows<kRows - 1>(args, row, panel);
      }
    }
  }

  // kRows prepared rows times kPanels panels.
  template <int kRows, int kPanels>
  static void tile(const LinearArgs& args, int64_t row, int64_t panel) {
    const int64_t blocks = args.k / kBlock;
    const int64_t x_stride = input_row_bytes(args.k);
    const auto* x = static_cast<const int8_t*>(args.x) + row * x_stride;
    const int8_t* x_scales = x + args.k;
    const int8_t* x_excess = x_scales + 4 * blocks;
    const int64_t panel_size = panel_bytes(args.k);
    const std::byte* scales = args.packed + panel * panel_size;
    const std::byte* quants = scales + scales_bytes(args.k);

    F32 total[kPanels][kRows];
    CHATGLM_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      CHATGLM_UNROLL
      for (int r = 0; r < kRows; ++r) total[p][r] = V::set(0.0F);
    }
    for (int64_t b = 0; b < blocks; ++b) {
      float x_scale[kRows];
      int32_t excess[kRows];
      CHATGLM_UNROLL
      for (int r = 0; r < kRows; ++r) {
        std::memcpy(&x_scale[r], x_scales + r * x_stride + 4 * b, 4);
        std::memcpy(&excess[r], x_excess + r * x_stride + 4 * b, 4);
      }
      CHATGLM_UNROLL
      for (int p = 0; p < kPanels; ++p) {
        const auto* w =
            reinterpret_cast<const uint8_t*>(quants + p * panel_size) + b * kPanelBlockBytes;
        const auto* w_scale =
            reinterpret_cast<const uint16_t*>(scales + p * panel_size) + b * kPanelRows;
        F32 dots[kRows];
        Weights::template dot<kRows>(w, x + b * kBlock, x_stride, excess, dots);
        const F32 scale = V::load_f16(w_scale);
        CHATGLM_UNROLL
        for (int r = 0; r < kRows; ++r) {
          total[p][r] = V::fma(dots[r], V::mul(scale, V::set(x_scale[r])), total[p][r]);
        }
      }
    }
    CHATGLM_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      CHATGLM_UNROLL
      for (int r = 0; r < kRows; ++r) {
        finish_outputs<V>(args, row + r, (panel + p) * kPanelRows, total[p][r]);
      }
    }
  }
};

}  // namespace chatglm::kernels
