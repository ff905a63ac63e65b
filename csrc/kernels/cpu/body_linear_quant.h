// Products with quantized weights, for every QuantForm.
//
// The inputs are quantized too, in blocks of 32 (body_quant_inputs.h): signed quants, a scale as
// f32, then where the form needs it a correction for each part of a block: for weights with a
// minimum the sum of the part's inputs (quants times scale) as f32; for codes with an offset the
// sum of the part's quants times the offset, negative, as int32: what a sum of products has too
// much.
//
// Layout: a panel is kLanes weight rows: first the block scales and minimums as f16 (k / block, 1
// or 2, kLanes), then the parts' scales and minimums as int8 (k / part, 0 to 2, kLanes), then the
// codes (k / 32, see body_quant_codes.h); each of the three begins on a cache line.
//
// A few rows' product reads the panels as they lie; many rows open them first
// (body_opened_panels.h).
//
// V offers besides: kQuantPanels: panels that one row walks side by side, enough streams to keep
// memory busy;
// store_i8(destination, a): kLanes integral floats as signed bytes.
#pragma once

#include "kernels/cpu/body_input.h"
#include "kernels/cpu/body_opened_panels.h"

namespace chatglm::kernels {

// kOpen opens a stored block of kStoredBytes.
template <class V, QuantForm kForm, auto kOpen, int64_t kStoredBytes>
struct QuantLinear {
  using F32 = typename V::F32;
  using Codes = QuantCodes<V, kForm>;
  static constexpr int64_t kPanelRows = V::kLanes;
  static constexpr int64_t kBlock = 32;  // of inputs
  static constexpr int64_t kParts = kBlock / kForm.part;
  static constexpr int64_t kHalves = 1 + (kForm.minimum ? 1 : 0);                // a weight block
  static constexpr int64_t kIntegers = kForm.scales + (kForm.minimums ? 1 : 0);  // a part
  static_assert(kForm.scales || !kForm.minimums);
  static constexpr bool kCorrected = kForm.minimum || Codes::kOffset != 0;
  static_assert(!kForm.minimum || Codes::kOffset == 0);
  using Inputs = QuantInputs<V, static_cast<int>(kParts), kCorrected>;

  static int64_t panel_bytes(int64_t k) {
    return codes_offset(k) + round_up<V>(k / kBlock * kCodesBytes, 64);
  }

  static void pack(const std::byte* weights, int64_t n, int64_t k, std::byte* packed, int64_t begin,
                   int64_t end) {
    const int64_t blocks = k / kForm.block;
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t first_row = panel * kPanelRows;
      const int64_t rows = n - first_row < kPanelRows ? n - first_row : kPanelRows;
      const std::byte* source = weights + first_row * blocks * kStoredBytes;
      std::byte* destination = packed + panel * panel_bytes(k);
      clear_unused(destination, k, rows);
      // All rows of one block before the next block: the panel is written once, from end to end.
      for (int64_t b = 0; b < blocks; ++b, source += kStoredBytes) {
        for (int64_t r = 0; r < rows; ++r) {
          pack_block(source + r * blocks * kStoredBytes, b, r, destination, k);
        }
      }
    }
  }

  static int64_t input_row_bytes(int64_t k, int64_t) { return Inputs::row_bytes(k); }

  static int64_t scratch_bytes(int64_t, int64_t) { return 0; }

