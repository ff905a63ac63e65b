// What the forward passes of all architectures have in common: the way from tokens, or from the
// hidden states of the part before, through blocks of attention and feed-forward to logits, or to
// the hidden states for the next part. What a block computes is the architecture's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kv/placement.h"
#include "model/config.h"
#include "model/lora.h"
#include "model/model_part.h"
#include "model/weight_binder.h"

namespace chatglm {

class BlockStack : public ModelPart {
 public:
  void add_adapter(const LoraFile& adapter) final { adapters_.add(lora_targets(), adapter); }
  int32_t num_adapters() const final { return adapters_.size(); }
  void reserve(int64_t max_rows, int64_t max_logit_rows) final;
  void forward(const Batch& batch, const kernels::PagedKvView& kv, const float* input,
               float* output) final;
  const float* logits() const final { return logits_->as<float>(); }

 protected:
  BlockStack(const ModelConfig& config, const PlacedLayers& layers);

  // The architecture's:
  // Allocates the activations of its blocks for batches of up to max_rows rows.
  virtual void reserve_blocks(int64_t max_rows) = 0;
  // Brings to the backend what is computed of the batch on the host.
  virtual void upload_inputs(const Batch& batch) = 0;
  // Fills cos_sin_.
  virtual void prepare_rotation(const StagedBatch& staged) = 0;
  // Takes hidden_ through block `index` of this part.
  virtual void compute_block(int64_t index, const kernels::RaggedRows& rows,
                             const kernels::PagedKvView& kv) = 0;
  // normed_ (rows, hidden) = its norm before the output matrix.
  virtual void norm_output(int64_t rows) = 0;
  // All matrices of the model, those of other parts without their `matrix`.
  virtual std::vector<LoraTarget> lora_targets() const = 0;

  // Binds the embedding, or the output matrix, where this part has it.
  void bind_embedding(WeightBinder& binder);
  void bind_output(WeightBinder& binder);
  bool has_embedding() const { return layers_.begin == 0; }
  bool has_logits() const { return layers_.end == config_.num_layers; }
  bool has_layer(int64_t index) const { return index >= layers_.begin && index < layers_.end; }
  int64_t first_layer() const { return layers_.begin; }
  int64_t num_layers() const { return layers_.count(); }
  int64_t output_bytes() const { return has_logits() ? lm_head_->size_bytes() : 0; }
  static std::string layer_prefix(int64_t index) { return "blk." + std::to_string(index) + "."; }

  std::unique_ptr<Buffer> floats(int64_t count) const;
  std::unique_ptr<Buffer> uploaded(const std::vector<float>& values) const;
  // attention_ (rows, heads * head_dim) of the queries, keys and values that `qkv` makes of an
  // input in qkv_, where `queries` and `keys` rotate them. Stores the keys and values. normed_ may
  // be written to.
  void attend(int64_t index, const Projection& qkv, const LinearInput& input,
              const kernels::RopeArgs& queries, const kernels::RopeArgs& keys,
              const kernels::RaggedRows& rows, const kernels::PagedKvView& kv);

  const ModelConfig config_;  // of the whole model
  Backend& backend_;
  const PlacedLayers layers_;
  std::unique_ptr<Weight> embedding_;  // (vocab, hidden) or nullptr: in another part
  std::unique_ptr<Weight> lm_head_;    // (vocab, hidden) or nullptr: in another part
  LoraAdapters adapters_;
  // Activations of one step, made once for the largest batch. All f32: long prompts have residuals
  // that f16 can't hold.
  std::unique_ptr<Buffer> hidden_;     // (rows, hidden) the residual stream
  std::unique_ptr<Buffer> normed_;     // (rows, hidden), where it must be written out
  std::unique_ptr<Buffer> qkv_;        // (rows, heads | kv_heads | kv_heads, head_dim)
  std::unique_ptr<Buffer> attention_;  // (rows, heads * head_dim)
  std::unique_ptr<Buffer> cos_sin_;    // (rows, pairs of a head that are rotated, 2)
  std::unique_ptr<Buffer> logits_;     // (logit_rows, vocab) or nullptr: in another part

 private:
  void embed(const StagedBatch& staged);
  void compute_logits(const StagedBatch& staged);
};

}  // namespace chatglm
