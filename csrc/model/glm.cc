#include "model/glm.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>
#include <vector>

#include "model/block_stack.h"
#include "model/projection.h"
#include "model/rotary.h"
#include "model/weight_binder.h"

namespace chatglm {
namespace {

struct Layer {
  std::unique_ptr<Buffer> attention_norm;       // (hidden)
  Projection qkv;                               // (heads + 2 kv_heads) * head_dim, hidden
  Projection output;                            // hidden, heads * head_dim
  std::unique_ptr<Buffer> attention_post_norm;  // (hidden) or nullptr: none
  std::unique_ptr<Buffer> ffn_norm;             // (hidden)
  Projection gate_up;                           // 2 * ffn (gate, then up), hidden
  Projection down;                              // hidden, ffn
  std::unique_ptr<Buffer> ffn_post_norm;        // (hidden) or nullptr: none
};

// ChatGLM3-6B-128K's official code scales the rotated query by the logarithm of its position, so
// that attention stays as sharp at 128K as it was at the 2,048 positions of pre-training.
float logn_query_scale(int32_t position) {
  const double scale = std::log(static_cast<double>(position) + 65.0) / std::log(2048.0);
  return static_cast<float>(std::max(1.0, scale));
}

class Glm final : public BlockStack {
 public:
  Glm(const ModelConfig& config, TensorSource& source, const PlacedLayers& layers,
      const LoadProgress& progress)
      : BlockStack(config, layers), blocks_(static_cast<std::size_t>(layers.count())) {
    bind_weights(source, progress);
    frequencies_ = uploaded(rotary_frequencies(config));
  }

  int64_t decode_weight_bytes() const override {
    int64_t total = output_bytes();
    for (const Layer& layer : blocks_) {
      total += layer.qkv.size_bytes() + layer.output.size_bytes() + layer.gate_up.size_bytes() +
               layer.down.size_bytes();
    }
    return total;
  }

 private:
  void reserve_blocks(int64_t max_rows) override {
    gate_up_ = floats(max_rows * 2 * config_.ffn_size);
    ffn_ = floats(max_rows * config_.ffn_size);
    query_scale_ = floats(max_rows);
    host_query_scale_.reserve(static_cast<std::size_t>(max_rows));
  }

  void bind_weights(TensorSource& source, const LoadProgress& progress) {
    const ModelConfig& c = config_;
    WeightBinder binder(source, backend_);
    bind_embedding(binder);
    // One layer's optional tensors speak for all: a layer without them is damaged.
    const bool qkv_has_bias = any_layer_has(binder, {"attn_qkv.bias", "attn_q.bias"});
    const bool has_post_norms =
        any_layer_has(binder, {"post_attention_norm.weight", "post_ffw_norm.weight"});
    for (int64_t index = 0; index < num_layers(); ++index) {
      const std::string prefix = layer_prefix(first_layer() + index);
      Layer& layer = blocks_[static_cast<std::size_t>(index)];
      binder.vector(prefix + "attn_norm.weight", c.hidden_size, layer.attention_norm);
      binder.projection(qkv_parts(binder, prefix, ".weight"), c.hidden_size, layer.qkv);
      if (qkv_has_bias) binder.bias(qkv_parts(binder, prefix, ".bias"), layer.qkv);
      binder.projection({{prefix + "attn_output.weight", c.hidden_size}}, c.num_heads * c.head_dim,
                        layer.output);
      binder.vector(prefix + "ffn_norm.weight", c.hidden_size, layer.ffn_norm);
      binder.projection(gate_up_parts(binder, prefix), c.hidden_size, layer.gate_up);
      binder.projection({{prefix + "ffn_down.weight", c.hidden_size}}, c.ffn_size, layer.down);
      if (!has_post_norms) continue;
      binder.vector(prefix + "post_attention_norm.weight", c.hidden_size,
                    layer.attention_post_norm);
      binder.vector(prefix + "post_ffw_norm.weight", c.hidden_size, layer.ffn_post_norm);
    }
    if (has_logits()) binder.vector("output_norm.weight", c.hidden_size, final_norm_);
    bind_output(binder);
    binder.load(progress);
  }

