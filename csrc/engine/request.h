// What the engine is asked and what it answers. Token ids only.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "sampling/sampler.h"

namespace chatglm {

using RequestId = int64_t;

struct Request {
  std::vector<int32_t> prompt;  // at least one token
  SamplingParams sampling;
  int64_t max_new_tokens = 0;           // 0: compute the prompt only (with on_prompt_logits)
  std::vector<int32_t> stop_token_ids;  // generation ends with (and reports) one of these
  int32_t adapter = -1;                 // index of the model's adapter; -1: none
  // If set, called from step() with the logits of every prompt position in order: first position,
  // (positions, vocab_size). Such a request reuses no cached prefix. Positions before
  // first_prompt_logit are computed without logits.
  std::function<void(int64_t first_position, std::span<const float> logits)> on_prompt_logits;
  int64_t first_prompt_logit = 0;
  bool may_speculate = true;  // where the engine has a drafter; the tokens are the same either way
};

enum class FinishReason { kNone, kStop, kLength, kCancelled, kError };

// One event of one request.
struct StepOutput {
  RequestId id = 0;
  SampledToken token;  // token.token == -1: no token in this event
  FinishReason finish = FinishReason::kNone;
  std::string error;  // with kError: a sentence
  int64_t prompt_tokens = 0;
  int64_t reused_tokens = 0;    // of the prompt, taken from the prefix cache
  int64_t proposed_tokens = 0;  // guesses verified up to here, and
  int64_t accepted_tokens = 0;  // those among them that were right
};

}  // namespace chatglm
