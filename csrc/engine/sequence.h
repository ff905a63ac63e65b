// One request while it is in the engine: its tokens, how far they are computed, and its pages.
// Knows neither the other sequences nor the model.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "engine/request.h"
#include "kv/block_allocator.h"
#include "sampling/sampler.h"

namespace chatglm {

struct Sequence {
  // max_length: tokens that the model and the cache have room for, at least the prompt's.
  // prompt_layout: the model's, of the request's prompt.
  Sequence(RequestId sequence_id, Request request, int64_t max_length,
           const PromptLayout& prompt_layout);

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
  int64_t num_uncomputed() const { return num_tokens() - num_computed; }
  // The tokens that token `index` attends to are the first so many.
  int64_t visible_from(int64_t index) const {
    return std::max<int64_t>(layout.bidirectional_tokens, index + 1);
  }
  // Token `index`, which may be a guess.
  int32_t token(int64_t index) const {
    const int64_t guess = index - num_tokens();
    return guess < 0 ? tokens[static_cast<std::size_t>(index)]
                     : draft[static_cast<std::size_t>(guess)];
  }
  bool wants_next_token() const { return num_tokens() < max_tokens; }
  // Logits of the tokens from this one on are wanted.
  int64_t first_logit() const;
  // Appends a sampled token; the finish reason that it brings about, or kNone.
  FinishReason append(int32_t token);
  // An event of this sequence.
  StepOutput event(FinishReason finish) const;

  const RequestId id;
  const int64_t prompt_tokens;
  const int64_t max_tokens;  // prompt and generated
  const PromptLayout layout;
  const std::vector<int32_t> stop_token_ids;
  const int32_t adapter;  // -1: none
  // What the keys and values of every token depend on besides the tokens up to it (see
  // BlockAllocator): the adapter, and where tokens see what comes after them, all of that.
  const std::vector<int32_t> cache_salt;
  const std::function<void(int64_t, std::span<const float>)> on_prompt_logits;
  const bool may_speculate;
  Sampler sampler;

  std::vector<int32_t> tokens;     // prompt and generated
  std::vector<int32_t> draft;      // guesses of what follows them
  std::vector<PageId> pages;       // page i holds slots [i, i + 1) * page_tokens; the first token
                                   // follows the trained prefix, where the model has one
  bool needs_prefix_tail = false;  // the prefix's last page is the sequence's own, and empty yet
  int64_t num_computed = 0;        // tokens whose keys and values lie in the pages
  int64_t num_published = 0;       // pages that were published, from the first on
  int64_t num_reused = 0;          // prompt tokens taken from the prefix cache at first admission
  int64_t num_proposed = 0;        // guesses that were verified, and
  int64_t num_accepted = 0;        // those that turned out right
  int64_t num_logits_given;        // prompt positions whose logits on_prompt_logits has had
  bool was_admitted = false;
  bool is_cancelled = false;
};

}  // namespace chatglm
