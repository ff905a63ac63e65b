// Products of a few rows with quantized weights on AMX: the sums of products of codes and quantized
// inputs by int8 tiles, everything else as body_linear_quant.h computes it, in the same order. Both
// are sums of integers, so the results are bit by bit those of the vpdpbusd kernels.
//
// Inputs: the tiles (k / 32, m, 32) of signed quants; then, each on a cache line and with 16 lanes
// for the rows (those beyond m zero), the block scales (k / 32) and, for weights with a minimum,
// the parts' sums of inputs (k / part). Weights: a block of a panel opened to signed bytes is the
// second operand, four inputs of each of 16 outputs in a row.
//
// A panel is walked in steps of kBlocks blocks. While the tile unit multiplies one step's blocks,
// the vector unit scales and adds the sums of the step before, and opens the step to come: no tile
// is loaded, and no sum is read, right after it was written. Counted for q4_0 and 16 rows, for each
// block of a panel: tile product with its loads, zeroing and store about 31 cycles (16 for the
// product alone); vectors: 16 rows by conversion, multiplication and fused multiply-add, 20
// operations to open: 68 on two ports, 34 cycles; 60 loads, 30 cycles; 24 stores. vpdpbusd alone
// would take 8 a row, 64 cycles of two ports, with its scaling about 100. Reading 288 bytes of
// q4_0 from memory takes about 60 cycles of a core where two share 26 GB/s: memory is the limit
// again.
#pragma once

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/avx512_vectors.h"
#include "kernels/cpu/body_linear_quant.h"

namespace chatglm::kernels {
namespace {

template <class V, QuantForm kForm, class Linear>
class AmxFewRows {
 public:
  static constexpr int64_t kMostRows = kTileRows;

  // Of a row's share; m > 1.
  static int64_t input_row_bytes(int64_t k, int64_t m) {
    return (minimums_offset(k, m) + (kForm.minimum ? k / kForm.part * kLaneBytes : 0) + m - 1) / m;
  }

  static void prepare_input(const PrepareArgs& args, int64_t begin, int64_t end) {
    const int64_t k = args.k, m = args.m;
    for (int64_t row = begin; row < end; ++row) {
      const InputRow<V> input(args, row);
      std::byte* quants = args.prepared + row * kBlock;
      std::byte* scales = args.prepared + scales_offset(k, m);
      std::byte* minimums = args.prepared + minimums_offset(k, m);
      for (int64_t b = 0; b < k / kBlock; ++b, quants += m * kBlock, scales += kLaneBytes) {
        alignas(64) float values[kBlock];
        for (int64_t i = 0; i < kBlock; i += V::kLanes) {
          V::store(values + i, input.load(b * kBlock + i));
        }
        std::byte scale[4], corrections[kParts * 4];
        Linear::prepare_block(values, reinterpret_cast<int8_t*>(quants), scale, corrections);
        put(scales, scale, row, m);
        if constexpr (kForm.minimum) {
          for (int64_t part = 0; part < kParts; ++part, minimums += kLaneBytes) {
            put(minimums, corrections + part * 4, row, m);
          }
        }
      }
    }
  }

  static int64_t scratch_bytes() { return static_cast<int64_t>(sizeof(Scratch)); }

  static void product(const LinearArgs& args, int64_t begin, int64_t end) {
    if (begin >= end) return;
    AmxFewRows few(args, begin, end);
    if (args.m <= kMostRows / 2) {
      few.template multiply<kMostRows / 2>();
    } else {
      few.template multiply<kMostRows>();
    }
  }

 private:
  using F32 = typename V::F32;
  using Codes = typename Linear::Codes;
  static constexpr int64_t kBlock = 32;  // of inputs
  static constexpr int kParts = static_cast<int>(kBlock / kForm.part);
  static constexpr int64_t kBlocks = 8 / kParts;  // of a step
  static constexpr int64_t kLaneBytes = kTileRows * 4;
  static constexpr int kVectors = 8;  // of 4 inputs of 16 outputs, in a block
  static_assert(V::kLanes == kTileRows && Linear::kPanelRows == kTileRows && V::kGroup == 4);

  struct Scratch {
    alignas(64) uint8_t codes[2][kBlocks][kBlock * kTileRows];  // signed
    alignas(64) int32_t sums[2][kBlocks][kParts][kTileRows][kTileRows];
  };
  // Blocks of a panel.
  struct Step {
    int64_t panel, block, count;
  };

  static int64_t scales_offset(int64_t k, int64_t m) { return round_up<V>(m * k, 64); }
  static int64_t minimums_offset(int64_t k, int64_t m) {
    return scales_offset(k, m) + k / kBlock * kLaneBytes;
  }
  static void put(std::byte* lanes, const std::byte* value, int64_t row, int64_t m) {
    std::memcpy(lanes + row * 4, value, 4);
    if (row + 1 == m) std::memset(lanes + m * 4, 0, static_cast<std::size_t>(kTileRows - m) * 4);
  }

  AmxFewRows(const LinearArgs& args, int64_t begin, int64_t end)
      : args_(args),
        scratch_(*reinterpret_cast<Scratch*>(args.scratch)),
        begin_(begin),
        blocks_(args.k / kBlock),
        panel_steps_((blocks_ + kBlocks - 1) / kBlocks),
        steps_((end - begin) * panel_steps_),
        quants_(static_cast<const std::byte*>(args.x)),
        scales_(reinterpret_cast<const float*>(quants_ + scales_offset(args.k, args.m))),
        minimums_(reinterpret_cast<const float*>(quants_ + minimums_offset(args.k, args.m))) {}

