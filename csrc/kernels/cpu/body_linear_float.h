// Products with f32, f16 and bf16 weights.
//
// Layout: a panel is 2 * kLanes weight rows, interleaved: (k, 2 * kLanes) in the storage type. An
// input is broadcast and multiplied into one running sum per weight row, so there is no horizontal
// sum and every output has the same arithmetic in every tile: sums of kSumLength inputs, added in
// order.
//
// V offers besides: kFloatRows, kFloatPanels: the tiles for many rows and for one row.
#pragma once

#include "kernels/cpu/body_common.h"

namespace chatglm::kernels {

template <class V>
struct F32Weights {
  using Stored = float;
  static typename V::F32 load(const Stored* source) { return V::load(source); }
};
template <class V>
struct F16Weights {
  using Stored = uint16_t;
  static typename V::F32 load(const Stored* source) { return V::load_f16(source); }
};
template <class V>
struct BF16Weights {
  using Stored = uint16_t;
  static typename V::F32 load(const Stored* source) { return V::load_bf16(source); }
};

template <class V, class Weights>
struct FloatLinear {
  using F32 = typename V::F32;
  using Stored = typename Weights::Stored;
  static constexpr int64_t kPanelRows = 2 * V::kLanes;
  static constexpr int64_t kSumLength = 256;

  static int64_t panel_bytes(int64_t k) {
    return round_up<V>(k * kPanelRows * static_cast<int64_t>(sizeof(Stored)), 64);
  }

  static void pack(const std::byte* weights, int64_t n, int64_t k, std::byte* packed, int64_t begin,
                   int64_t end) {
    constexpr int64_t kElement = sizeof(Stored);
    constexpr int64_t kLine = 64 / kElement;  // a cache line of each row at a time
    const auto clear = [](std::byte* from, const std::byte* to) {
      std::memset(from, 0, static_cast<std::size_t>(to - from));
    };
    for (int64_t panel = begin; panel < end; ++panel) {
      const std::byte* source = weights + panel * kPanelRows * k * kElement;
      std::byte* destination = packed + panel * panel_bytes(k);
      const int64_t left = n - panel * kPanelRows;
      const int64_t rows = left < kPanelRows ? left : kPanelRows;
      const int64_t used = rows < kPanelRows ? 0 : k * kPanelRows * kElement;
      clear(destination + used, destination + panel_bytes(k));
      for (int64_t start = 0; start < k; start += kLine) {
        const int64_t stop = start + kLine < k ? start + kLine : k;
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t i = start; i < stop; ++i) {
            std::memcpy(destination + (i * kPanelRows + r) * kElement,
                        source + (r * k + i) * kElement, kElement);
          }
        }
      }
    }
  }

  static int64_t input_row_bytes(int64_t, int64_t) { return 0; }
  static int64_t scratch_bytes(int64_t, int64_t) { return 0; }

  static void product(const LinearArgs& args, int64_t begin, int64_t end) {
    if (args.m == 1) {
      int64_t panel = begin;
      for (; panel + V::kFloatPanels <= end; panel += V::kFloatPanels) {
        tile<1, V::kFloatPanels>(args, 0, panel);
      }
      for (; panel < end; ++panel) tile<1, 1>(args, 0, panel);
      return;
    }
    // Tiles of about as many rows each: a tile of one or two waits for its own sums.
    const int64_t tiles = (args.m + V::kFloatRows - 1) / V::kFloatRows;
    for (int64_t panel = begin; panel < end; ++panel) {
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t row = args.m * i / tiles, next = args.m * (i + 1) / tiles;
        rows_of_tile<V::kFloatRows>(next - row,
                                    [&]<int kRows>() { tile<kRows, 1>(args, row, panel); });
      }
    }
  }

 private:
  // kRows rows of x times kPanels panels.
  template <int kRows, int kPanels>
  static void tile(const LinearArgs& args, int64_t row, int64_t panel) {
    constexpr int kVectors = 2 * kPanels;
    const float* x = static_cast<const float*>(args.x) + row * args.k;
    const int64_t panel_size = panel_bytes(args.k) / static_cast<int64_t>(sizeof(Stored));
    const Stored* weights = reinterpret_cast<const Stored*>(args.packed) + panel * panel_size;

    F32 total[kRows][kVectors];
    for (int64_t start = 0; start < args.k || start == 0; start += kSumLength) {
      const int64_t stop = start + kSumLength < args.k ? start + kSumLength : args.k;
      F32 sum[kRows][kVectors];
      CHATGLM_UNROLL
      for (int r = 0; r < kRows; ++r) {
        CHATGLM_UNROLL
        for (int v = 0; v < kVectors; ++v) sum[r][v] = V::set(0.0F);
      }
      for (int64_t i = start; i < stop; ++i) {
        F32 w[kVectors];
        CHATGLM_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          w[v] =
              Weights::load(weights + (v / 2) * panel_size + i * kPanelRows + (v % 2) * V::kLanes);
        }
        if constexpr (kPanels == 1)
          prefetch_ahead<V>(weights + i * kPanelRows, sizeof(Stored) * kPanelRows);
        CHATGLM_UNROLL
        for (int r = 0; r < kRows; ++r) {
          const F32 input = V::set(x[r * args.k + i]);
          CHATGLM_UNROLL
          for (int v = 0; v < kVectors; ++v) sum[r][v] = V::fma(input, w[v], sum[r][v]);
        }
      }
      CHATGLM_UNROLL
      for (int r = 0; r < kRows; ++r) {
        CHATGLM_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          total[r][v] = start == 0 ? sum[r][v] : V::add(total[r][v], sum[r][v]);
        }
      }
    }
    CHATGLM_UNROLL
    for (int r = 0; r < kRows; ++r) {
      CHATGLM_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        finish_outputs<V>(args, row + r, panel * kPanelRows + v * V::kLanes, total[r][v]);
      }
    }
  }
};

}  // namespace chatglm::kernels
