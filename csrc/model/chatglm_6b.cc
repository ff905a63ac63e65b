#include "model/chatglm_6b.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/float16.h"
#include "model/block_stack.h"
#include "model/projection.h"
#include "model/rotary.h"
#include "model/weight_binder.h"

namespace chatglm {
namespace {

struct Norm {
  std::unique_ptr<Buffer> weight;  // (hidden)
  std::unique_ptr<Buffer> bias;    // (hidden)
};

struct Layer {
  Norm attention_norm;
  Projection qkv;     // 3 * hidden (q, k, v), hidden
  Projection output;  // hidden, hidden
  Norm ffn_norm;
  Projection up;    // ffn, hidden
  Projection down;  // hidden, ffn
};

// The official code keeps the frequencies in float16, also where it computes in float32; the model
// was trained with them.
std::vector<float> rounded_frequencies(const ModelConfig& config) {
  std::vector<float> frequencies = rotary_frequencies(config);
  for (float& frequency : frequencies) frequency = half_to_float(float_to_half(frequency));
  return frequencies;
}

class ChatGlm6b final : public BlockStack {
 public:
  ChatGlm6b(const ModelConfig& config, TensorSource& source, const PlacedLayers& layers,
            const LoadProgress& progress)
      : BlockStack(config, layers), blocks_(static_cast<std::size_t>(layers.count())) {
    if (config.first_position != 0) {
      throw Error(ErrorKind::kModelFile,
                  "positions of this model begin at 0 after a trained prefix, found " +
                      std::to_string(config.first_position) +
                      " (chatglm_cpp.prefix.first_position)",
                  source.description());
    }
    bind_weights(source, progress);
    frequencies_ = uploaded(rounded_frequencies(config));
  }

  // The context ends before the first <sop>; everything from there on has the position of the mask
  // that it fills.
  PromptLayout prompt_layout(std::span<const int32_t> prompt) const override {
    const auto index_of = [&](int32_t token) {
      return std::find(prompt.begin(), prompt.end(), token) - prompt.begin();
    };
    const auto size = static_cast<std::ptrdiff_t>(prompt.size());
    const std::ptrdiff_t context_end = index_of(config_.context_end_token_id);
    for (const int32_t mask_token : config_.mask_token_ids) {
      const std::ptrdiff_t mask = index_of(mask_token);
      if (mask < size && context_end < size) {
        return {static_cast<int32_t>(context_end), static_cast<int32_t>(mask)};
      }
    }
    std::string masks;
    for (const int32_t token : config_.mask_token_ids) {
      masks += (masks.empty() ? "" : " or ") + std::to_string(token);
    }
    throw Error(ErrorKind::kInvalidArgument,
                "a prompt of this model needs the token that is filled in (" + masks +
                    ", [gMASK] or [MASK]) and the one that ends its context (" +
                    std::to_string(config_.context_end_token_id) + ", <sop>); found no " +
                    (context_end < size ? "token to fill in" : "<sop>"));
  }

  int64_t decode_weight_bytes() const override {
    int64_t total = output_bytes();
    for (const Layer& layer : blocks_) {
      total += layer.qkv.size_bytes() + layer.output.size_bytes() + layer.up.size_bytes() +
               layer.down.size_bytes();
    }
    return total;
  }

 private:
  void reserve_blocks(int64_t max_rows) override {
    ffn_ = floats(max_rows * config_.ffn_size);
    positions_ = floats(max_rows * 2);
    host_positions_.reserve(static_cast<std::size_t>(max_rows * 2));
  }

  void bind_weights(TensorSource& source, const LoadProgress& progress) {
    const int64_t hidden = config_.hidden_size;
    WeightBinder binder(source, backend_);
    const auto norm = [&](const std::string& name, Norm& target) {
      binder.vector(name + ".weight", hidden, target.weight);
      binder.vector(name + ".bias", hidden, target.bias);
    };
    const auto projection = [&](const std::string& name, int64_t rows, int64_t cols,
                                Projection& target) {
      binder.projection({{name + ".weight", rows}}, cols, target);
      binder.bias({{name + ".bias", rows}}, target);
    };
    bind_embedding(binder);
    for (int64_t index = 0; index < num_layers(); ++index) {
      const std::string prefix = layer_prefix(first_layer() + index);
      Layer& layer = blocks_[static_cast<std::size_t>(index)];
      norm(prefix + "attn_norm", layer.attention_norm);
      projection(prefix + "attn_qkv", config_.qkv_size(), hidden, layer.qkv);
      projection(prefix + "attn_output", hidden, hidden, layer.output);
      norm(prefix + "ffn_norm", layer.ffn_norm);
      projection(prefix + "ffn_up", config_.ffn_size, hidden, layer.up);
      projection(prefix + "ffn_down", hidden, config_.ffn_size, layer.down);
    }
    if (has_logits()) norm("output_norm", final_norm_);
    bind_output(binder);
    binder.load(progress);
  }

