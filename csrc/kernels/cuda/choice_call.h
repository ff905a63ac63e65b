// What the kernels of a choice are given, and the pieces of their scratch memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/choice.h"

namespace chatglm::kernels::cuda {

inline constexpr int kChoiceSegment = 2048;  // columns of a row that a block reads
// A row's scores are counted by their distance from the highest: so many for a difference of one,
// the last bin for all that lies further off.
inline constexpr int kChoiceBins = 256;
inline constexpr int kChoiceBinsPerUnit = 8;

struct ChoiceCall {
  const float* scores;      // (?, columns)
  const ChoiceRow* rows;    // (num_rows)
  const ChoiceMark* marks;  // (num_marks)
  int32_t* choices;         // (num_rows)
  int32_t columns;
  int32_t num_rows;
  int32_t num_marks;
  int32_t segments;   // of a row
  uint32_t* bitmaps;  // (num_rows, 2, bitmap_words): penalised, banned
  int32_t bitmap_words;
  uint64_t* best;       // (num_rows, segments) highest score and where (choice_scores.cuh)
  uint32_t* bins;       // (num_rows, kChoiceBins) how many scores
  uint64_t* weights;    // (num_rows, segments) sums over all columns
  int32_t* list_sizes;  // (num_rows, segments)
  int32_t* list;        // (num_rows, segments, kChoiceSegment) columns that may be drawn, ascending
};

ChoiceCall choice_call(const ChoiceArgs& args);

// Of a row with all that may be drawn in its list: writes its choice.
void pick_listed(const ChoiceCall& call, Stream stream, bool early);

}  // namespace chatglm::kernels::cuda
