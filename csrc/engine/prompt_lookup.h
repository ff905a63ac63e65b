// Guesses that a sequence goes on as it did the last time when its last few tokens stood in it:
// answers that quote, rewrite or repeat do (prompt lookup decoding, github.com/apoorvumang).
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>

#include "engine/drafter.h"
#include "engine/ngram_index.h"

namespace chatglm {

class PromptLookup final : public Drafter {
 public:
  Outlook outlook(const Sequence& sequence, int64_t most_tokens) override;
  void propose(std::span<const DraftTask> tasks) override;
  bool is_free() const override { return true; }
  double ms_per_token() const override { return 0; }
  void forget(RequestId id) override { known_.erase(id); }

 private:
  struct Known {
    NgramIndex index;
    NgramIndex::Match match;  // of the last outlook
  };
  std::unordered_map<RequestId, Known> known_;
};

}  // namespace chatglm