  // nullptr where another part has it.
  const Layer* find_layer(int64_t index) const {
    return has_layer(index) ? &blocks_[static_cast<std::size_t>(index - first_layer())] : nullptr;
  }

  std::vector<LoraTarget> lora_targets() const override {
    const int64_t hidden = config_.hidden_size, ffn = config_.ffn_size;
    std::vector<LoraTarget> targets;
    targets.push_back({"token_embd.weight", embedding_.get(), hidden, config_.vocab_size, 0, true});
    for (int64_t index = 0; index < config_.num_layers; ++index) {
      const std::string prefix = layer_prefix(index);
      const Layer* const layer = find_layer(index);
      const auto target = [&](const char* name, Projection Layer::* projection, int64_t rows,
                              int64_t cols) {
        targets.push_back(
            {prefix + name, layer == nullptr ? nullptr : &(layer->*projection), rows, cols});
      };
      target("attn_qkv.weight", &Layer::qkv, config_.qkv_size(), hidden);
      target("attn_output.weight", &Layer::output, hidden, hidden);
      target("ffn_up.weight", &Layer::up, ffn, hidden);
      target("ffn_down.weight", &Layer::down, hidden, ffn);
    }
    targets.push_back({"output.weight", lm_head_.get(), config_.vocab_size, hidden});
    return targets;
  }

  void upload_inputs(const Batch& batch) override {
    host_positions_.clear();
    for (std::size_t row = 0; row < batch.positions.size(); ++row) {
      const PromptLayout& layout = batch.layouts[static_cast<std::size_t>(batch.sequence[row])];
      const int32_t position = batch.positions[row];
      const int32_t beyond = position - layout.bidirectional_tokens;
      host_positions_.push_back(beyond < 0 ? position : layout.answer_position);
      host_positions_.push_back(beyond < 0 ? 0 : beyond + 1);
    }
    backend_.upload(positions_->data(), host_positions_.data(),
                    static_cast<int64_t>(host_positions_.size() * sizeof(int32_t)));
  }

  // Both tables at once: two rows of angles for each row of the batch.
  void prepare_rotation(const StagedBatch& staged) override {
    backend_.rope_table({.positions = positions_->as<int32_t>(),
                         .frequencies = frequencies_->as<float>(),
                         .cos_sin = cos_sin_->as<float>(),
                         .rows = 2 * staged.rows.rows,
                         .rotary_dim = config_.rotary_dim,
                         .position_scale = config_.rope_position_scale,
                         .magnitude = config_.rope_magnitude});
  }

  // The first half of every head by the first table, the second half by the other.
  kernels::RopeArgs rotation(float* heads, int64_t rows) const {
    return {.x = heads,
            .cos_sin = cos_sin_->as<float>(),
            .row_scale = nullptr,
            .rows = rows,
            .row_stride = config_.qkv_size(),
            .heads = config_.num_heads,
            .head_dim = config_.head_dim,
            .rotary_dim = config_.head_dim,
            .pair_span = config_.rotary_dim};
  }

  // x (rows, hidden) to normed; where asked for, residual (may be x) = residual_scale * normed.
  void apply_norm(const Norm& norm, const float* x, int64_t rows, float* residual = nullptr) {
    backend_.layer_norm({.x = x,
                         .weight = norm.weight->as<float>(),
                         .bias = norm.bias->as<float>(),
                         .y = normed_->as<float>(),
                         .scaled = residual,
                         .rows = rows,
                         .cols = config_.hidden_size,
                         .epsilon = config_.norm_epsilon,
                         .scale = config_.residual_scale});
  }

