#include "model/chatglm_6b.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/float16.h"
#include "model/lora.h"
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

// Activations of one step, made once for the largest batch.
struct Workspace {
  std::unique_ptr<Buffer> hidden;     // (rows, hidden) the residual stream
  std::unique_ptr<Buffer> normed;     // (rows, hidden)
  std::unique_ptr<Buffer> qkv;        // (rows, 3 * hidden)
  std::unique_ptr<Buffer> attention;  // (rows, hidden)
  std::unique_ptr<Buffer> ffn;        // (rows, ffn)
  std::unique_ptr<Buffer> positions;  // (rows, 2) of each of the two rotary tables
  std::unique_ptr<Buffer> cos_sin;    // (rows, 2, rotary_dim / 2, 2)
  std::unique_ptr<Buffer> logits;     // (logit_rows, vocab)
};

// The official code keeps the frequencies in float16, also where it computes in float32; the model
// was trained with them.
std::vector<float> rounded_frequencies(const ModelConfig& config) {
  std::vector<float> frequencies = rotary_frequencies(config);
  for (float& frequency : frequencies) frequency = half_to_float(float_to_half(frequency));
  return frequencies;
}

class ChatGlm6b final : public ModelPart {
 public:
  ChatGlm6b(const ModelConfig& config, TensorSource& source, const PlacedLayers& layers,
            const LoadProgress& progress)
      : config_(config),
        backend_(*layers.backend),
        first_layer_(layers.begin),
        layers_(static_cast<std::size_t>(layers.count())),
        adapters_(backend_) {
    if (config.first_position != 0) {
      throw Error(ErrorKind::kModelFile,
                  "positions of this model begin at 0 after a trained prefix, found " +
                      std::to_string(config.first_position) +
                      " (chatglm_cpp.prefix.first_position)",
                  source.description());
    }
    bind_weights(source, progress);
    const std::vector<float> frequencies = rounded_frequencies(config);
    const auto size_bytes = static_cast<int64_t>(frequencies.size() * sizeof(float));
    frequencies_ = backend_.allocate(size_bytes);
    backend_.upload(frequencies_->data(), frequencies.data(), size_bytes);
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
    int64_t total = has_logits() ? lm_head_->size_bytes() : 0;
    for (const Layer& layer : layers_) {
      total += layer.qkv.size_bytes() + layer.output.size_bytes() + layer.up.size_bytes() +
               layer.down.size_bytes();
    }
    return total;
  }

  void add_adapter(const LoraFile& adapter) override { adapters_.add(lora_targets(), adapter); }
  int32_t num_adapters() const override { return adapters_.size(); }

  void reserve(int64_t max_rows, int64_t max_logit_rows) override {
    const auto numbers = [this](int64_t count) {
      return backend_.allocate(count * static_cast<int64_t>(sizeof(float)));
    };
    const int64_t norm_rows = std::max(max_rows, max_logit_rows);
    work_.hidden = numbers(max_rows * config_.hidden_size);
    work_.normed = numbers(norm_rows * config_.hidden_size);
    work_.qkv = numbers(max_rows * config_.qkv_size());
    work_.attention = numbers(max_rows * config_.hidden_size);
    work_.ffn = numbers(max_rows * config_.ffn_size);
    work_.positions = numbers(max_rows * 2);
    work_.cos_sin = numbers(max_rows * config_.head_dim);
    work_.logits = numbers(max_logit_rows * config_.vocab_size);
    host_positions_.reserve(static_cast<std::size_t>(max_rows * 2));
    adapters_.reserve(norm_rows);
    backend_.reserve(norm_rows,
                     std::max({config_.hidden_size, config_.ffn_size, adapters_.max_rank()}));
  }

