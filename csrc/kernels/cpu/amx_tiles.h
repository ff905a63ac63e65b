// The tile instructions of AMX that the kernels use, as asm: GCC before 14 declares too little
// memory in its intrinsics, so that stores before them may be dropped or moved. Tests put emulated
// tiles in the place of this file.
//
// The eight tile registers belong to the calling thread. A call of a kernel configures them first
// and releases them at its end; in between nothing else may use them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace chatglm::kernels {
namespace {

inline constexpr int64_t kTileRows = 16;
inline constexpr int64_t kTileRowBytes = 64;
inline constexpr int64_t kTileBytes = kTileRows * kTileRowBytes;

// The operand of ldtilecfg.
struct TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

struct Tiles {
  // All tiles become zero.
  [[gnu::always_inline]] static void configure(const TileConfig& config) {
    __asm__ volatile("ldtilecfg %0" : : "m"(config) : "memory");
  }
  [[gnu::always_inline]] static void release() { __asm__ volatile("tilerelease" : : : "memory"); }

  template <int kTile>
  [[gnu::always_inline]] static void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  // Rows `stride` bytes apart.
  template <int kTile>
  [[gnu::always_inline]] static void load(const std::byte* source, int64_t stride = kTileRowBytes) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2"
                     :
                     : "r"(source), "r"(stride), "i"(kTile)
                     : "memory");
  }
  template <int kTile>
  [[gnu::always_inline]] static void store(std::byte* destination, int64_t stride = kTileRowBytes) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)"
                     :
                     : "r"(destination), "r"(stride), "i"(kTile)
                     : "memory");
  }
  // f32 sums += bf16 a * bf16 b: row i of a, pairs of inputs, with column j of b, whose row p holds
  // the pairs p of all columns.
  template <int kSums, int kA, int kB>
  [[gnu::always_inline]] static void multiply() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kA), "i"(kB));
  }
  // int32 sums += signed bytes a * signed bytes b: row i of a, four inputs at a time, with column j
  // of b, whose row p holds the inputs 4 p .. 4 p + 3 of all columns.
  template <int kSums, int kA, int kB>
  [[gnu::always_inline]] static void multiply_int8() {
    __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kA), "i"(kB));
  }
};

}  // namespace
}  // namespace chatglm::kernels
