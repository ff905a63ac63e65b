// Inputs of gemv as signed bytes, rounded in blocks of 32 to multiples of a step of their own: how
// the bytes lie. The step of a block with a NaN or an infinity is NaN or infinite.
//
// One or two rows (kRowwiseInputs) lie one after the other:
//   first halves   (k / 32, 16) codes 0..15 of each block
//   second halves  (k / 32, 16) codes 16..31
//   steps          (k / 32) BlockStep
// so that neighbouring lanes, which take neighbouring blocks, read neighbouring bytes.
//
// More rows, filled up to 8 or 16 with zeros, lie as the second operand of mma_s8_16x8x32 takes
// them, in groups of 8 (row r is row r % 8 of group r / 8):
//   fragments  (k / 32, groups, 32 lanes, 2) words: lane 4 r + t has codes 4 t.. and 16 + 4 t.. of
//              row r
//   steps      (k / 32, groups, 8) BlockStep
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/prepare_input.h"

namespace chatglm::kernels::cuda {

inline constexpr int kInputBlock = 32;
inline constexpr int kGroupInputs = 8;
inline constexpr int kGroupWords = 64;  // of a block

struct alignas(8) BlockStep {
  float step;
  uint32_t sums;  // of codes 0..15, and of codes 16..31 in the upper half: two signed numbers

  __device__ int first_sum() const { return static_cast<int16_t>(sums); }
  __device__ int second_sum() const { return static_cast<int>(sums) >> 16; }
};

// Rowwise.
struct Int8Row {
  std::byte* row;  // (bytes(k))
  int64_t blocks;  // k / 32

  __host__ __device__ static constexpr int64_t bytes(int64_t blocks) {
    return (blocks * 40 + 15) / 16 * 16;  // whole 16 bytes
  }
  // Word w of a block: codes 4 w..
  __host__ __device__ uint32_t* word(int64_t block, int w) const {
    return reinterpret_cast<uint32_t*>(row) + ((w / 4) * blocks + block) * 4 + w % 4;
  }
  __host__ __device__ const uint4* half_block(int64_t block, int half) const {
    return reinterpret_cast<const uint4*>(row) + half * blocks + block;
  }
  __host__ __device__ BlockStep* steps() const {
    return reinterpret_cast<BlockStep*>(row + blocks * kInputBlock);
  }
};

// In groups.
struct Int8Groups {
  std::byte* base;
  int64_t blocks;
  int groups;

  __host__ __device__ uint2* fragments(int64_t block, int group) const {
    return reinterpret_cast<uint2*>(base) + (block * groups + group) * (kGroupWords / 2);
  }
  __host__ __device__ uint32_t* word(int64_t block, int row, int w) const {
    return reinterpret_cast<uint32_t*>(fragments(block, row / kGroupInputs)) +
           (row % kGroupInputs * 4 + w % 4) * 2 + w / 4;
  }
  __host__ __device__ BlockStep* steps(int64_t block, int group) const {
    return reinterpret_cast<BlockStep*>(base + blocks * groups * kGroupWords * 4) +
           (block * groups + group) * kGroupInputs;
  }
};

}  // namespace chatglm::kernels::cuda