  void forward(const Batch& batch, const kernels::PagedKvView& kv, const float* input,
               float* output) override {
    const StagedBatch staged = backend_.stage(batch);
    adapters_.begin(batch);
    upload_positions(batch);
    const int64_t hidden_bytes =
        batch.rows() * config_.hidden_size * static_cast<int64_t>(sizeof(float));
    if (!has_embedding()) backend_.upload(work_.hidden->data(), input, hidden_bytes);
    const int64_t num_logit_rows = has_logits() ? staged.num_logit_rows : 0;
    const auto step = [&] {
      if (has_embedding()) embed(staged);
      prepare_rotation(staged.rows.rows);
      for (std::size_t index = 0; index < layers_.size(); ++index) {
        attention(layers_[index], static_cast<int64_t>(index), staged.rows, kv);
        feed_forward(layers_[index], staged.rows.rows);
      }
      if (num_logit_rows > 0) compute_logits(staged);
    };
    backend_.run_step({.owner = this,
                       .num_logit_rows = num_logit_rows,
                       .kv = kv,
                       .heads = config_.num_heads,
                       .is_repeatable = adapters_.row_runs().empty()},
                      std::cref(step));
    if (!has_logits()) {
      backend_.download(output, work_.hidden->data(), hidden_bytes);
    } else if (num_logit_rows > 0) {
      backend_.download(output, work_.logits->data(),
                        num_logit_rows * config_.vocab_size * static_cast<int64_t>(sizeof(float)));
    }
  }

 private:
  bool has_embedding() const { return first_layer_ == 0; }
  bool has_logits() const { return end_layer() == config_.num_layers; }
  int64_t end_layer() const { return first_layer_ + static_cast<int64_t>(layers_.size()); }
  // nullptr where another part has it.
  const Layer* find_layer(int64_t index) const {
    if (index < first_layer_ || index >= end_layer()) return nullptr;
    return &layers_[static_cast<std::size_t>(index - first_layer_)];
  }

  void embed(const StagedBatch& staged) {
    float* const hidden = work_.hidden->as<float>();
    backend_.embed(*embedding_, staged.token_ids, staged.rows.rows, hidden);
    adapters_.apply_embedding(embedding_.get(), adapters_.row_runs(), staged.token_ids, hidden,
                              config_.hidden_size);
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
    if (has_embedding()) {
      binder.table("token_embd.weight", config_.vocab_size, hidden, embedding_);
    }
    for (std::size_t index = 0; index < layers_.size(); ++index) {
      const std::string prefix = layer_prefix(first_layer_ + static_cast<int64_t>(index));
      Layer& layer = layers_[index];
      norm(prefix + "attn_norm", layer.attention_norm);
      projection(prefix + "attn_qkv", config_.qkv_size(), hidden, layer.qkv);
      projection(prefix + "attn_output", hidden, hidden, layer.output);
      norm(prefix + "ffn_norm", layer.ffn_norm);
      projection(prefix + "ffn_up", config_.ffn_size, hidden, layer.up);
      projection(prefix + "ffn_down", hidden, config_.ffn_size, layer.down);
    }
    if (has_logits()) {
      norm("output_norm", final_norm_);
      // A file without an output matrix uses the embedding for both.
      binder.matrix(binder.has("output.weight") ? "output.weight" : "token_embd.weight",
                    config_.vocab_size, hidden, lm_head_);
    }
    binder.load(progress);
  }

  static std::string layer_prefix(int64_t index) { return "blk." + std::to_string(index) + "."; }

