// Packs the chunks of a step into one ragged batch and runs the model on it. Owns the buffers of
// the batch and of the logits, made once; knows nothing of scheduling or sampling.
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

  // Makes sure that the pages have memory, and computes. The logits that the chunks ask for, in the
  // order of the chunks: (sum of num_logits(), vocab_size), valid until the next call.
  // What the backend or the model throws leaves the sequences as they were.
  std::span<const float> run(std::span<const Chunk> chunks, PagedKv& kv);

 private:
  void pack(std::span<const Chunk> chunks);
  int64_t pages_of(const Chunk& chunk) const;

  Model& model_;
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
  int64_t num_pages_ = 0;           // pages [0, num_pages_) must have memory
  std::unique_ptr<Buffer> logits_;  // (max_logit_rows, vocab_size) on the host
};

}  // namespace chatglm
