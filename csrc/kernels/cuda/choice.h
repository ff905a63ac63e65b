// One column of each of some rows of scores, the highest or one drawn at random, on a CUDA device:
// the host's side. What is drawn from may be narrowed to the highest scores (top-k), the likeliest
// (top-p), and what is not much less likely than the likeliest (min-p), in this order;
// probabilities are those of a softmax. All sums are of integers, so nothing depends on who adds
// first.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/stream.h"

namespace chatglm::kernels::cuda {

// So that sums of weights stay below 2^63.
inline constexpr int64_t kMostChoiceColumns = int64_t{1} << 19;

// How a column of one row is chosen.
struct ChoiceRow {
  double least_share;  // top-p: a column stays where it and what is less likely have more; 0: off
  uint64_t uniform;    // of 2^53: where in the cumulative distribution
  int32_t row;         // of the scores
  uint32_t is_drawn;   // 0: the first of the highest scores, by marks and penalty alone
  uint32_t has_marks;
  float penalty;      // marked scores are multiplied by it where negative, else divided
  float temperature;  // scores are divided by it, after the penalty
  int32_t top_k;      // 0: off; ties with the last stay
  float min_p;        // 0: off
};

// Columns that are penalised, or can't be chosen.
struct ChoiceMark {
  uint32_t bitmap;  // 2 * index of the choice, one more: can't be chosen
  uint32_t column;
};

struct ChoiceArgs {
  const float* scores;    // (?, columns)
  int64_t columns;        // at most kMostChoiceColumns
  const ChoiceRow* rows;  // (num_rows)
  int64_t num_rows;
  const ChoiceMark* marks;  // (num_marks)
  int64_t num_marks;
  std::byte* scratch;  // choice_scratch_bytes()
  int32_t* choices;    // (num_rows) columns; -1: not to be had: a score is NaN or +Inf, before or
                       // after the penalty, or all are -Inf
};

int64_t choice_scratch_bytes(int64_t num_rows, int64_t columns, bool has_marks);
// The bitmaps of the marks, to be filled with zeros before: the first so many bytes of the scratch.
int64_t choice_bitmap_bytes(int64_t num_rows, int64_t columns);

// `early`: the device knows programmatic dependent launch. any_drawn: of the rows.
void choose(const ChoiceArgs& args, bool any_drawn, Stream stream, bool early);

}  // namespace chatglm::kernels::cuda