  std::vector<LoraTarget> lora_targets() const {
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

  void upload_positions(const Batch& batch) {
    host_positions_.clear();
    for (std::size_t row = 0; row < batch.positions.size(); ++row) {
      const PromptLayout& layout = batch.layouts[static_cast<std::size_t>(batch.sequence[row])];
      const int32_t position = batch.positions[row];
      const int32_t beyond = position - layout.bidirectional_tokens;
      host_positions_.push_back(beyond < 0 ? position : layout.answer_position);
      host_positions_.push_back(beyond < 0 ? 0 : beyond + 1);
    }
    backend_.upload(work_.positions->data(), host_positions_.data(),
                    static_cast<int64_t>(host_positions_.size() * sizeof(int32_t)));
  }

  // Both tables at once: two rows of angles for each row of the batch.
  void prepare_rotation(int64_t rows) {
    backend_.rope_table({.positions = work_.positions->as<int32_t>(),
                         .frequencies = frequencies_->as<float>(),
                         .cos_sin = work_.cos_sin->as<float>(),
                         .rows = 2 * rows,
                         .rotary_dim = config_.rotary_dim,
                         .position_scale = config_.rope_position_scale,
                         .magnitude = config_.rope_magnitude});
  }

  // The first half of every head by the first table, the second half by the other.
  kernels::RopeArgs rotation(float* heads, int64_t rows) const {
    return {.x = heads,
            .cos_sin = work_.cos_sin->as<float>(),
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
                         .y = work_.normed->as<float>(),
                         .scaled = residual,
                         .rows = rows,
                         .cols = config_.hidden_size,
                         .epsilon = config_.norm_epsilon,
                         .scale = config_.residual_scale});
  }

  void attention(const Layer& layer, int64_t index, const kernels::RaggedRows& rows,
                 const kernels::PagedKvView& kv) {
    float* const hidden = work_.hidden->as<float>();
    float* const query = work_.qkv->as<float>();  // (rows, 3, heads, head_dim)
    float* const key = query + config_.hidden_size;
    float* const value = key + config_.hidden_size;

    apply_norm(layer.attention_norm, hidden, rows.rows, hidden);
    adapters_.project(layer.qkv, work_.normed->as<float>(), rows.rows, query);
    backend_.rotate_and_store({.queries = rotation(query, rows.rows),
                               .keys = rotation(key, rows.rows),
                               .store = {.keys = key,
                                         .values = value,
                                         .row_stride = config_.qkv_size(),
                                         .layer = index,
                                         .kv = kv,
                                         .rows = rows}});
    backend_.paged_attention(
        {.query = query,
         .query_stride = config_.qkv_size(),
         .output = work_.attention->as<float>(),
         .heads = config_.num_heads,
         .layer = index,
         .scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config_.head_dim))),
         .kv = kv,
         .rows = rows});
    adapters_.project(layer.output, work_.attention->as<float>(), rows.rows, hidden,
                      /*accumulate=*/true);
  }

  void feed_forward(const Layer& layer, int64_t rows) {
    float* const hidden = work_.hidden->as<float>();
    float* const ffn = work_.ffn->as<float>();
    apply_norm(layer.ffn_norm, hidden, rows, hidden);
    adapters_.project(layer.up, work_.normed->as<float>(), rows, ffn);
    backend_.gelu({.x = ffn, .y = ffn, .rows = rows, .cols = config_.ffn_size});
    adapters_.project(layer.down, ffn, rows, hidden, /*accumulate=*/true);
  }

  void compute_logits(const StagedBatch& staged) {
    const int64_t rows = staged.num_logit_rows;
    float* const normed = work_.normed->as<float>();
    backend_.gather_rows(work_.hidden->as<float>(), config_.hidden_size, staged.logit_rows, rows,
                         normed);
    apply_norm(final_norm_, normed, rows);
    backend_.linear(*lm_head_, nullptr, normed, rows, work_.logits->as<float>());
    adapters_.apply(lm_head_.get(), adapters_.logit_runs(), normed, work_.logits->as<float>(),
                    config_.vocab_size);
  }

  ModelConfig config_;  // of the whole model
  Backend& backend_;
  int64_t first_layer_;
  std::unique_ptr<Weight> embedding_;    // (vocab, hidden) or nullptr: in another part
  std::unique_ptr<Buffer> frequencies_;  // (rotary_dim / 2)
  std::vector<Layer> layers_;            // from first_layer_ on
  Norm final_norm_;
  std::unique_ptr<Weight> lm_head_;  // (vocab, hidden) or nullptr: in another part
  LoraAdapters adapters_;
  Workspace work_;
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
