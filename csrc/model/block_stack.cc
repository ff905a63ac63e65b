// See block_stack.h.
#include "model/block_stack.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace chatglm {

BlockStack::BlockStack(const ModelConfig& config, const PlacedLayers& layers)
    : config_(config), backend_(*layers.backend), layers_(layers), adapters_(backend_) {}

void BlockStack::bind_embedding(WeightBinder& binder) {
  if (!has_embedding()) return;
  binder.table("token_embd.weight", config_.vocab_size, config_.hidden_size, embedding_);
}

// A file without an output matrix uses the embedding for both.
void BlockStack::bind_output(WeightBinder& binder) {
  if (!has_logits()) return;
  binder.matrix(binder.has("output.weight") ? "output.weight" : "token_embd.weight",
                config_.vocab_size, config_.hidden_size, lm_head_);
}

std::unique_ptr<Buffer> BlockStack::floats(int64_t count) const {
  return backend_.allocate(count * static_cast<int64_t>(sizeof(float)));
}

std::unique_ptr<Buffer> BlockStack::uploaded(const std::vector<float>& values) const {
  auto buffer = floats(static_cast<int64_t>(values.size()));
  backend_.upload(buffer->data(), values.data(), buffer->size_bytes());
  return buffer;
}

void BlockStack::reserve(int64_t max_rows, int64_t max_logit_rows) {
  const int64_t attention_size = config_.num_heads * config_.head_dim;
  const int64_t norm_rows = std::max(max_rows, max_logit_rows);
  hidden_ = floats(max_rows * config_.hidden_size);
  normed_ = floats(norm_rows * config_.hidden_size);
  qkv_ = floats(max_rows * config_.qkv_size());
  attention_ = floats(max_rows * attention_size);
  cos_sin_ = floats(max_rows * config_.head_dim);
  if (has_logits()) logits_ = floats(max_logit_rows * config_.vocab_size);
  reserve_blocks(max_rows);
  adapters_.reserve(norm_rows);
  backend_.reserve(norm_rows, std::max({config_.hidden_size, config_.ffn_size, attention_size,
                                        adapters_.max_rank()}));
}

void BlockStack::forward(const Batch& batch, const kernels::PagedKvView& kv, const float* input,
                         float* output) {
  const StagedBatch staged = backend_.stage(batch);
  adapters_.begin(batch);
  upload_inputs(batch);
  constexpr auto kFloatBytes = static_cast<int64_t>(sizeof(float));
  const int64_t hidden_bytes = batch.rows() * config_.hidden_size * kFloatBytes;
  if (!has_embedding()) backend_.upload(hidden_->data(), input, hidden_bytes);
  const int64_t num_logit_rows = has_logits() ? staged.num_logit_rows : 0;
  const auto step = [&] {
    if (has_embedding()) embed(staged);
    prepare_rotation(staged);
    for (int64_t index = 0; index < num_layers(); ++index) compute_block(index, staged.rows, kv);
    if (num_logit_rows > 0) compute_logits(staged);
  };
  backend_.run_step({.owner = this,
                     .num_logit_rows = num_logit_rows,
                     .kv = kv,
                     .heads = config_.num_heads,
                     .is_repeatable = adapters_.row_runs().empty()},
                    std::cref(step));
  if (!has_logits()) backend_.download(output, hidden_->data(), hidden_bytes);
}

void BlockStack::embed(const StagedBatch& staged) {
  float* const hidden = hidden_->as<float>();
  backend_.embed(*embedding_, staged.token_ids, staged.rows.rows, hidden);
  adapters_.apply_embedding(embedding_.get(), adapters_.row_runs(), staged.token_ids, hidden,
                            config_.hidden_size);
}

void BlockStack::attend(int64_t index, const Projection& qkv, const LinearInput& input,
                        const kernels::RopeArgs& queries, const kernels::RopeArgs& keys,
                        const kernels::RaggedRows& rows, const kernels::PagedKvView& kv) {
  const RotateAndStore heads{.queries = queries,
                             .keys = keys,
                             .store = {.keys = keys.x,
                                       .values = keys.x + config_.num_kv_heads * config_.head_dim,
                                       .row_stride = config_.qkv_size(),
                                       .layer = index,
                                       .kv = kv,
                                       .rows = rows}};
  if (adapters_.row_runs().empty()) {
    qkv.apply_and_store(backend_, input, rows.rows, qkv_->as<float>(), heads);
  } else {  // whose updates are rotated, too
    adapters_.project(qkv, input, rows.rows, qkv_->as<float>(), /*accumulate=*/false,
                      normed_.get());
    backend_.rotate_and_store(heads);
  }
  backend_.paged_attention(
      {.query = queries.x,
       .query_stride = config_.qkv_size(),
       .output = attention_->as<float>(),
       .heads = config_.num_heads,
       .layer = index,
       .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config_.head_dim))),
       .kv = kv,
       .rows = rows});
}

void BlockStack::compute_logits(const StagedBatch& staged) {
  const int64_t rows = staged.num_logit_rows;
  float* const last = normed_->as<float>();
  backend_.gather_rows(hidden_->as<float>(), config_.hidden_size, staged.logit_rows, rows, last);
  norm_output(rows);
  backend_.linear(*lm_head_, nullptr, last, rows, logits_->as<float>());
  adapters_.apply(lm_head_.get(), adapters_.logit_runs(), last, logits_->as<float>(),
                  config_.vocab_size);
}

}  // namespace chatglm