  void compute_block(int64_t index, const kernels::RaggedRows& rows,
                     const kernels::PagedKvView& kv) override {
    const Layer& layer = blocks_[static_cast<std::size_t>(index)];
    attention(layer, index, rows, kv);
    feed_forward(layer, rows.rows);
  }

  void attention(const Layer& layer, int64_t index, const kernels::RaggedRows& rows,
                 const kernels::PagedKvView& kv) {
    float* const hidden = hidden_->as<float>();
    float* const query = qkv_->as<float>();  // (rows, 3, heads, head_dim)
    float* const key = query + config_.hidden_size;

    apply_norm(layer.attention_norm, hidden, rows.rows, hidden);
    attend(index, layer.qkv, normed_->as<float>(), rotation(query, rows.rows),
           rotation(key, rows.rows), rows, kv);
    adapters_.project(layer.output, attention_->as<float>(), rows.rows, hidden,
                      /*accumulate=*/true);
  }

  void feed_forward(const Layer& layer, int64_t rows) {
    float* const hidden = hidden_->as<float>();
    float* const ffn = ffn_->as<float>();
    apply_norm(layer.ffn_norm, hidden, rows, hidden);
    adapters_.project(layer.up, normed_->as<float>(), rows, ffn);
    backend_.gelu({.x = ffn, .y = ffn, .rows = rows, .cols = config_.ffn_size});
    adapters_.project(layer.down, ffn, rows, hidden, /*accumulate=*/true);
  }

  void norm_output(int64_t rows) override { apply_norm(final_norm_, normed_->as<float>(), rows); }

  std::unique_ptr<Buffer> frequencies_;  // (rotary_dim / 2)
  std::vector<Layer> blocks_;            // (num_layers) of this part
  Norm final_norm_;
  std::unique_ptr<Buffer> ffn_;          // (rows, ffn)
  std::unique_ptr<Buffer> positions_;    // (rows, 2) of each of the two rotary tables
  std::vector<int32_t> host_positions_;  // (rows, 2)
};

}  // namespace

void read_chatglm_6b_config(const ConfigReader& reader, ModelConfig& config) {
  constexpr int64_t kMaxTokenId = std::numeric_limits<int32_t>::max();
  config.norm_epsilon = reader.positive("attention.layer_norm_epsilon", 1.0f, 1e-5f);
  // The official blocks take their number of layers from a default: 28, whatever the model has.
  config.residual_scale = reader.positive("residual_scale", 1e6f, std::sqrt(2.0f * 28.0f));
  config.bidirectional_context = true;
  config.ffn_inputs = 1;
  config.context_end_token_id =
      static_cast<int32_t>(reader.integer("context_end_token_id", 0, kMaxTokenId));
  const std::string masks_key = reader.key("mask_token_ids");
  for (const int64_t id : reader.file().get<std::vector<int64_t>>(masks_key)) {
    if (id < 0 || id > kMaxTokenId) {
      reader.fail(masks_key, "expected token ids, found " + std::to_string(id));
    }
    config.mask_token_ids.push_back(static_cast<int32_t>(id));
  }
  if (config.mask_token_ids.empty()) reader.fail(masks_key, "expected at least one token id");
  if (config.num_kv_heads != config.num_heads) {
    reader.fail(reader.key("attention.head_count_kv"),
                "expected a key and a value for each of the " + std::to_string(config.num_heads) +
                    " attention heads, found " + std::to_string(config.num_kv_heads));
  }
  if (config.head_dim * config.num_heads != config.hidden_size) {
    reader.fail(reader.key("attention.head_count"),
                "expected heads that divide the hidden size " + std::to_string(config.hidden_size) +
                    ", found " + std::to_string(config.num_heads));
  }
  if (2 * config.rotary_dim != config.head_dim) {
    reader.fail(reader.key("rope.dimension_count"),
                "expected half of a head's " + std::to_string(config.head_dim) +
                    " elements for each of two tables, found " + std::to_string(config.rotary_dim));
  }
}

std::unique_ptr<ModelPart> load_chatglm_6b(const ModelConfig& config, TensorSource& source,
                                           const PlacedLayers& layers,
                                           const LoadProgress& progress) {
  return std::make_unique<ChatGlm6b>(config, source, layers, progress);
}

}  // namespace chatglm
