// The steps from logits to a token, one function each, with the arithmetic of Hugging Face
// transformers' logits processors (named at each). They work in the caller's buffers and allocate
// nothing once those have grown. They know no parameters struct, random generator or sequence.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace chatglm {

// A token that may still be chosen, with its processed logit.
struct Candidate {
  float score = 0.0f;
  int32_t token = -1;
};

// Throws Error{kRuntime} where a logit is NaN or +Inf, or where all are -Inf or there are none.
void check_logits(std::span<const float> logits);

// RepetitionPenaltyLogitsProcessor: the logits of tokens that occur in `context` are divided by the
// penalty where positive and multiplied by it where negative, once however often the token occurs.
// Reads `logits`, writes `scores` (both (vocab_size)), which are a copy of them.
// Throws Error{kInvalidArgument} for a context token outside the vocabulary.
void apply_repetition_penalty(std::span<const float> logits, std::span<const int32_t> context,
                              float penalty, std::span<float> scores);

// NoBadWordsLogitsProcessor: sets to -Inf the last token of each word whose other tokens are the
// end of `context`. As there, a word longer than the context is not looked at. In two steps:
// appends these tokens to `banned`,
void find_banned(std::span<const std::vector<int32_t>> words, std::span<const int32_t> context,
                 std::vector<int32_t>& banned);
// and sets them to -Inf, those that are in the vocabulary.
void ban_tokens(std::span<const int32_t> banned, std::span<float> scores);

// The first token with the highest score.
int32_t argmax(std::span<const float> scores);

// TemperatureLogitsWarper.
void apply_temperature(std::span<float> scores, float temperature);

// All tokens whose score is not -Inf, in order of their ids.
void collect_candidates(std::span<const float> scores, std::vector<Candidate>& candidates);

// TopKLogitsWarper: drops what is below the k-th highest score; ties with it stay. `heap` is
// scratch space.
void keep_top_k(std::vector<Candidate>& candidates, int32_t top_k, std::vector<float>& heap);

// TopPLogitsWarper: drops the least likely tokens whose probabilities together do not exceed
// 1 - top_p; the likeliest always stays. Among equal scores the lower id is dropped first (the
// order of a stable ascending sort).
void keep_top_p(std::vector<Candidate>& candidates, double top_p);

// MinPLogitsWarper: drops what is less likely than min_p times the likeliest.
void keep_min_p(std::vector<Candidate>& candidates, float min_p);

// The token at `uniform`, in [0, 1), of the softmax's cumulative distribution over the candidates
// in order of their ids.
int32_t draw(std::span<const Candidate> candidates, double uniform);

// log(sum(exp(logits))), in double.
double log_sum_exp(std::span<const float> logits);

}  // namespace chatglm
