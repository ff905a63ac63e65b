// The kernels' own tile instructions (amx_tiles.h), compiled at one level of optimization and
// without AVX-512. Everything around them is plain C++ in the same functions, so that the compiler
// may move it as far as it is allowed to.
#include "tiles/tile_code.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/cpu/amx_tiles.h"

namespace chatglm::test {
namespace {

using kernels::kTileBytes, kernels::kTileRowBytes, kernels::kTileRows;
using kernels::TileConfig, kernels::Tiles;

uint16_t bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>(bits >> 16);
}

TileConfig shape(int64_t m, int64_t n, int64_t k) {
  TileConfig config;
  const auto set = [&](int tile, int64_t rows, int64_t row_bytes) {
    config.rows[tile] = static_cast<uint8_t>(rows > 0 ? rows : 0);
    config.row_bytes[tile] = static_cast<uint16_t>(rows > 0 && row_bytes > 0 ? row_bytes : 0);
    if (row_bytes <= 0) config.rows[tile] = 0;
  };
  const auto part = [](int64_t count, int64_t i) {
    return std::min(count - i * kTileRows, kTileRows);
  };
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 2; ++j) set(2 * i + j, part(m, i), 4 * part(n, j));
    set(4 + i, part(m, i), 2 * k);
    set(6 + i, k / 2, 4 * part(n, i));
  }
  return config;
}

// One product of at most 32 by 32 by 32, k even, added to c.
void multiply_block(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k,
                    int64_t a_stride, int64_t n_stride) {
  alignas(64) uint16_t rows[2 * kTileRows][32];
  alignas(64) uint16_t columns[2][kTileRows][2 * kTileRows];
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t p = 0; p < k; ++p) rows[i][p] = bf16(a[i * a_stride + p]);
  }
  for (int64_t p = 0; p < k; ++p) {
    for (int64_t j = 0; j < n; ++j) {
      columns[j / kTileRows][p / 2][2 * (j % kTileRows) + p % 2] = bf16(b[p * n_stride + j]);
    }
  }
  const auto bytes = [](auto* data) { return reinterpret_cast<std::byte*>(data); };
  alignas(64) float sums[2 * kTileRows][2 * kTileRows];  // rows 128 bytes apart
  constexpr int64_t kStride = sizeof(sums[0]);
  const bool lower = m > kTileRows, right = n > kTileRows;
  Tiles::configure(shape(m, n, k));
  Tiles::zero<0>();
  Tiles::load<4>(bytes(rows[0]));
  Tiles::load<6>(bytes(columns[0]));
  Tiles::multiply<0, 4, 6>();
  if (right) {
    Tiles::zero<1>();
    Tiles::load<7>(bytes(columns[1]));
    Tiles::multiply<1, 4, 7>();
  }
  if (lower) {
    Tiles::zero<2>();
    Tiles::load<5>(bytes(rows[kTileRows]));
    Tiles::multiply<2, 5, 6>();
    if (right) {
      Tiles::zero<3>();
      Tiles::multiply<3, 5, 7>();
      Tiles::store<3>(bytes(&sums[kTileRows][kTileRows]), kStride);
    }
    Tiles::store<2>(bytes(sums[kTileRows]), kStride);
  }
  if (right) Tiles::store<1>(bytes(&sums[0][kTileRows]), kStride);
  Tiles::store<0>(bytes(sums[0]), kStride);
  Tiles::release();
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) c[i * n_stride + j] += sums[i][j];
  }
}

void multiply(const float* a, const float* b, float* c, int64_t m, int64_t n, int64_t k) {
  std::fill(c, c + m * n, 0.0F);
  for (int64_t i = 0; i < m; i += 32) {
    for (int64_t j = 0; j < n; j += 32) {
      for (int64_t p = 0; p < k; p += 32) {
        multiply_block(a + i * k + p, b + p * n + j, c + i * n + j, std::min<int64_t>(32, m - i),
                       std::min<int64_t>(32, n - j), std::min<int64_t>(32, k - p), k, n);
      }
    }
  }
}

// 2 + 3 * 5 of one number each, in these tiles: 17. Between the two instructions of the whole state
// only the loads and the store say that memory is read or written.
template <int kSums, int kA, int kB>
int use_registers() {
  TileConfig config;
  for (const int tile : {kSums, kA, kB}) {
    config.rows[tile] = 1;
    config.row_bytes[tile] = 4;
  }
  Tiles::configure(config);
  alignas(64) float sums[16] = {2};
  alignas(64) uint16_t pairs[2][32] = {{bf16(3.0F), bf16(4.0F)}, {bf16(5.0F), 0}};
  Tiles::load<kSums>(reinterpret_cast<const std::byte*>(sums));
  Tiles::load<kA>(reinterpret_cast<const std::byte*>(pairs[0]));
  Tiles::load<kB>(reinterpret_cast<const std::byte*>(pairs[1]));
  Tiles::multiply<kSums, kA, kB>();
  pairs[0][0] = 0;
  const float before = sums[0];
  Tiles::store<kSums>(reinterpret_cast<std::byte*>(sums));
  const float after = sums[0];
  Tiles::release();
  return before == 2 && after == 17 ? 0 : 1;
}

template <int... kTile>
int use_in_turn(std::integer_sequence<int, kTile...>) {
  return (use_registers<kTile, (kTile + 1) % 8, (kTile + 2) % 8>() + ...) +
         (use_registers<kTile, (kTile + 5) % 8, (kTile + 3) % 8>() + ...);
}
int use_every_register() {
  return use_in_turn(std::make_integer_sequence<int, 8>());
}

void misuse(Misuse what) {
  alignas(64) std::byte tile[kTileBytes] = {};
  Tiles::release();
  TileConfig config = shape(16, 16, 32);
  if (what == Misuse::kTooManyRows) config.rows[0] = 17;
  if (what == Misuse::kUnequalShapes) config.rows[0] = 15;
  if (what != Misuse::kNotConfigured) Tiles::configure(config);
  Tiles::load<0>(tile);
  Tiles::load<4>(tile);
  Tiles::load<6>(tile);
  // Tile 0 += tile 6 * tile 6, in bytes: assemblers refuse it.
  if (what == Misuse::kOneTileTwice) __asm__ volatile(".byte 0xc4, 0xe2, 0x4a, 0x5c, 0xc6");
  Tiles::multiply<0, 4, 6>();
}

}  // namespace

#if CHATGLM_TILE_CODE_LEVEL == 2
const TileCode kTileCodeO2 = {multiply, use_every_register, misuse};
#else
const TileCode kTileCodeO3 = {multiply, use_every_register, misuse};
#endif

}  // namespace chatglm::test
