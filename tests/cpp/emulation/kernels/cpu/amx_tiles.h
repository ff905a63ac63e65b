// Stands before the kernels' own amx_tiles.h: the same tiles as plain arrays, which abort where the
// instructions would fault, and where a tile is read that the same call did not write.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace chatglm::kernels {
namespace {

inline constexpr int64_t kTileRows = 16;
inline constexpr int64_t kTileRowBytes = 64;
inline constexpr int64_t kTileBytes = kTileRows * kTileRowBytes;

struct TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

class Tiles {
 public:
  static void configure(const TileConfig& config) {
    check(config.palette == 1 && config.start_row == 0, "a palette other than 1", -1);
    for (const uint8_t byte : config.reserved) check(byte == 0, "a reserved byte is set", -1);
    for (int tile = 0; tile < 16; ++tile) {
      const int rows = config.rows[tile], bytes = config.row_bytes[tile];
      check(rows <= (tile < 8 ? kTileRows : 0) && bytes <= (tile < 8 ? kTileRowBytes : 0) &&
                (rows == 0) == (bytes == 0),
            "a shape that is none", tile);
    }
    state() = State{};
    state().configured = true;
    state().config = config;
  }
  static void release() { state() = State{}; }

  template <int kTile>
  static void zero() {
    Tile& tile = use(kTile);
    tile = Tile{};
    tile.written = true;
  }
  template <int kTile>
  static void load(const std::byte* source) {
    Tile& tile = use(kTile);
    check(reinterpret_cast<std::uintptr_t>(source) % 64 == 0, "load across cache lines", kTile);
    tile = Tile{};
    tile.written = true;
    for (int row = 0; row < state().config.rows[kTile]; ++row) {
      std::memcpy(tile.bytes + row * kTileRowBytes, source + row * kTileRowBytes,
                  state().config.row_bytes[kTile]);
    }
  }
  template <int kTile>
  static void store(std::byte* destination, int64_t stride = kTileRowBytes) {
    const Tile& tile = written(kTile);
    for (int row = 0; row < state().config.rows[kTile]; ++row) {
      std::memcpy(destination + row * stride, tile.bytes + row * kTileRowBytes,
                  state().config.row_bytes[kTile]);
    }
  }

  // As the manual has it: for each output the products of the first and of the second inputs of all
  // pairs are summed apart, by fused multiply-adds, then together, then added to the tile's sum.
  // Denormals are zeros, before and after each step.
  template <int kSums, int kA, int kB>
  static void multiply() {
    const TileConfig& config = state().config;
    Tile& sums = const_cast<Tile&>(written(kSums));
    const Tile &a = written(kA), &b = written(kB);
    const int pairs = config.row_bytes[kA] / 4, columns = config.row_bytes[kSums] / 4;
    check(config.rows[kSums] == config.rows[kA] && config.rows[kB] == pairs &&
              config.row_bytes[kB] == config.row_bytes[kSums],
          "a product of unequal shapes", kSums);
    // All columns at once, so that the compiler can take several at a time.
    float weights[2][16][16] = {};  // (side, pair, column)
    for (int pair = 0; pair < pairs; ++pair) {
      for (int column = 0; column < columns; ++column) {
        for (int side = 0; side < 2; ++side) {
          weights[side][pair][column] = bf16(b, pair, 2 * column + side);
        }
      }
    }
    for (int row = 0; row < config.rows[kSums]; ++row) {
      float apart[2][16] = {};
      for (int pair = 0; pair < pairs; ++pair) {
        for (int side = 0; side < 2; ++side) {
          const float input = bf16(a, row, 2 * pair + side);
          for (int column = 0; column < 16; ++column) {
            apart[side][column] =
                flushed(std::fma(input, weights[side][pair][column], apart[side][column]));
          }
        }
      }
      for (int column = 0; column < columns; ++column) {
        std::byte* place = sums.bytes + row * kTileRowBytes + column * 4;
        float sum;
        std::memcpy(&sum, place, sizeof(sum));
        sum = flushed(flushed(sum) + flushed(apart[0][column] + apart[1][column]));
        std::memcpy(place, &sum, sizeof(sum));
      }
    }
  }

 private:
  struct Tile {
    std::byte bytes[kTileBytes] = {};
    bool written = false;
  };
  struct State {
    bool configured = false;
    TileConfig config;
    Tile tiles[8];
  };
  static State& state() {
    thread_local State state;
    return state;
  }
  static void check(bool right, const char* what, int tile) {
    if (right) return;
    std::fprintf(stderr, "emulated AMX: %s (tile %d)\n", what, tile);
    std::abort();
  }
  static Tile& use(int tile) {
    check(state().configured, "tiles are not configured", tile);
    check(state().config.rows[tile] > 0, "this tile is not configured", tile);
    return state().tiles[tile];
  }
  static const Tile& written(int tile) {
    const Tile& used = use(tile);
    check(used.written, "a tile is read that was not written", tile);
    return used;
  }
  static float flushed(float value) {
    return std::fabs(value) < std::numeric_limits<float>::min() ? 0.0F * value : value;
  }
  static float bf16(const Tile& tile, int row, int element) {
    uint16_t half;
    std::memcpy(&half, tile.bytes + row * kTileRowBytes + element * 2, sizeof(half));
    const uint32_t bits = uint32_t{half} << 16;
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return flushed(value);
  }
};

}  // namespace
}  // namespace chatglm::kernels
