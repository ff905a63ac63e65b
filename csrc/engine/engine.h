// Continuous batching over one model: queues requests, and with each step() runs one ragged batch
// of prompt chunks and decode rows. Synchronous and single-threaded; EngineThread drives it in the
// background.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/cache_prefix.h"
#include "engine/drafter.h"
#include "engine/request.h"
#include "model/model.h"

namespace chatglm {

struct EngineOptions {
  // Rows of one step; longer prompts are computed in chunks, as far as the model allows.
  int64_t max_batch_rows = 512;
  int64_t max_sequences = 64;   // running at once (never more than max_batch_rows); more wait
  int64_t kv_budget_bytes = 0;  // 0: default_kv_pages() of the backends
  DType kv_dtype = DType::kF16;
  bool prefix_reuse = true;
  // Guesses of each sequence in a step, with a drafter. 0: as many as pay here, from what steps
  // cost and how many guesses were right lately, so maybe none.
  int64_t num_guesses = 0;
  // Of a model with a trained prefix: called by the constructor with the pages for it.
  PrefixWriter write_prefix = {};
};

struct EngineStats {
  int64_t steps = 0;
  int64_t prompt_tokens_computed = 0;  // again after a preemption included
  int64_t prompt_tokens_reused = 0;
  int64_t tokens_generated = 0;
  int64_t tokens_proposed = 0;  // guesses that were verified, and
  int64_t tokens_accepted = 0;  // those that turned out right
  int64_t preemptions = 0;
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t kv_pages_used = 0;
  int64_t kv_bytes_allocated = 0;
};

class Engine {
 public:
  // The model and its backends outlive the engine. With a drafter, several tokens of a sequence may
  // come in one step; they are the same as without. Throws Error{kInvalidArgument}: options out of
  // range, or a cache budget below one page.
  Engine(Model& model, const Placement& placement, const EngineOptions& options,
         std::unique_ptr<Drafter> drafter = nullptr);
  ~Engine();

  // Throws Error{kContextLength} where prompt + 1 exceeds the model's max_length or the whole cache
  // budget (prompt alone, where max_new_tokens is 0), Error{kInvalidArgument} for an empty prompt,
  // a token id outside the vocabulary, a negative max_new_tokens, bad sampling parameters or a
  // prompt that the model refuses.
  // max_new_tokens is cut to what max_length and the cache budget leave (FinishReason::kLength
  // then).
  RequestId submit(Request request);
  // Throws what submit would. Reads only what never changes: any thread may ask at any time.
  void check(const Request& request) const;
  // The request ends with FinishReason::kCancelled at the next step(); unknown ids are ignored.
  void cancel(RequestId id);
  bool has_work() const;
  // Runs one batch; the events since the last call. An error of one request (unusable logits, an
  // exception from its callback) ends that request only. What the backend or the model throws
  // passes through: nothing was computed then, and step() would try the same again.
  std::vector<StepOutput> step();
  // For when step() threw: ends all running requests, or where none runs all waiting ones, with
  // FinishReason::kError. Returns their events and those that step() could not return.
  std::vector<StepOutput> fail_running(const std::string& error);
  EngineStats stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace chatglm
