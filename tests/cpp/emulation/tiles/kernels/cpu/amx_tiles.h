// Stands before the kernels' own amx_tiles.h: the same tiles as plain arrays. Loads must not cross
// cache lines: that would be slow.
#pragma once

#include "tile_file.h"

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

struct Tiles {
  static void configure(const TileConfig& config) { file().configure(&config); }
  static void release() { file().release(); }
  template <int kTile>
  static void zero() {
    file().zero(kTile);
  }
  template <int kTile>
  static void load(const std::byte* source, int64_t stride = kTileRowBytes) {
    const auto place = reinterpret_cast<std::uintptr_t>(source);
    test::TileFile::check(
        64 % stride == 0 && static_cast<int64_t>(place % static_cast<std::uintptr_t>(stride)) +
                                    file().row_bytes(kTile) <=
                                stride,
        "load across cache lines", kTile);
    file().load(kTile, source, stride);
  }
  template <int kTile>
  static void store(std::byte* destination, int64_t stride = kTileRowBytes) {
    file().store(kTile, destination, stride);
  }
  template <int kSums, int kA, int kB>
  static void multiply() {
    file().multiply_bf16(kSums, kA, kB);
  }
  template <int kSums, int kA, int kB>
  static void multiply_int8() {
    file().multiply_int8(kSums, kA, kB);
  }

 private:
  static test::TileFile& file() { return test::TileFile::of_this_thread(); }
};

}  // namespace
}  // namespace chatglm::kernels
