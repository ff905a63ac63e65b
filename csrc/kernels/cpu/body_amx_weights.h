// Packed weights as bf16 tiles: the second operand of a tile product, 16 weight rows (outputs) by
// 32 inputs. Row p of a tile holds a pair of inputs of each of the 16 outputs.
//
// The pairs are those that lie side by side in the packed codes once the bytes of a lane are spread
// to words: of inputs 4 j .. 4 j + 3 first (4 j, 4 j + 2), then (4 j + 1, 4 j + 3). Prepared inputs
// have the same order (body_linear_amx.h), for every type.
//
// Quantized types: the codes of a vector are 16 lanes (outputs) of 4 bytes. vpmovzxwd spreads 8
// lanes to 16, two for each output; a code is shifted to the top of the mantissa of 2^bits, one
// fused multiply-add makes scale * code + the rest of it, and vcvtne2ps2bf16 rounds two such
// vectors to a row of the tile. For q4_0 that is, of 128 weights: 2 spreads, 8 shifts, 8 vpternlog,
// 8 fma, 4 conversions of 2 and 4 stores: about 34 operations of two ports, 4.3 cycles for 32
// weights, without a stall. They run in the shadow of the tile products, which use none of these
// ports for long.
#pragma once

#include "kernels/cpu/amx_bf16.h"
#include "kernels/cpu/body_linear_float.h"
#include "kernels/cpu/body_linear_quant.h"

namespace chatglm::kernels {
namespace {

template <class V, QuantForm kForm, class Linear>
struct AmxQuantWeights {
  using Codes = typename Linear::Codes;
  static constexpr int64_t kPanelTiles = 1;
  static_assert(V::kLanes == kTileRows && Linear::kPanelRows == kTileRows);

  static void open_tile(const std::byte* packed, int64_t k, int64_t column_tile, int64_t step,
                        std::byte* tile) {
    const std::byte* panel = packed + column_tile * Linear::panel_bytes(k);
    const int64_t block = step * kTileInputs / kForm.block;
    const auto* halves =
        reinterpret_cast<const uint16_t*>(panel) + block * Linear::kHalves * kTileRows;
    const auto* integers = reinterpret_cast<const int8_t*>(panel + Linear::integers_offset(k)) +
                           step * Linear::kParts * Linear::kIntegers * kTileRows;
    const auto* codes = reinterpret_cast<const uint8_t*>(panel + Linear::codes_offset(k)) +
                        step * Codes::kBlockBytes;
    Factors factors[Linear::kParts];
    for (int64_t part = 0; part < Linear::kParts; ++part) {
      factors[part] = load_factors(halves, integers + part * Linear::kIntegers * kTileRows);
    }
    if constexpr (Codes::kOnePlane) {
      open_plane(codes, factors, tile);
    } else {
      CHATGLM_UNROLL
      for (int j = 0; j < kVectors; ++j) {
        const __m512i merged = Codes::bytes(codes, j);
        const __m512i lanes[2] = {_mm512_cvtepu16_epi32(_mm512_castsi512_si256(merged)),
                                  _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(merged, 1))};
        open_rows<0>(lanes, factors[j / kPartVectors], tile, j);
      }
    }
  }

 private:
  static constexpr int kVectors = 8;  // of 4 codes of each output, in a block of 32
  static constexpr int kPartVectors = static_cast<int>(kForm.part / 4);
  // Codes that are signed bytes come as unsigned ones.
  static constexpr int kBits = Codes::kSignedBytes ? 8 : Codes::kBits;
  static constexpr float kPower = static_cast<float>(1 << kBits);

  // weight = scale * (kPower + code) + rest, of outputs 0..7 and 8..15, each in two lanes.
  struct Factors {
    __m512 scale[2];
    __m512 rest[2];
  };

  static Factors load_factors(const uint16_t* halves, const int8_t* integers) {
    __m512 scale = V::load_f16(halves);
    if constexpr (kForm.scales) scale = V::mul(scale, V::load_i8(integers));
    // kPower and the offset are powers of two or 3 * 2^n together: exact.
    __m512 rest = V::mul(scale, V::set(-kPower - static_cast<float>(Codes::kOffset)));
    if constexpr (kForm.minimum) {
      __m512 minimum = V::load_f16(halves + kTileRows);
      if constexpr (kForm.minimums) {
        minimum = V::mul(minimum, V::load_i8(integers + kTileRows));
      }
      rest = V::add(rest, minimum);
    }
    return {{twice<0>(scale), twice<8>(scale)}, {twice<0>(rest), twice<8>(rest)}};
  }