  static void prepare_input(const PrepareArgs& args, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const InputRow<V> input(args, row);
      for (int64_t b = 0; b < args.k / kBlock; ++b) {
        float values[kBlock];
        for (int64_t i = 0; i < kBlock; i += V::kLanes) {
          V::store(values + i, input.load(b * kBlock + i));
        }
        int8_t quants[kBlock];
        std::byte scale[4], corrections[kParts * 4];
        prepare_block(values, quants, scale, corrections);
        Inputs::put(args.prepared, args.m, args.k, row, b, quants, scale, corrections);
      }
    }
  }

  static void product(const LinearArgs& args, int64_t begin, int64_t end) {
    if (args.m > kFewRows) return multiply_many(args, begin, end);
    int64_t panel = begin;
    if (args.m == 1) {
      for (; panel + V::kQuantPanels <= end; panel += V::kQuantPanels) {
        tile<1, V::kQuantPanels>(args, 0, panel);
      }
    }
    for (; panel < end; ++panel) {
      for (int64_t row = 0; row < args.m; row += kTileRows) {
        rows_of_tile<kTileRows>(args.m - row,
                                [&]<int kRows>() { tile<kRows, 1>(args, row, panel); });
      }
    }
  }

  // kBlock inputs to their quants, their scale and the parts' corrections, of 4 bytes each.
  static void prepare_block(const float* x, int8_t* quants, std::byte* scale_out,
                            std::byte* corrections) {
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
    const float scale = (usable ? largest / 127.0F : 0.0F) + V::reduce_add(poison);
    std::memcpy(scale_out, &scale, sizeof(scale));

    for (int64_t p = 0; p < kParts; ++p) {
      F32 sum = V::set(0.0F);
      for (int64_t i = p * kForm.part; i < (p + 1) * kForm.part; i += V::kLanes) {
        const F32 quant = V::round(V::mul(V::load(x + i), V::set(inverse)));
        V::store_i8(quants + i, quant);
        sum = V::add(sum, quant);
      }
      const float total = V::reduce_add(sum);
      if constexpr (kForm.minimum) {
        const float inputs = total * scale;
        std::memcpy(corrections + p * 4, &inputs, sizeof(inputs));
      } else if constexpr (kCorrected) {
        const float products = static_cast<float>(-Codes::kOffset) * total;
        const int32_t correction = scale == scale ? static_cast<int32_t>(products) : 0;
        std::memcpy(corrections + p * 4, &correction, sizeof(correction));
      }
    }
  }

  // Of kPanelRows weights of a part, whose integers these are.
  static F32 part_scale(F32 scale, const int8_t* integer) {
    return kForm.scales ? V::mul(scale, V::load_i8(integer)) : scale;
  }
  static F32 part_minimum(F32 minimum, const int8_t* integer) {
    return kForm.minimums ? V::mul(minimum, V::load_i8(integer + kPanelRows)) : minimum;
  }

  // Of a panel's parts.
  static int64_t integers_offset(int64_t k) {
    return round_up<V>(k / kForm.block * kHalves * kPanelRows * 2, 64);
  }
  static int64_t codes_offset(int64_t k) {
    return integers_offset(k) + round_up<V>(k / kForm.part * kIntegers * kPanelRows, 64);
  }

 private:
  // Up to so many rows, panels are walked as they lie, once for each tile of rows: opening them
  // would cost more. Codes in several planes cost more to put together each time.
  static constexpr int kTileRows = 2 * Inputs::kGroupRows;
  static constexpr int kFewRows = Codes::kOnePlane ? 4 * kTileRows : kTileRows;
  static constexpr int64_t kCodesBytes = Codes::kBlockBytes;

  // Zeroes what packing `rows` rows leaves of a panel: missing rows, or the gaps before cache
  // lines.
  static void clear_unused(std::byte* panel, int64_t k, int64_t rows) {
    const auto clear = [panel](int64_t from, int64_t to) {
      std::memset(panel + from, 0, static_cast<std::size_t>(to - from));
    };
    if (rows < kPanelRows) {
      clear(0, panel_bytes(k));
    } else {
      clear(k / kForm.block * kHalves * kPanelRows * 2, integers_offset(k));
      clear(integers_offset(k) + k / kForm.part * kIntegers * kPanelRows, codes_offset(k));
      clear(codes_offset(k) + k / kBlock * kCodesBytes, panel_bytes(k));
    }
  }

  // Stored block b of a row to place r of a panel.
  static void pack_block(const std::byte* stored, int64_t b, int64_t r, std::byte* panel,
                         int64_t k) {
    constexpr int64_t kBlockParts = kForm.block / kForm.part, kBlocks = kForm.block / kBlock;
    auto* halves = reinterpret_cast<uint16_t*>(panel) + b * kHalves * kPanelRows + r;
    auto* codes = reinterpret_cast<uint8_t*>(panel + codes_offset(k)) + b * kBlocks * kCodesBytes;
    if constexpr (kForm.direct) {
      for (int64_t i = 0; i < kHalves; ++i) std::memcpy(halves + i * kPanelRows, stored + 2 * i, 2);
      Codes::place(reinterpret_cast<const uint8_t*>(stored) + 2 * kHalves, r, codes);
    } else {
      OpenBlock opened;
      kOpen(stored, opened);
      halves[0] = opened.scale;
      if constexpr (kForm.minimum) halves[kPanelRows] = opened.minimum;
      auto* integers = reinterpret_cast<int8_t*>(panel + integers_offset(k)) + r;
      for (int64_t p = 0; p < kBlockParts; ++p) {
        int8_t* integer = integers + (b * kBlockParts + p) * kIntegers * kPanelRows;
        if constexpr (kForm.scales) integer[0] = opened.scales[p];
        if constexpr (kForm.minimums) integer[kPanelRows] = opened.minimums[p];
      }
      for (int64_t i = 0; i < kBlocks; ++i) {
        Codes::pack(opened.codes + i * kBlock, r, codes + i * kCodesBytes);
      }
    }
  }

  using Opened = OpenedPanels<V, typename Codes::OpenDot, static_cast<int>(kParts),
                              Codes::kOffset != 0, kForm.minimum>;

  // Blocks [first, first + count) of a panel, as place p of `opened`.
  static void open(const std::byte* panel, int64_t k, int64_t first, int64_t count, int p,
                   Opened& opened) {
    const auto* halves = reinterpret_cast<const uint16_t*>(panel);
    const auto* integers = reinterpret_cast<const int8_t*>(panel + integers_offset(k));
    const auto* codes = reinterpret_cast<const uint8_t*>(panel + codes_offset(k));
    for (int64_t i = 0; i < count; ++i) {
      const int64_t block = first + i;
      const uint16_t* half = halves + block / (kForm.block / kBlock) * kHalves * kPanelRows;
      const F32 scale = V::load_f16(half);
      CHATGLM_UNROLL
      for (int part = 0; part < kParts; ++part) {
        const int8_t* integer = integers + (block * kParts + part) * kIntegers * kPanelRows;
        V::store(opened.scales[p][i][part], part_scale(scale, integer));
        if constexpr (kForm.minimum) {
          V::store(opened.minimums[p][i][part],
                   part_minimum(V::load_f16(half + kPanelRows), integer));
        }
      }
      Codes::open(codes + block * kCodesBytes, opened.codes[p][i]);
    }
  }

  // Asks for what open() will read: memory is busy while the stretch before is multiplied.
  static void prefetch(const std::byte* panel, int64_t k, int64_t first, int64_t count) {
    const std::byte* codes = panel + codes_offset(k) + first * kCodesBytes;
    for (int64_t at = 0; at < count * kCodesBytes; at += 64) CHATGLM_PREFETCH(codes + at);
    constexpr int64_t kSuper = kForm.block / kBlock;
    const std::byte* halves = panel + first / kSuper * kHalves * kPanelRows * 2;
    for (int64_t at = 0; at < count / kSuper * kHalves * kPanelRows * 2; at += 64) {
      CHATGLM_PREFETCH(halves + at);
    }
  }

  static void multiply_many(const LinearArgs& args, int64_t begin, int64_t end) {
    for (int64_t row = 0; row < args.m; row += Opened::kMaxRows) {
      const int64_t rows = args.m - row < Opened::kMaxRows ? args.m - row : Opened::kMaxRows;
      multiply_rows(args, row, rows, begin, end);
    }
  }

  // Rows [row, row + rows) of x, kMaxRows at most.
  static void multiply_rows(const LinearArgs& args, int64_t row, int64_t rows, int64_t begin,
                            int64_t end) {
    constexpr int64_t kPanels = Opened::kPanels, kMaxBlocks = Opened::kMaxBlocks;
    const int64_t panel_size = panel_bytes(args.k);
    const int64_t blocks = args.k / kBlock;
    const int64_t stretches = (blocks + kMaxBlocks - 1) / kMaxBlocks;  // of a pair of panels
    const int64_t steps = (end - begin + kPanels - 1) / kPanels * stretches;
    // A pair of panels, the last of which may be missing, and what of them one step takes.
    struct Stretch {
      int64_t panel, last_panel, block, count;
    };
    const auto stretch = [&](int64_t step) -> Stretch {
      const int64_t panel = begin + step / stretches * kPanels;
      const int64_t block = step % stretches * kMaxBlocks, left = blocks - block;
      return {panel, panel + 1 < end ? panel + 1 : panel, block,
              left < kMaxBlocks ? left : kMaxBlocks};
    };

    Opened opened;
    for (int64_t step = 0; step < steps; ++step) {
      const auto [panel, last_panel, block, count] = stretch(step);
      if (block == 0) {
        std::memset(opened.sums, 0, static_cast<std::size_t>(rows) * sizeof(opened.sums[0]));
      }
      open(args.packed + panel * panel_size, args.k, block, count, 0, opened);
      open(args.packed + last_panel * panel_size, args.k, block, count, 1, opened);
      if (step + 1 < steps) {
        const Stretch next = stretch(step + 1);
        prefetch(args.packed + next.panel * panel_size, args.k, next.block, next.count);
        prefetch(args.packed + next.last_panel * panel_size, args.k, next.block, next.count);
      }
      opened.multiply(static_cast<const std::byte*>(args.x), args.k, row, rows, block, count);
      if (block + count < blocks) continue;
      for (int64_t p = panel; p <= last_panel; ++p) {
        for (int64_t r = 0; r < rows; ++r) {
          finish_outputs<V>(args, row + r, p * kPanelRows, V::load(opened.sums[r][p - panel]));
        }
      }
    }
  }

  // kRows rows times kPanels panels as they lie.
  template <int kRows, int kPanels>
  static void tile(const LinearArgs& args, int64_t row, int64_t panel) {
    typename Inputs::template Reader<kRows> x(static_cast<const std::byte*>(args.x), args.k, row,
                                              0);
    const int64_t panel_size = panel_bytes(args.k);
    const std::byte* packed = args.packed + panel * panel_size;
    const auto* halves = reinterpret_cast<const uint16_t*>(packed);
    const auto* integers = reinterpret_cast<const int8_t*>(packed + integers_offset(args.k));
    const auto* codes = reinterpret_cast<const uint8_t*>(packed + codes_offset(args.k));

    F32 total[kPanels][kRows];
    CHATGLM_UNROLL
    for (int p = 0; p < kPanels; ++p) {
      CHATGLM_UNROLL
      for (int r = 0; r < kRows; ++r) total[p][r] = V::set(0.0F);
    }
    for (int64_t start = 0; start < args.k; start += kForm.block) {
      F32 scale[kPanels], minimum[kPanels];
      CHATGLM_UNROLL
      for (int p = 0; p < kPanels; ++p) {
        const uint16_t* half = halves + p * (panel_size / 2);
        scale[p] = V::load_f16(half);
        if constexpr (kForm.minimum) minimum[p] = V::load_f16(half + kPanelRows);
      }
      halves += kHalves * kPanelRows;
      // Counted from zero, so that a single block is no loop.
      for (int64_t within = 0; within < kForm.block / kBlock; ++within) {
        CHATGLM_UNROLL
        for (int part = 0; part < kParts; ++part) {
          CHATGLM_UNROLL
          for (int p = 0; p < kPanels; ++p) {
            F32 dots[kRows];
            Codes::template dot<kRows>(codes + p * panel_size, part, x, dots);
            const int8_t* integer = integers + p * panel_size;
            const F32 factor = part_scale(scale[p], integer);
            CHATGLM_UNROLL
            for (int r = 0; r < kRows; ++r) {
              total[p][r] = V::fma(dots[r], V::mul(factor, V::set(x.scale(r))), total[p][r]);
            }
            if constexpr (kForm.minimum) {
              const F32 least = part_minimum(minimum[p], integer);
              CHATGLM_UNROLL
              for (int r = 0; r < kRows; ++r) {
                const auto inputs = x.template correction<float>(r, part);
                total[p][r] = V::fma(least, V::set(inputs), total[p][r]);
              }
            }
          }
          integers += kIntegers * kPanelRows;
        }
        if constexpr (kPanels == 1) prefetch_ahead<V>(codes, kCodesBytes);
        codes += kCodesBytes;
        x.next_block();
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
