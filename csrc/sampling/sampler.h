// How the next tokens of one sequence are chosen. Owns its parameters, its random generator and
// what it knows of the sequence's tokens; the choice itself is choose_token()'s or a backend's, by
// rules that are made here.
#pragma once

#include <cstdint>
#include <deque>
#include <random>
#include <span>
#include <vector>

#include "sampling/choice.h"
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

// Many samplers share one.
struct SamplerWorkspace {
  ChoiceWorkspace choice;
  std::vector<int32_t> banned;  // token ids
};

class Sampler {
 public:
  explicit Sampler(SamplingParams params);  // validates

  // Appends the rules by which the token after `tokens` (prompt and generated, all that were there
  // in earlier calls and maybe more) is chosen, and then those after each of the guesses that may
  // follow them. They are valid until the next call, and make no draw: next() does.
  void add_rules(std::span<const int32_t> tokens, std::span<const int32_t> guesses,
                 std::vector<ChoiceRule>& rules);
  // The token that the first of these rules stands for was chosen: the generator goes on.
  void next();
  // Whether add_logprobs() has anything to add.
  bool wants_logprobs() const { return params_.top_logprobs >= 0; }
  // logits: (vocab_size), those that the token was chosen from.
  void add_logprobs(std::span<const float> logits, SamplerWorkspace& workspace,
                    SampledToken& sampled) const;

  // All of it for one row. context: all token ids so far (prompt and generated).
  // Throws what choose_token() throws; no draw is made then.
  SampledToken sample(std::span<const float> logits, std::span<const int32_t> context,
                      SamplerWorkspace& workspace);

  // The scores that sample() would draw from, -Inf where a token can't be chosen; no draw is made.
  std::vector<float> processed_scores(std::span<const float> logits,
                                      std::span<const int32_t> context,
                                      SamplerWorkspace& workspace) const;

  const SamplingParams& params() const { return params_; }

 private:
  ChoiceRule plain_rule() const;
  ChoiceRule rule_after(std::span<const int32_t> context, SamplerWorkspace& workspace) const;
  void remember(std::span<const int32_t> tokens);
  double uniform(std::size_t index);

  SamplingParams params_;
  std::mt19937_64 generator_;
  std::deque<double> uniforms_;  // drawn and not used yet

  // With a repetition penalty: the tokens of the sequence, each once, and behind them the guesses.
  std::vector<int32_t> penalised_;
  std::size_t num_distinct_ = 0;
  std::size_t num_remembered_ = 0;  // of the sequence's tokens
  std::vector<bool> is_penalised_;  // by token id
  std::vector<int32_t> banned_;     // of all rules of the last add_rules(), one behind the other
};

}  // namespace chatglm