  // Lanes kFirst, kFirst, kFirst + 1, kFirst + 1, ...
  template <int kFirst>
  static __m512 twice(__m512 a) {
    constexpr int f = kFirst;
    const __m512i places = _mm512_set_epi32(f + 7, f + 7, f + 6, f + 6, f + 5, f + 5, f + 4, f + 4,
                                            f + 3, f + 3, f + 2, f + 2, f + 1, f + 1, f, f);
    return _mm512_permutexvar_ps(places, a);
  }

  // A single plane of bit fields, in their order.
  static void open_plane(const uint8_t* codes, const Factors* factors, std::byte* tile) {
    constexpr int kFields = 8 / kBits, kStored = kVectors / kFields;
    CHATGLM_UNROLL
    for (int i = 0; i < kStored; ++i) {
      const __m512i lanes[2] = {spread(codes + i * 64), spread(codes + i * 64 + 32)};
      open_rows<0>(lanes, factors[i / kPartVectors], tile, i);
      if constexpr (kFields > 1) {
        open_rows<kBits>(lanes, factors[(i + kStored) / kPartVectors], tile, i + kStored);
      }
      if constexpr (kFields > 2) {
        open_rows<2 * kBits>(lanes, factors[(i + 2 * kStored) / kPartVectors], tile,
                             i + 2 * kStored);
        open_rows<3 * kBits>(lanes, factors[(i + 3 * kStored) / kPartVectors], tile,
                             i + 3 * kStored);
      }
    }
  }
  static __m512i spread(const uint8_t* words) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words)));
  }

  // The two rows of vector j, whose codes are the field at kField of both bytes of each lane.
  template <int kField>
  static void open_rows(const __m512i (&lanes)[2], const Factors& factors, std::byte* tile, int j) {
    open_row<kField>(lanes, factors, tile, 2 * j);
    open_row<8 + kField>(lanes, factors, tile, 2 * j + 1);
  }
  template <int kBit>
  static void open_row(const __m512i (&lanes)[2], const Factors& factors, std::byte* tile,
                       int64_t row) {
    constexpr int kTop = 23 - kBits;  // of the mantissa
    __m512 weights[2];
    CHATGLM_UNROLL
    for (int side = 0; side < 2; ++side) {
      // (moved & mask) | bits of kPower
      const __m512i number =
          _mm512_ternarylogic_epi32(_mm512_slli_epi32(lanes[side], kTop - kBit),
                                    _mm512_set1_epi32(((1 << kBits) - 1) << kTop),
                                    _mm512_set1_epi32((127 + kBits) << 23), 0xea);
      weights[side] = V::fma(_mm512_castsi512_ps(number), factors.scale[side], factors.rest[side]);
    }
    store_row(tile, row, to_bf16(weights[0], weights[1]));
  }
};

// Weights of f16 or bf16; the latter are not rounded. Both column tiles of a panel are opened one
// after the other, so that each of its lines, 32 weights of an input, comes once.
template <class V, class Weights>
struct AmxFloatWeights {
  using Linear = FloatLinear<V, Weights>;
  static constexpr int64_t kPanelTiles = 2;
  static_assert(V::kLanes == kTileRows && Linear::kPanelRows == kPanelTiles * kTileRows);

  static void open_tile(const std::byte* packed, int64_t k, int64_t column_tile, int64_t step,
                        std::byte* tile) {
    const std::byte* panel = packed + column_tile / kPanelTiles * Linear::panel_bytes(k);
    const auto* weights = reinterpret_cast<const Stored*>(panel) +
                          step * kTileInputs * Linear::kPanelRows +
                          column_tile % kPanelTiles * kTileRows;
    const int64_t inputs = k - step * kTileInputs;
    if (inputs >= kTileInputs) {
      open_rows(tile, [&](int64_t input) { return load(weights, input); });
    } else {  // what follows is another panel's, or nobody's
      open_rows(tile, [&](int64_t input) {
        return input < inputs ? load(weights, input) : V::set(0.0F);
      });
    }
  }

 private:
  using Stored = typename Weights::Stored;

  static __m512 load(const Stored* weights, int64_t input) {
    return Weights::load(weights + input * Linear::kPanelRows);
  }
  template <class Load>
  static void open_rows(std::byte* tile, const Load& load_input) {
    CHATGLM_UNROLL
    for (int64_t row = 0; row < kTileRows; ++row) {
      const int64_t input = row / 2 * 4 + row % 2;
      store_row(tile, row, to_bf16_pairs(load_input(input), load_input(input + 2)));
    }
  }
};

}  // namespace
}  // namespace chatglm::kernels
