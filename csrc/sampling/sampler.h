// Chooses the next token of one sequence. Owns its random generator and scratch space.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "sampling/params.h"

namespace chatglm {

struct TokenLogprob {
  int32_t token = -1;
  float logprob = 0.0f;  // natural logarithm of the model's own softmax, before any processing
};

struct SampledToken {
  int32_t token = -1;
  float logprob = 0.0f;                    // set when top_logprobs >= 0
  std::vector<TokenLogprob> top_logprobs;  // likeliest first
};

class Sampler {
 public:
  explicit Sampler(SamplingParams params);  // validates

  // logits: (vocab_size); context: all token ids so far (prompt and generated).
  // Throws Error{kRuntime} where a logit is NaN or +Inf or all are -Inf, saying how many.
  SampledToken sample(std::span<const float> logits, std::span<const int32_t> context);

  const SamplingParams& params() const { return params_; }

 private:
  SamplingParams params_;
  std::mt19937_64 generator_;
  std::vector<float> scores_;  // (vocab_size) working copy of the logits
  std::vector<std::pair<float, int32_t>> candidates_;
};

}  // namespace chatglm
