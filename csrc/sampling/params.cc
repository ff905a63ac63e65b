// Ranges of the sampling parameters. Knows no vocabulary: whether a token id exists is the engine's
// to check.
#include "sampling/params.h"

#include <cmath>
#include <sstream>
#include <string_view>

#include "base/error.h"

namespace chatglm {
namespace {

template <typename Value>
void require(bool holds, std::string_view field, std::string_view range, Value value) {
  if (holds) return;
  std::ostringstream message;
  message << field << " must be " << range << ", found " << value;
  throw Error(ErrorKind::kInvalidArgument, message.str());
}

bool is_positive(double value) {
  return std::isfinite(value) && value > 0.0;
}

}  // namespace

void SamplingParams::validate() const {
  require(is_positive(temperature), "temperature", "a number greater than 0", temperature);
  require(top_k >= 0, "top_k", "0 (off) or a positive number of tokens", top_k);
  require(top_p > 0.0 && top_p <= 1.0, "top_p", "greater than 0 and at most 1", top_p);
  require(min_p >= 0.0f && min_p <= 1.0f, "min_p", "between 0 and 1", min_p);
  require(is_positive(repetition_penalty), "repetition_penalty", "a number greater than 0",
          repetition_penalty);
  require(top_logprobs >= -1, "top_logprobs", "-1 (none), 0 or a positive number of tokens",
          top_logprobs);
  for (const std::vector<int32_t>& word : bad_words_ids) {
    require(!word.empty(), "bad_words_ids", "a list of sequences of at least one token id",
            "an empty sequence");
    for (int32_t token : word) {
      require(token >= 0, "bad_words_ids", "made of token ids of at least 0", token);
    }
  }
}

}  // namespace chatglm
