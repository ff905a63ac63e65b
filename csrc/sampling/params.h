// How a token is chosen from logits, as a caller states it.
#pragma once

#include <cstdint>
#include <vector>

namespace chatglm {

// The order of the steps and their arithmetic are those of Hugging Face transformers'
// logits processors: bad words, repetition penalty, temperature, top-k, top-p, min-p.
struct SamplingParams {
  bool do_sample = true;            // false: greedy (argmax after the penalties)
  float temperature = 0.8f;         // > 0
  int32_t top_k = 0;                // 0: off
  double top_p = 0.8;               // (0, 1]; 1: off; a double because 1 - top_p is taken of it
  float min_p = 0.0f;               // [0, 1]; 0: off
  float repetition_penalty = 1.0f;  // > 0; 1: off; over prompt and generated tokens
  uint64_t seed = 0;                // the same seed gives the same tokens
  int32_t top_logprobs = -1;        // -1: none; 0: of the chosen token; n: also of the n likeliest
  std::vector<std::vector<int32_t>> bad_words_ids;  // token sequences that may not be produced

  // Throws Error{kInvalidArgument} naming the field, its range and the value.
  void validate() const;
};

}  // namespace chatglm
