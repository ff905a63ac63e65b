// Decides what the next step computes, first come first served: which sequences run, which rows of
// each, which pages hold them, and who gives way when pages run out. Owns the sequences and their
// page ids; knows neither the model nor the memory of the pages.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "engine/cache_prefix.h"
#include "engine/sequence.h"
#include "kv/block_allocator.h"

namespace chatglm {

struct SchedulerLimits {
  int64_t max_rows = 0;        // of one step, but for tokens that must be computed together
  int64_t max_sequences = 0;   // running at once, at most max_rows: each can decode in every step
  int64_t max_logit_rows = 0;  // of one step, at least max_sequences
  bool prefix_reuse = true;
};

// Tokens [begin, end) of a sequence, each a row of the step. Where a sequence waits for its next
// token, guesses may follow its last one.
struct Chunk {
  Sequence* sequence = nullptr;
  int64_t begin = 0;
  int64_t end = 0;
  int64_t first_logit = 0;  // logits are given of tokens [first_logit, end_logit); may be none
  int64_t end_logit = 0;

  int64_t num_rows() const { return end - begin; }
  int64_t num_logits() const { return end_logit - first_logit; }
  // Logits are wanted of more of these tokens than a step has room for: they must be computed
  // again, since not all tokens can wait for the next step.
  bool must_be_repeated() const { return end_logit < end; }
  // The last of the sequence's own tokens, to get the next one.
  bool is_decode() const {
    return begin == sequence->num_tokens() - 1 && begin >= sequence->prompt_tokens &&
           num_logits() > 0;
  }
  int64_t num_guesses() const { return std::max<int64_t>(0, end - sequence->num_tokens()); }
};

class Scheduler {
 public:
  // The allocator and the prefix outlive the scheduler.
  Scheduler(const SchedulerLimits& limits, BlockAllocator& allocator, const CachePrefix& prefix);

  // The sequence must fit into the cache when it is alone.
  void add(std::unique_ptr<Sequence> sequence);
  // nullptr: not here.
  Sequence* find(RequestId id) const;
  std::vector<Sequence*> cancelled() const;
  std::vector<Sequence*> running() const;
  std::vector<Sequence*> waiting() const;
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t num_preemptions() const { return num_preemptions_; }
  int64_t num_prompt_tokens_reused() const { return num_prompt_tokens_reused_; }

  // The next step: first the sequences with one token to compute (decoding), then chunks of
  // prompts. Every chunk's pages are in its sequence. Valid until the next call; empty only where
  // there is no sequence.
  std::span<const Chunk> plan();
  // Adds up to `most` guesses of the sequence's draft to a chunk of the plan that is a decode.
  // Guesses take free pages only, and have them up to the next plan. Returns how many were added.
  int64_t add_guesses(std::size_t chunk, int64_t most);
  // Makes sure that the sequence has a page for token `index`, which follows what it has pages for.
  // False: none is free.
  bool take_page_for(Sequence& sequence, int64_t index);
  // The sequence's own tokens before `end` are computed: publishes the pages that became full.
  void mark_computed(Sequence& sequence, int64_t end);
  // Gives the sequence's pages back and destroys it.
  void remove(Sequence* sequence);

 private:
  using Queue = std::deque<std::unique_ptr<Sequence>>;

  std::size_t pages_for(int64_t tokens) const;
  std::vector<int32_t> block_tokens(const Sequence& sequence, int64_t end) const;
  void take_guesses_back();
  void make_room_to_decode();
  void preempt_youngest();
  void admit_waiting();
  bool take_pages(Sequence& sequence);
  void give_pages_back(Sequence& sequence);
  void add_chunk(Sequence& sequence);

  const SchedulerLimits limits_;
  BlockAllocator& allocator_;
  const CachePrefix& prefix_;
  Queue running_;  // oldest first; each has pages for all its tokens during a step
  Queue waiting_;  // next first
  std::vector<Chunk> chunks_;
  int64_t rows_left_ = 0;
  int64_t logit_rows_left_ = 0;
  bool may_exceed_rows_ = false;  // once in a step
  int64_t num_preemptions_ = 0;
  int64_t num_prompt_tokens_reused_ = 0;
};

}  // namespace chatglm
