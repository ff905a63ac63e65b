// One token out of one row of logits: everything that the choice depends on as plain values, and
// the host's way of making it. Knows no sequence and no random generator.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sampling/logits_processors.h"

namespace chatglm {

// The steps are those of SamplingParams.
struct ChoiceRule {
  bool do_sample = false;  // false: greedy, by penalty and bans alone
  double uniform = 0;      // [0, 1): where in the cumulative distribution
  float temperature = 1;
  int32_t top_k = 0;  // 0: off
  double top_p = 1;   // 1: off
  float min_p = 0;    // 0: off
  float repetition_penalty = 1;
  std::span<const int32_t> penalised = {};  // token ids, each may occur several times
  std::span<const int32_t> banned = {};     // token ids
};

struct Choice {
  int32_t token = -1;
  std::string error;  // a sentence: no token could be chosen
};

// Grows to the vocabulary on first use and is reused from then on.
struct ChoiceWorkspace {
  std::vector<float> scores;          // (vocab_size) working copy of the logits
  std::vector<Candidate> candidates;  // what the filters have left
  std::vector<float> heap;            // (top_k)
};

// logits: (vocab_size). Throws Error{kRuntime} where a logit is NaN or +Inf or all are -Inf, saying
// how many, and where bans or an extreme penalty leave no token to choose; Error{kInvalidArgument}
// for a penalised token outside the vocabulary.
int32_t choose_token(const ChoiceRule& rule, std::span<const float> logits,
                     ChoiceWorkspace& workspace);

// The same, with what it would throw as the choice's error.
Choice try_choose_token(const ChoiceRule& rule, std::span<const float> logits,
                        ChoiceWorkspace& workspace);

// The scores that choose_token() would draw from, -Inf where a token can't be chosen.
std::vector<float> processed_scores(const ChoiceRule& rule, std::span<const float> logits,
                                    ChoiceWorkspace& workspace);

}  // namespace chatglm
