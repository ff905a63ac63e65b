// Chooses the next token of one sequence. Owns its parameters and its random generator; the scratch
// space is the caller's, so that many sequences share one.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "sampling/logits_processors.h"
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

// Grows to the vocabulary on first use and is reused from then on.
struct SamplerWorkspace {
  std::vector<float> scores;          // (vocab_size) working copy of the logits
  std::vector<Candidate> candidates;  // what the filters have left
  std::vector<float> heap;            // (top_k)
};

class Sampler {
 public:
  explicit Sampler(SamplingParams params);  // validates

  // logits: (vocab_size); context: all token ids so far (prompt and generated).
  // Throws Error{kRuntime} where a logit is NaN or +Inf or all are -Inf, saying how many, and where
  // bad_words_ids or an extreme penalty leave no token to choose.
  SampledToken sample(std::span<const float> logits, std::span<const int32_t> context,
                      SamplerWorkspace& workspace);

  // The scores that sample() would draw from, -Inf where a token can't be chosen; no draw is made.
  std::vector<float> processed_scores(std::span<const float> logits,
                                      std::span<const int32_t> context,
                                      SamplerWorkspace& workspace) const;

  const SamplingParams& params() const { return params_; }

 private:
  void penalise(std::span<const float> logits, std::span<const int32_t> context,
                SamplerWorkspace& workspace) const;
  void filter(SamplerWorkspace& workspace) const;
  void add_logprobs(std::span<const float> logits, SamplerWorkspace& workspace,
                    SampledToken& sampled) const;
  double next_uniform();

  SamplingParams params_;
  std::mt19937_64 generator_;
};

}  // namespace chatglm