  bool any_layer_has(WeightBinder& binder, std::initializer_list<const char*> names) const {
    for (int64_t index = 0; index < config_.num_layers; ++index) {
      for (const char* name : names) {
        if (binder.has(layer_prefix(index) + name)) return true;
      }
    }
    return false;
  }

  // Queries, keys and values: one tensor, or one each.
  std::vector<TensorPart> qkv_parts(WeightBinder& binder, const std::string& prefix,
                                    const char* kind) const {
    const int64_t queries = config_.num_heads * config_.head_dim;
    const int64_t keys = config_.num_kv_heads * config_.head_dim;
    if (!binder.has(prefix + "attn_q" + kind)) {
      return {{prefix + "attn_qkv" + kind, config_.qkv_size()}};
    }
    return {{prefix + "attn_q" + kind, queries},
            {prefix + "attn_k" + kind, keys},
            {prefix + "attn_v" + kind, keys}};
  }

  std::vector<TensorPart> gate_up_parts(WeightBinder& binder, const std::string& prefix) const {
    if (!binder.has(prefix + "ffn_gate.weight")) {
      return {{prefix + "ffn_up.weight", 2 * config_.ffn_size}};
    }
    return {{prefix + "ffn_gate.weight", config_.ffn_size},
            {prefix + "ffn_up.weight", config_.ffn_size}};
  }

  // llama.cpp's names of fused matrices and of their parts alike, whichever the file has: an
  // adapter that was trained on either form of a checkpoint fits.
  // nullptr where another part has it.
  const Layer* find_layer(int64_t index) const {
    return has_layer(index) ? &blocks_[static_cast<std::size_t>(index - first_layer())] : nullptr;
  }

  std::vector<LoraTarget> lora_targets() const override {
    const ModelConfig& c = config_;
    const int64_t queries = c.num_heads * c.head_dim, keys = c.num_kv_heads * c.head_dim;
    std::vector<LoraTarget> targets;
    targets.push_back(
        {"token_embd.weight", embedding_.get(), c.hidden_size, c.vocab_size, 0, true});
    for (int64_t index = 0; index < c.num_layers; ++index) {
      const std::string prefix = layer_prefix(index);
      const Layer* const layer = find_layer(index);
      const auto target = [&](const char* name, Projection Layer::* projection, int64_t rows,
                              int64_t cols, int64_t first_row = 0) {
        targets.push_back({prefix + name, layer == nullptr ? nullptr : &(layer->*projection), rows,
                           cols, first_row});
      };
      target("attn_qkv.weight", &Layer::qkv, c.qkv_size(), c.hidden_size);
      target("attn_q.weight", &Layer::qkv, queries, c.hidden_size);
      target("attn_k.weight", &Layer::qkv, keys, c.hidden_size, queries);
      target("attn_v.weight", &Layer::qkv, keys, c.hidden_size, queries + keys);
      target("attn_output.weight", &Layer::output, c.hidden_size, queries);
      target("ffn_up.weight", &Layer::gate_up, 2 * c.ffn_size, c.hidden_size);
      target("ffn_gate.weight", &Layer::gate_up, c.ffn_size, c.hidden_size);
      target("ffn_up.weight", &Layer::gate_up, c.ffn_size, c.hidden_size, c.ffn_size);
      target("ffn_down.weight", &Layer::down, c.hidden_size, c.ffn_size);
    }
    targets.push_back({"output.weight", lm_head_.get(), c.vocab_size, c.hidden_size});
    return targets;
  }

  void prepare_rotation(const StagedBatch& staged) override {
    backend_.rope_table({.positions = staged.positions,
                         .frequencies = frequencies_->as<float>(),
                         .cos_sin = cos_sin_->as<float>(),
                         .rows = staged.rows.rows,
                         .rotary_dim = config_.rotary_dim,
                         .position_scale = config_.rope_position_scale,
                         .magnitude = config_.rope_magnitude});
  }

