// Making rows of bf16 tiles from vectors of floats.
#pragma once

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/avx512_vectors.h"

namespace chatglm::kernels {
namespace {

inline constexpr int64_t kTileInputs = 32;

// 32 bf16, those of `first` before those of `second`; rounded to nearest, ties to even.
inline __m512i to_bf16(__m512 first, __m512 second) {
  const auto halves = _mm512_cvtne2ps_pbh(second, first);
  __m512i words;
  std::memcpy(&words, &halves, sizeof(words));
  return words;
}

// 16 pairs of one bf16 of `first` and one of `second`.
inline __m512i to_bf16_pairs(__m512 first, __m512 second) {
  alignas(64) static constexpr uint16_t kPlaces[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                       21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                       11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(kPlaces), to_bf16(first, second));
}

// A float as the sum of two bf16: 16 bits of its mantissa. A NaN or an infinity makes a NaN.
struct SplitFloats {
  __m512 high, low;
  explicit SplitFloats(__m512 a)
      : high(_mm512_castsi512_ps(
            _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(0x8000)),
                             _mm512_set1_epi32(static_cast<int32_t>(0xFFFF0000))))),
        low(_mm512_sub_ps(a, high)) {}
};

inline void store_row(std::byte* tile, int64_t row, __m512i words) {
  _mm512_store_si512(reinterpret_cast<__m512i*>(tile + row * kTileRowBytes), words);
}

// tile[j][i] = rows[i][j], in units of 32 bits.
inline void store_transposed(const __m512i (&rows)[16], std::byte* tile) {
  // quads[g][c]: column c of each block of 4 by 4, of rows 4 g .. 4 g + 3.
  __m512i quads[4][4];
  CHATGLM_UNROLL
  for (int g = 0; g < 4; ++g) {
    const __m512i* const r = rows + 4 * g;
    const __m512i low[2] = {_mm512_unpacklo_epi32(r[0], r[1]), _mm512_unpacklo_epi32(r[2], r[3])};
    const __m512i high[2] = {_mm512_unpackhi_epi32(r[0], r[1]), _mm512_unpackhi_epi32(r[2], r[3])};
    quads[g][0] = _mm512_unpacklo_epi64(low[0], low[1]);
    quads[g][1] = _mm512_unpackhi_epi64(low[0], low[1]);
    quads[g][2] = _mm512_unpacklo_epi64(high[0], high[1]);
    quads[g][3] = _mm512_unpackhi_epi64(high[0], high[1]);
  }
  constexpr int kEven = 0x88, kOdd = 0xDD;  // of the quarters of both operands
  CHATGLM_UNROLL
  for (int c = 0; c < 4; ++c) {
    const __m512i even[2] = {_mm512_shuffle_i32x4(quads[0][c], quads[1][c], kEven),
                             _mm512_shuffle_i32x4(quads[2][c], quads[3][c], kEven)};
    const __m512i odd[2] = {_mm512_shuffle_i32x4(quads[0][c], quads[1][c], kOdd),
                            _mm512_shuffle_i32x4(quads[2][c], quads[3][c], kOdd)};
    store_row(tile, c, _mm512_shuffle_i32x4(even[0], even[1], kEven));
    store_row(tile, 4 + c, _mm512_shuffle_i32x4(odd[0], odd[1], kEven));
    store_row(tile, 8 + c, _mm512_shuffle_i32x4(even[0], even[1], kOdd));
    store_row(tile, 12 + c, _mm512_shuffle_i32x4(odd[0], odd[1], kOdd));
  }
}

}  // namespace
}  // namespace chatglm::kernels
