// How the kernels of a choice read scores: penalties, bans and temperature as the host applies
// them, operation by operation, and from there to the order of scores and to their weights.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda/block_scan.cuh"
#include "kernels/cuda/choice_call.h"

namespace chatglm::kernels::cuda {

__device__ __forceinline__ float minus_infinite_score() {
  return __uint_as_float(0xff800000);
}

// Ascends with the score; equal for zeros of both signs.
__device__ __forceinline__ uint32_t key_of(float score) {
  const uint32_t bits = __float_as_uint(score + 0.0f);
  return (bits & 0x80000000) != 0 ? ~bits : bits | 0x80000000;
}

__device__ __forceinline__ float score_of(uint32_t key) {
  return __uint_as_float((key & 0x80000000) != 0 ? key & 0x7fffffff : ~key);
}

inline constexpr uint32_t kInfiniteKey = 0xff800000;       // of +Inf
inline constexpr uint32_t kMinusInfiniteKey = 0x007fffff;  // of -Inf

// A score and its column in one number: the higher score, and of equal ones the first, is larger.
__device__ __forceinline__ uint64_t best_of(float score, int column) {
  return uint64_t{key_of(score)} << 32 | (0xffffffffu - static_cast<uint32_t>(column));
}
// Larger than any: there is a score that is no number, or +Inf.
inline constexpr uint64_t kUnusable = ~uint64_t{0};

__device__ __forceinline__ bool is_usable(uint64_t best) {
  const auto key = static_cast<uint32_t>(best >> 32);
  return key < kInfiniteKey && key > kMinusInfiniteKey;
}

__device__ __forceinline__ int column_of(uint64_t best) {
  return static_cast<int>(0xffffffffu - static_cast<uint32_t>(best));
}

// Of the likeliest: that of all 2^19 columns together is below 2^63.
inline constexpr double kUnitWeight = 0x1p44;

// difference: from the highest score, not above 0.
__device__ __forceinline__ uint64_t weight_of(float difference) {
  return static_cast<uint64_t>(exp(static_cast<double>(difference)) * kUnitWeight + 0.5);
}

class RowScores {
 public:
  __device__ RowScores(const ChoiceCall& call, const ChoiceRow& row, int index)
      : scores_(call.scores + int64_t{row.row} * call.columns),
        bitmaps_(call.bitmaps + int64_t{index} * 2 * call.bitmap_words),
        bitmap_words_(call.bitmap_words),
        has_marks_(row.has_marks != 0),
        penalty_(row.penalty) {}

  __device__ float plain(int column) const { return scores_[column]; }
  __device__ float marked(int column) const {
    const float score = scores_[column];
    if (!has_marks_) return score;
    const uint32_t* const penalised = bitmaps_ + (column >> 5);
    const uint32_t bit = 1u << (column & 31);
    if ((penalised[bitmap_words_] & bit) != 0) return minus_infinite_score();
    if ((*penalised & bit) == 0) return score;
    return score < 0 ? score * penalty_ : score / penalty_;
  }

 private:
  const float* scores_;      // (columns)
  const uint32_t* bitmaps_;  // (2, bitmap_words) penalised, banned
  const int bitmap_words_;
  const bool has_marks_;
  const float penalty_;
};

// The temperature: only differences count, so where a tiny one would overflow, the highest becomes
// 0.
class Temper {
 public:
  __device__ Temper(const ChoiceRow& row, uint64_t best) : temperature_(row.temperature) {
    const float highest = score_of(static_cast<uint32_t>(best >> 32));
    shift_ = fabsf(highest / temperature_) <= 3.402823466e38f ? 0.0f : highest;
    highest_ = tempered(highest);
  }
  __device__ float tempered(float score) const { return (score - shift_) / temperature_; }
  __device__ float highest() const { return highest_; }
  // Of a tempered score.
  __device__ uint64_t weight(float score) const { return weight_of(score - highest_); }

 private:
  float temperature_, shift_, highest_;
};

// The best of a row. All threads of the block call it.
template <int kWarps>
__device__ __forceinline__ uint64_t row_best(const ChoiceCall& call, int row,
                                             uint64_t (&partial)[kWarps]) {
  uint64_t best = 0;
  for (int i = static_cast<int>(threadIdx.x); i < call.segments; i += kWarps * kWarpLanes) {
    const uint64_t other = call.best[int64_t{row} * call.segments + i];
    if (other > best) best = other;
  }
  return block_max(best, partial);
}

}  // namespace chatglm::kernels::cuda
