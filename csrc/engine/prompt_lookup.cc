// See prompt_lookup.h.
#include "engine/prompt_lookup.h"

#include <array>

namespace chatglm {

Outlook PromptLookup::outlook(const Sequence& sequence, int64_t most_tokens) {
  // By the length of the match. In running text a pair of tokens says little; four mostly mean that
  // something is being copied.
  constexpr std::array<double, 3> kLikelihoods = {0.3, 0.5, 0.7};
  static_assert(kLikelihoods.size() == NgramIndex::kLongest - NgramIndex::kShortest + 1);
  static_assert(kLikelihoods.size() <= Outlook::kKinds);

  Known& known = known_[sequence.id];
  known.match = known.index.find(sequence.tokens);
  if (known.match.length == 0) return {};
  const auto kind = static_cast<int32_t>(known.match.length - NgramIndex::kShortest);
  return {most_tokens, kind, kLikelihoods[static_cast<std::size_t>(kind)]};
}

void PromptLookup::propose(std::span<const DraftTask> tasks) {
  for (const DraftTask& task : tasks) {
    Sequence& sequence = *task.sequence;
    const int64_t next = known_[sequence.id].match.next;
    sequence.draft.clear();
    // A match that reaches the end goes on with the guess itself: text that repeats, repeats on.
    for (int64_t i = 0; i < task.num_tokens; ++i)
      sequence.draft.push_back(sequence.token(next + i));
  }
}

}  // namespace chatglm