  void upload_inputs(const Batch& batch) override {
    if (!config_.logn_attention) return;
    host_query_scale_.clear();
    for (const int32_t position : batch.positions) {
      host_query_scale_.push_back(logn_query_scale(position));
    }
    backend_.upload(query_scale_->data(), host_query_scale_.data(),
                    batch.rows() * static_cast<int64_t>(sizeof(float)));
  }

  LinearInput normed(const float* x, const Buffer& weight) const {
    return LinearInput::normed(x, weight.as<float>(), config_.norm_epsilon);
  }

  kernels::RopeArgs rotation(float* heads, int64_t num_heads, int64_t rows,
                             const float* row_scale) const {
    return {.x = heads,
            .cos_sin = cos_sin_->as<float>(),
            .row_scale = row_scale,
            .rows = rows,
            .row_stride = config_.qkv_size(),
            .heads = num_heads,
            .head_dim = config_.head_dim,
            .rotary_dim = config_.rotary_dim};
  }

  void compute_block(int64_t index, const kernels::RaggedRows& rows,
                     const kernels::PagedKvView& kv) override {
    const Layer& layer = blocks_[static_cast<std::size_t>(index)];
    attention(layer, index, rows, kv);
    feed_forward(layer, rows.rows);
  }

  void attention(const Layer& layer, int64_t index, const kernels::RaggedRows& rows,
                 const kernels::PagedKvView& kv) {
    float* const query = qkv_->as<float>();  // (rows, heads | kv_heads | kv_heads, head_dim)
    float* const key = query + config_.num_heads * config_.head_dim;

    attend(index, layer.qkv, normed(hidden_->as<float>(), *layer.attention_norm),
           rotation(query, config_.num_heads, rows.rows,
                    config_.logn_attention ? query_scale_->as<float>() : nullptr),
           rotation(key, config_.num_kv_heads, rows.rows, nullptr), rows, kv);
    add_output(layer.output, attention_->as<float>(), layer.attention_post_norm.get(), rows.rows);
  }

  void feed_forward(const Layer& layer, int64_t rows) {
    adapters_.project(layer.gate_up, normed(hidden_->as<float>(), *layer.ffn_norm), rows,
                      gate_up_->as<float>(), /*accumulate=*/false, normed_.get());
    add_output(layer.down, LinearInput::gated_by_silu(gate_up_->as<float>()),
               layer.ffn_post_norm.get(), rows);
  }

  // Adds what half a block computed to the residual stream, normed before where the model does so.
  void add_output(const Projection& projection, const LinearInput& input, const Buffer* post_norm,
                  int64_t rows) {
    float* const hidden = hidden_->as<float>();
    if (post_norm == nullptr) {
      adapters_.project(projection, input, rows, hidden, /*accumulate=*/true, ffn_.get());
      return;
    }
    float* const output = normed_->as<float>();  // what it held was read
    adapters_.project(projection, input, rows, output, /*accumulate=*/false, ffn_.get());
    backend_.rms_norm({.x = output,
                       .weight = post_norm->as<float>(),
                       .y = hidden,
                       .rows = rows,
                       .cols = config_.hidden_size,
                       .epsilon = config_.norm_epsilon,
                       .accumulate = true});
  }

  // Written out: an adapter may want it too.
  void norm_output(int64_t rows) override {
    float* const last = normed_->as<float>();
    backend_.make_plain(normed(last, *final_norm_), rows, config_.hidden_size, last);
  }

  std::unique_ptr<Buffer> frequencies_;  // (rotary_dim / 2)
  std::vector<Layer> blocks_;            // (num_layers) of this part
  std::unique_ptr<Buffer> final_norm_;   // (hidden) or nullptr: in another part
  std::unique_ptr<Buffer> gate_up_;      // (rows, 2 * ffn)
  std::unique_ptr<Buffer> ffn_;          // (rows, ffn), where adapters need it
  std::unique_ptr<Buffer> query_scale_;  // (rows), where the model scales queries by position
  std::vector<float> host_query_scale_;  // (rows)
};

}  // namespace

std::unique_ptr<ModelPart> load_glm(const ModelConfig& config, TensorSource& source,
                                    const PlacedLayers& layers, const LoadProgress& progress) {
  return std::make_unique<Glm>(config, source, layers, progress);
}

}  // namespace chatglm
