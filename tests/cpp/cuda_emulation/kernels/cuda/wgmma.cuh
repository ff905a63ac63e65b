// The instructions of csrc/kernels/cuda/wgmma.cuh in plain C++. A product is computed at once, by
// each of the four warps for its 16 rows.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "emulation/control.h"
#include "emulation/matrix_words.h"
#include "emulation/shared_arena.h"

namespace chatglm::kernels::cuda {

// As the PTX ISA has matrix descriptors: address, stride between groups of 8 rows, kind of swizzle.
inline uint64_t wgmma_rows(const void* shared_rows) {
  const auto offset = static_cast<uint64_t>(static_cast<const std::byte*>(shared_rows) -
                                            cuda_emulation::shared_arena());
  return (offset >> 4 & 0x3fff) | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}
inline constexpr uint64_t kWgmmaStep = 32 >> 4;

template <int kSums, int kFactors>
void wgmma_begin(float (&)[kSums][4], uint32_t (&)[kFactors][4]) {}
template <int kSums>
void wgmma_finish(float (&)[kSums][4]) {}

// The 16 inputs of column `column` of the second factor: two pieces of its row, each where its
// address bits 4 to 6 are xor-ed with bits 7 to 9.
inline void read_wgmma_column(uint64_t rows, int column, uint16_t (&inputs)[16]) {
  const uint64_t address = ((rows & 0x3fff) << 4) +
                           static_cast<uint64_t>(column / 8) * ((rows >> 32 & 0x3fff) << 4) +
                           static_cast<uint64_t>(column % 8) * 128;
  for (uint64_t piece = 0; piece < 2; ++piece) {
    uint64_t place = address + 16 * piece;
    if (!cuda_emulation::running_device().wrong_wgmma) place ^= (place >> 7 & 7) << 4;
    const uint4 read = *reinterpret_cast<const uint4*>(cuda_emulation::shared_arena() + place);
    std::memcpy(&inputs[8 * piece], &read, sizeof(read));
  }
}

// As eight columns at a time, which mma.m16n8k16 takes: lane 4 g + t brings inputs 2 t, 2 t + 1 and
// those 8 further of column g.
template <int kFragments, typename Multiply>
void wgmma(float (&d)[kFragments][4], const uint32_t (&a)[4], uint64_t rows, Multiply multiply) {
  const int lane = static_cast<int>(cuda_emulation::lane_index());
  for (int f = 0; f < kFragments; ++f) {
    uint16_t inputs[16];
    read_wgmma_column(rows, 8 * f + lane / 4, inputs);
    const int first = lane % 4 * 2;
    const uint32_t b[2] = {static_cast<uint32_t>(inputs[first + 1]) << 16 | inputs[first],
                           static_cast<uint32_t>(inputs[first + 9]) << 16 | inputs[first + 8]};
    multiply(d[f], a, b);
  }
}
template <int kFragments>
void wgmma_f16(float (&d)[kFragments][4], const uint32_t (&a)[4], uint64_t rows) {
  wgmma(d, a, rows, cuda_emulation::mma_f16);
}
template <int kFragments>
void wgmma_bf16(float (&d)[kFragments][4], const uint32_t (&a)[4], uint64_t rows) {
  wgmma(d, a, rows, cuda_emulation::mma_bf16);
}

}  // namespace chatglm::kernels::cuda
