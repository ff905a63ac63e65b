// The tile registers of AMX as plain arrays, with what the manual says the instructions do. Aborts
// where they would fault, and where a tile is read that was not written since it was configured,
// which the kernels never mean.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace chatglm::test {
namespace {

class TileFile {
 public:
  static TileFile& of_this_thread() {
    thread_local TileFile tiles;
    return tiles;
  }

  // 64 bytes, as ldtilecfg reads them.
  void configure(const void* source) {
    Config config;
    std::memcpy(&config, source, sizeof(config));
    check(config.palette == 1 && config.start_row == 0, "a palette other than 1", -1);
    for (const uint8_t byte : config.reserved) check(byte == 0, "a reserved byte is set", -1);
    for (int tile = 0; tile < 16; ++tile) {
      const int rows = config.rows[tile], bytes = config.row_bytes[tile];
      check(rows <= (tile < kTiles ? kRows : 0) && bytes <= (tile < kTiles ? kRowBytes : 0) &&
                (rows == 0) == (bytes == 0),
            "a shape that is none", tile);
    }
    release();
    configured_ = true;
    config_ = config;
  }
  void release() { *this = TileFile{}; }

  int row_bytes(int tile) const { return config_.row_bytes[tile]; }
  void zero(int tile) {
    use(tile) = Tile{};
    tiles_[tile].written = true;
  }
  void load(int tile, const std::byte* source, int64_t stride) {
    zero(tile);
    for (int row = 0; row < config_.rows[tile]; ++row) {
      std::memcpy(tiles_[tile].bytes[row], source + row * stride, config_.row_bytes[tile]);
    }
  }
  void store(int tile, std::byte* destination, int64_t stride) {
    const Tile& stored = written(tile);
    for (int row = 0; row < config_.rows[tile]; ++row) {
      std::memcpy(destination + row * stride, stored.bytes[row], config_.row_bytes[tile]);
    }
  }

  // As the manual has it: for each output the products of the first and of the second inputs of all
  // pairs are summed apart, by fused multiply-adds, then together, then added to the tile's sum.
  // Denormals are zeros, before and after each step.
  void multiply_bf16(int sums, int a, int b) {
    check_product(sums, a, b);
    Tile& result = written(sums);
    const Tile &left = written(a), &right = written(b);
    const int rows = config_.rows[sums], pairs = config_.row_bytes[a] / 4;
    const int columns = config_.row_bytes[sums] / 4;
    // All columns at once, so that the compiler can take several at a time.
    float weights[2][16][16] = {};  // (side, pair, column)
    for (int pair = 0; pair < pairs; ++pair) {
      for (int column = 0; column < columns; ++column) {
        for (int side = 0; side < 2; ++side) {
          weights[side][pair][column] = bf16(right.bytes[pair], 2 * column + side);
        }
      }
    }
    for (int row = 0; row < rows; ++row) {
      float apart[2][16] = {};
      for (int pair = 0; pair < pairs; ++pair) {
        for (int side = 0; side < 2; ++side) {
          const float input = bf16(left.bytes[row], 2 * pair + side);
          for (int column = 0; column < 16; ++column) {
            apart[side][column] =
                flushed(std::fma(input, weights[side][pair][column], apart[side][column]));
          }
        }
      }
      for (int column = 0; column < columns; ++column) {
        std::byte* const place = result.bytes[row] + column * 4;
        float sum;
        std::memcpy(&sum, place, sizeof(sum));
        sum = flushed(flushed(sum) + flushed(apart[0][column] + apart[1][column]));
        std::memcpy(place, &sum, sizeof(sum));
      }
    }
  }

  // Signed bytes, four at a time, to sums of 32 bits.
  void multiply_int8(int sums, int a, int b) {
    check_product(sums, a, b);
    Tile& result = written(sums);
    const Tile &left = written(a), &right = written(b);
    const int rows = config_.rows[sums], inputs = config_.row_bytes[a];
    const int columns = config_.row_bytes[sums] / 4;
    for (int row = 0; row < rows; ++row) {
      int32_t total[16];
      std::memcpy(total, result.bytes[row], sizeof(total));
      for (int input = 0; input < inputs; ++input) {
        const auto factor = static_cast<int8_t>(left.bytes[row][input]);
        for (int column = 0; column < columns; ++column) {
          total[column] +=
              factor * static_cast<int8_t>(right.bytes[input / 4][4 * column + input % 4]);
        }
      }
      std::memcpy(result.bytes[row], total, static_cast<std::size_t>(columns) * 4);
    }
  }

  static void check(bool right, const char* what, int tile) {
    if (right) return;
    std::fprintf(stderr, "emulated AMX: %s (tile %d)\n", what, tile);
    std::abort();
  }

 private:
  static constexpr int kTiles = 8, kRows = 16, kRowBytes = 64;
  struct Config {
    uint8_t palette;
    uint8_t start_row;
    uint8_t reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  };
  static_assert(sizeof(Config) == 64);
  struct Tile {
    std::byte bytes[kRows][kRowBytes] = {};
    bool written = false;
  };

  void check_product(int sums, int a, int b) {
    check(sums != a && sums != b && a != b, "a product of a tile with itself", sums);
    written(sums), written(a), written(b);
    check(config_.rows[sums] == config_.rows[a] && config_.rows[b] == config_.row_bytes[a] / 4 &&
              config_.row_bytes[b] == config_.row_bytes[sums] && config_.row_bytes[a] % 4 == 0 &&
              config_.row_bytes[b] % 4 == 0,
          "a product of unequal shapes", sums);
  }
  Tile& use(int tile) {
    check(configured_, "tiles are not configured", tile);
    check(config_.rows[tile] > 0, "this tile is not configured", tile);
    return tiles_[tile];
  }
  Tile& written(int tile) {
    Tile& used = use(tile);
    check(used.written, "a tile is read that was not written", tile);
    return used;
  }
  static float flushed(float value) {
    return std::fabs(value) < std::numeric_limits<float>::min() ? 0.0F * value : value;
  }
  static float bf16(const std::byte* row, int element) {
    uint16_t half;
    std::memcpy(&half, row + element * 2, sizeof(half));
    const uint32_t bits = uint32_t{half} << 16;
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return flushed(value);
  }

  bool configured_ = false;
  Config config_{};
  Tile tiles_[kTiles];
};

}  // namespace
}  // namespace chatglm::test
