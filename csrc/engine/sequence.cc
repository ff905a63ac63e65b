// What of a sequence needs no neighbours.
#include "engine/sequence.h"

#include <algorithm>
#include <utility>

namespace chatglm {
namespace {

std::vector<int32_t> salt_of(const Request& request, const PromptLayout& layout) {
  if (request.adapter < 0 && layout.bidirectional_tokens == 0) return {};
  std::vector<int32_t> salt{request.adapter};
  const auto begin = request.prompt.begin();
  salt.insert(salt.end(), begin, begin + layout.bidirectional_tokens);
  return salt;
}

}  // namespace

Sequence::Sequence(RequestId sequence_id, Request request, int64_t max_length,
                   const PromptLayout& prompt_layout)
    : id(sequence_id),
      prompt_tokens(static_cast<int64_t>(request.prompt.size())),
      max_tokens(prompt_tokens + std::min(request.max_new_tokens, max_length - prompt_tokens)),
      layout(prompt_layout),
      stop_token_ids(std::move(request.stop_token_ids)),
      adapter(request.adapter),
      cache_salt(salt_of(request, prompt_layout)),
      on_prompt_logits(std::move(request.on_prompt_logits)),
      may_speculate(request.may_speculate),
      sampler(std::move(request.sampling)),
      tokens(std::move(request.prompt)),
      num_logits_given(request.first_prompt_logit) {}

int64_t Sequence::first_logit() const {
  if (on_prompt_logits && num_logits_given < prompt_tokens) return num_logits_given;
  return wants_next_token() ? num_tokens() - 1 : num_tokens();
}

FinishReason Sequence::append(int32_t token) {
  tokens.push_back(token);
  if (std::find(stop_token_ids.begin(), stop_token_ids.end(), token) != stop_token_ids.end()) {
    return FinishReason::kStop;
  }
  return wants_next_token() ? FinishReason::kNone : FinishReason::kLength;
}

StepOutput Sequence::event(FinishReason finish) const {
  StepOutput output;
  output.id = id;
  output.finish = finish;
  output.prompt_tokens = prompt_tokens;
  output.reused_tokens = num_reused;
  output.proposed_tokens = num_proposed;
  output.accepted_tokens = num_accepted;
  return output;
}

}  // namespace chatglm