  Step step_at(int64_t index) const {
    if (index >= steps_) return {};
    const int64_t block = index % panel_steps_ * kBlocks, left = blocks_ - block;
    return {begin_ + index / panel_steps_, block, left < kBlocks ? left : kBlocks};
  }
  const std::byte* panel(const Step& step) const {
    return args_.packed + step.panel * Linear::panel_bytes(args_.k);
  }

  // Of args.m rows, the sums of kRows are kept in registers.
  template <int kRows>
  void multiply() {
    if (args_.m < kRows) std::memset(scratch_.sums, 0, sizeof(scratch_.sums));  // which no tile has
    configure();
    Step finished{}, now{}, next = step_at(0);
    for (int64_t i = 0; i < next.count; ++i) open(next, i, 0);
    F32 total[kRows];
    for (int64_t index = 0; index <= steps_; ++index) {
      finished = now;
      now = next;
      next = step_at(index + 1);
      const int side = static_cast<int>(index % 2);
      if (finished.block == 0) {
        CHATGLM_UNROLL
        for (int r = 0; r < kRows; ++r) total[r] = V::set(0.0F);
      }
      for (int64_t i = 0; i < kBlocks; ++i) {
        if (i < now.count) multiply_tiles(now, i, side);
        if (i < finished.count) add_sums<kRows>(finished, i, 1 - side, total);
        if (i < next.count) open(next, i, 1 - side);
      }
      if (finished.count == 0 || finished.block + finished.count < blocks_) continue;
      CHATGLM_UNROLL
      for (int r = 0; r < kRows; ++r) {
        if (r < args_.m) finish_outputs<V>(args_, r, finished.panel * kTileRows, total[r]);
      }
    }
    Tiles::release();
  }

  // Two tiles of each kind take turns.
  static constexpr int kSums = 0, kInputs = 2, kOpened = 4;
  void configure() const {
    TileConfig config;
    const auto set = [&](int tile, int64_t rows, int64_t row_bytes) {
      config.rows[tile] = config.rows[tile + 1] = static_cast<uint8_t>(rows);
      config.row_bytes[tile] = config.row_bytes[tile + 1] = static_cast<uint16_t>(row_bytes);
    };
    set(kSums, args_.m, kTileRowBytes);
    set(kInputs, args_.m, kForm.part);
    set(kOpened, kForm.part / 4, kTileRowBytes);
    Tiles::configure(config);
  }

  void multiply_tiles(const Step& step, int64_t i, int side) {
    const std::byte* inputs = quants_ + (step.block + i) * args_.m * kBlock;
    const auto* codes = reinterpret_cast<const std::byte*>(scratch_.codes[side][i]);
    auto* sums = reinterpret_cast<std::byte*>(scratch_.sums[side][i]);
    if constexpr (kParts == 2) {
      multiply_part<0>(inputs, codes, sums);
      multiply_part<1>(inputs + kForm.part, codes + kForm.part * kTileRows, sums + kTileBytes);
    } else if (i % 2 == 0) {
      multiply_part<0>(inputs, codes, sums);
    } else {
      multiply_part<1>(inputs, codes, sums);
    }
  }
  template <int kTurn>
  static void multiply_part(const std::byte* inputs, const std::byte* codes, std::byte* sums) {
    Tiles::zero<kSums + kTurn>();
    Tiles::load<kInputs + kTurn>(inputs, kBlock);
    Tiles::load<kOpened + kTurn>(codes);
    Tiles::multiply_int8<kSums + kTurn, kInputs + kTurn, kOpened + kTurn>();
    Tiles::store<kSums + kTurn>(sums);
  }

  template <int kRows>
  void add_sums(const Step& step, int64_t i, int side, F32 (&total)[kRows]) const {
    const int64_t block = step.block + i;
    const std::byte* packed = panel(step);
    const auto* half = reinterpret_cast<const uint16_t*>(packed) +
                       block / (kForm.block / kBlock) * Linear::kHalves * kTileRows;
    const auto* integers =
        reinterpret_cast<const int8_t*>(packed + Linear::integers_offset(args_.k));
    const F32 scale = V::load_f16(half);
    const float* x_scales = scales_ + block * kTileRows;
    CHATGLM_UNROLL
    for (int part = 0; part < kParts; ++part) {
      const int8_t* integer = integers + (block * kParts + part) * Linear::kIntegers * kTileRows;
      const F32 factor = Linear::part_scale(scale, integer);
      CHATGLM_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const F32 dot = V::to_f32(V::load_ints(scratch_.sums[side][i][part][r]));
        total[r] = V::fma(dot, V::mul(factor, V::set(x_scales[r])), total[r]);
      }
      if constexpr (kForm.minimum) {
        const F32 least = Linear::part_minimum(V::load_f16(half + kTileRows), integer);
        const float* inputs = minimums_ + (block * kParts + part) * kTileRows;
        CHATGLM_UNROLL
        for (int r = 0; r < kRows; ++r) total[r] = V::fma(least, V::set(inputs[r]), total[r]);
      }
    }
  }

  void open(const Step& step, int64_t i, int side) {
    const auto* codes =
        reinterpret_cast<const uint8_t*>(panel(step) + Linear::codes_offset(args_.k)) +
        (step.block + i) * Codes::kBlockBytes;
    CHATGLM_UNROLL
    for (int j = 0; j < kVectors; ++j) {
      V::store_bytes(scratch_.codes[side][i] + j * kTileRowBytes,
                     V::template less<Codes::kOffset>(Codes::bytes(codes, j)));
    }
  }

  const LinearArgs& args_;
  Scratch& scratch_;
  const int64_t begin_;
  const int64_t blocks_;       // of a panel
  const int64_t panel_steps_;  // the same in steps
  const int64_t steps_;
  const std::byte* const quants_;
  const float* const scales_;
  const float* const minimums_;
};

}  // namespace
}  // namespace chatglm::kernels
