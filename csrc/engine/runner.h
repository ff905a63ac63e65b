// Packs the chunks of a step into one ragged batch, runs the model on it and has tokens chosen from
// its logits. Owns the buffers of the batch; knows nothing of scheduling, nor where rules come
// from.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engine/scheduler.h"
#include "kv/paged_kv.h"
#include "model/model.h"

namespace chatglm {

class Runner {
 public:
  // All of them outlive the runner; the backend is the model's.
  Runner(Model& model, Backend& backend, int64_t max_rows, int64_t max_logit_rows,
         const CachePrefix& prefix);

  // Makes sure that the pages have memory, and computes. Rows of logits are counted in the order of
  // the chunks, num_logits() of each, and stay until the next call.
  // What the backend or the model throws, here and below, leaves the sequences as they were.
  void run(std::span<const Chunk> chunks, PagedKv& kv);
  // Chooses from these rows of logits, by a rule each. Valid until the next call.
  std::span<const Choice> choose(std::span<const int32_t> rows, std::span<const ChoiceRule> rules);
  // Brings `count` rows of logits to the host, where each row has its place.
  void download(int64_t first_row, int64_t count);
  // (count, vocab_size): rows that were downloaded since the last run().
  std::span<const float> downloaded(int64_t first_row, int64_t count) const;

 private:
  void pack(std::span<const Chunk> chunks);
  int64_t pages_of(const Chunk& chunk) const;

  Model& model_;
  Backend& backend_;
  const int64_t max_logit_rows_;
  const CachePrefix& prefix_;
  std::vector<int32_t> token_ids_;     // (rows)
  std::vector<int32_t> positions_;     // (rows)
  std::vector<int32_t> slots_;         // (rows)
  std::vector<int32_t> visible_;       // (rows)
  std::vector<int32_t> sequence_;      // (rows)
  std::vector<PromptLayout> layouts_;  // (chunks)
  std::vector<int32_t> adapter_;       // (chunks)
  std::vector<int32_t> logit_rows_;    // (logit rows)
  std::vector<int32_t> block_table_;   // (chunks, block_table_stride_)
  int64_t block_table_stride_ = 0;
  int64_t num_pages_ = 0;        // pages [0, num_pages_) must have memory
  std::vector<Choice> choices_;  // (rows chosen from)
  std::unique_ptr<Buffer>
      logits_;  // (max_logit_rows, vocab_size) on the host; nullptr: not yet asked
};

}  // namespace chatglm
