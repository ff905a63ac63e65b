// A smaller model of the same vocabulary that guesses: its likeliest tokens, for all sequences of a
// step at once. It has pages of its own, scheduled as the engine schedules the large model's, so
// sequences that begin alike share them and the youngest gives way when they run out.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/cache_prefix.h"
#include "engine/drafter.h"
#include "engine/runner.h"
#include "engine/scheduler.h"
#include "kv/block_allocator.h"
#include "kv/paged_kv.h"
#include "model/model.h"

namespace chatglm {

struct DraftModelOptions {
  int64_t max_batch_rows = 512;
  int64_t max_sequences = 64;
  int64_t kv_budget_bytes = 0;
  DType kv_dtype = DType::kF16;
  PrefixWriter write_prefix = {};  // as in EngineOptions
};

class DraftModel final : public Drafter {
 public:
  // vocab_size: the large model's; tokens beyond it are not proposed. The model and its backends
  // outlive this. Throws Error{kInvalidArgument} for a cache budget below one page.
  DraftModel(Model& model, const Placement& placement, int64_t vocab_size,
             const DraftModelOptions& options);

  Outlook outlook(const Sequence& sequence, int64_t most_tokens) override;
  void propose(std::span<const DraftTask> tasks) override;
  bool is_free() const override { return false; }
  double ms_per_token() const override { return ms_per_token_; }
  void forget(RequestId id) override;

 private:
  // A task, and the sequence of this model that follows the task's.
  struct Draft {
    Sequence* own = nullptr;
    DraftTask task;
  };

  int64_t room() const;
  Sequence* follow(const Sequence& sequence);
  void catch_up(std::span<const Draft> drafts);
  void extend(std::span<const Draft> drafts);
  void add_guesses();

  const Model& model_;
  const int64_t vocab_size_;  // of both models
  PagedKv kv_;
  BlockAllocator allocator_;
  const CachePrefix prefix_;
  const SchedulerLimits limits_;
  Scheduler scheduler_;
  Runner runner_;
  // Of a run: who gets a guess, from which rows of the logits; the likeliest token each.
  std::vector<Sequence*> guessing_;
  std::vector<int32_t> guess_rows_;
  std::vector<ChoiceRule> rules_;
  double ms_per_token_ = 0;
};

// A budget for the caches of two models, divided so that both hold as many tokens.
struct KvBudgets {
  int64_t model_bytes = 0;
  int64_t draft_bytes = 0;
};
// The draft model is where the model's last layers are. total_bytes 0: default_kv_pages() of the
// backends. Throws Error{kInvalidArgument} where it is below one page of each, or the type of the
// cache does not fit the draft model.
KvBudgets divide_kv_budget(const ModelConfig& model, const ModelConfig& draft, DType kv_dtype,
                           int64_t total_bytes, const Placement& placement);

}  // namespace chatglm
