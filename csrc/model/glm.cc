#include "model/glm.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "model/lora.h"
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

// Activations of one step, made once for the largest batch. All f32: long prompts have residuals
// that f16 can't hold.
struct Workspace {
  std::unique_ptr<Buffer> hidden;       // (rows, hidden) the residual stream
  std::unique_ptr<Buffer> normed;       // (rows, hidden), where it must be written out
  std::unique_ptr<Buffer> qkv;          // (rows, qkv_size)
  std::unique_ptr<Buffer> attention;    // (rows, heads * head_dim)
  std::unique_ptr<Buffer> gate_up;      // (rows, 2 * ffn)
  std::unique_ptr<Buffer> ffn;          // (rows, ffn), where adapters need it
  std::unique_ptr<Buffer> cos_sin;      // (rows, rotary_dim / 2, 2)
  std::unique_ptr<Buffer> query_scale;  // (rows), where the model scales queries by position
  std::unique_ptr<Buffer> logits;       // (logit_rows, vocab)
};

// ChatGLM3-6B-128K's official code scales the rotated query by the logarithm of its position, so
// that attention stays as sharp at 128K as it was at the 2,048 positions of pre-training.
float logn_query_scale(int32_t position) {
  const double scale = std::log(static_cast<double>(position) + 65.0) / std::log(2048.0);
  return static_cast<float>(std::max(1.0, scale));
}

class Glm final : public ModelPart {
 public:
  Glm(const ModelConfig& config, TensorSource& source, const PlacedLayers& layers,
      const LoadProgress& progress)
      : config_(config),
        backend_(*layers.backend),
        first_layer_(layers.begin),
        layers_(static_cast<std::size_t>(layers.count())),
        adapters_(backend_) {
    bind_weights(source, progress);
    const std::vector<float> frequencies = rotary_frequencies(config);
    const auto size_bytes = static_cast<int64_t>(frequencies.size() * sizeof(float));
    frequencies_ = backend_.allocate(size_bytes);
    backend_.upload(frequencies_->data(), frequencies.data(), size_bytes);
  }

  int64_t decode_weight_bytes() const override {
    int64_t total = has_logits() ? lm_head_->size_bytes() : 0;
    for (const Layer& layer : layers_) {
      total += layer.qkv.size_bytes() + layer.output.size_bytes() + layer.gate_up.size_bytes() +
               layer.down.size_bytes();
    }
    return total;
  }

  void add_adapter(const LoraFile& adapter) override { adapters_.add(lora_targets(), adapter); }
  int32_t num_adapters() const override { return adapters_.size(); }

  void reserve(int64_t max_rows, int64_t max_logit_rows) override {
    const auto floats = [this](int64_t count) {
      return backend_.allocate(count * static_cast<int64_t>(sizeof(float)));
    };
    const int64_t attention_size = config_.num_heads * config_.head_dim;
    const int64_t norm_rows = std::max(max_rows, max_logit_rows);
    work_.hidden = floats(max_rows * config_.hidden_size);
    work_.normed = floats(norm_rows * config_.hidden_size);
    work_.qkv = floats(max_rows * config_.qkv_size());
    work_.attention = floats(max_rows * attention_size);
    work_.gate_up = floats(max_rows * 2 * config_.ffn_size);
    work_.ffn = floats(max_rows * config_.ffn_size);
    work_.cos_sin = floats(max_rows * config_.rotary_dim);
    work_.query_scale = floats(max_rows);
    work_.logits = floats(max_logit_rows * config_.vocab_size);
    host_query_scale_.reserve(static_cast<std::size_t>(max_rows));
    adapters_.reserve(norm_rows);
    backend_.reserve(norm_rows, std::max({config_.hidden_size, config_.ffn_size, attention_size,
                                          adapters_.max_rank()}));
  }

  void forward(const Batch& batch, const kernels::PagedKvView& kv, const float* input,
               float* output) override {
    const StagedBatch staged = backend_.stage(batch);
    adapters_.begin(batch);
    upload_query_scale(batch);
    const int64_t hidden_bytes =
        batch.rows() * config_.hidden_size * static_cast<int64_t>(sizeof(float));
    if (!has_embedding()) backend_.upload(work_.hidden->data(), input, hidden_bytes);
    const int64_t num_logit_rows = has_logits() ? staged.num_logit_rows : 0;
    const auto step = [&] {
      if (has_embedding()) embed(staged);
      prepare_rotation(staged);
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
    const ModelConfig& c = config_;
    WeightBinder binder(source, backend_);
    if (has_embedding()) {
      binder.table("token_embd.weight", c.vocab_size, c.hidden_size, embedding_);
    }
    // One layer's optional tensors speak for all: a layer without them is damaged.
    const bool qkv_has_bias = any_layer_has(binder, {"attn_qkv.bias", "attn_q.bias"});
    const bool has_post_norms =
        any_layer_has(binder, {"post_attention_norm.weight", "post_ffw_norm.weight"});
    for (std::size_t index = 0; index < layers_.size(); ++index) {
      const std::string prefix = layer_prefix(first_layer_ + static_cast<int64_t>(index));
      Layer& layer = layers_[index];
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
    if (has_logits()) {
      binder.vector("output_norm.weight", c.hidden_size, final_norm_);
      // A file without an output matrix uses the embedding for both.
      binder.matrix(binder.has("output.weight") ? "output.weight" : "token_embd.weight",
                    c.vocab_size, c.hidden_size, lm_head_);
    }
    binder.load(progress);
  }

  static std::string layer_prefix(int64_t index) { return "blk." + std::to_string(index) + "."; }

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
  std::vector<LoraTarget> lora_targets() const {
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

  void prepare_rotation(const StagedBatch& staged) {
    backend_.rope_table({.positions = staged.positions,
                         .frequencies = frequencies_->as<float>(),
                         .cos_sin = work_.cos_sin->as<float>(),
                         .rows = staged.rows.rows,
                         .rotary_dim = config_.rotary_dim,
                         .position_scale = config_.rope_position_scale,
                         .magnitude = config_.rope_magnitude});
  }

  void upload_query_scale(const Batch& batch) {
    if (!config_.logn_attention) return;
    host_query_scale_.clear();
    for (const int32_t position : batch.positions) {
      host_query_scale_.push_back(logn_query_scale(position));
    }
    backend_.upload(work_.query_scale->data(), host_query_scale_.data(),
                    batch.rows() * static_cast<int64_t>(sizeof(float)));
  }

  LinearInput normed(const float* x, const Buffer& weight) const {
    return LinearInput::normed(x, weight.as<float>(), config_.norm_epsilon);
  }

  kernels::RopeArgs rotation(float* heads, int64_t num_heads, int64_t rows,
                             const float* row_scale) const {
    return {.x = heads,
            .cos_sin = work_.cos_sin->as<float>(),
            .row_scale = row_scale,
            .rows = rows,
            .row_stride = config_.qkv_size(),
            .heads = num_heads,
            .head_dim = config_.head_dim,
            .rotary_dim = config_.rotary_dim};
  }

  void attention(const Layer& layer, int64_t index, const kernels::RaggedRows& rows,
                 const kernels::PagedKvView& kv) {
    float* const hidden = work_.hidden->as<float>();
    float* const query = work_.qkv->as<float>();  // (rows, heads | kv_heads | kv_heads, head_dim)
    float* const key = query + config_.num_heads * config_.head_dim;
    float* const value = key + config_.num_kv_heads * config_.head_dim;

    adapters_.project(layer.qkv, normed(hidden, *layer.attention_norm), rows.rows, query,
                      /*accumulate=*/false, work_.normed.get());
    backend_.rotate_and_store(
        {.queries = rotation(query, config_.num_heads, rows.rows,
                             config_.logn_attention ? work_.query_scale->as<float>() : nullptr),
         .keys = rotation(key, config_.num_kv_heads, rows.rows, nullptr),
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
    add_output(layer.output, work_.attention->as<float>(), layer.attention_post_norm.get(),
               rows.rows);
  }

  void feed_forward(const Layer& layer, int64_t rows) {
    adapters_.project(layer.gate_up, normed(work_.hidden->as<float>(), *layer.ffn_norm), rows,
                      work_.gate_up->as<float>(), /*accumulate=*/false, work_.normed.get());
    add_output(layer.down, LinearInput::gated_by_silu(work_.gate_up->as<float>()),
               layer.ffn_post_norm.get(), rows);
  }

  // Adds what half a block computed to the residual stream, normed before where the model does so.
  void add_output(const Projection& projection, const LinearInput& input, const Buffer* post_norm,
                  int64_t rows) {
    float* const hidden = work_.hidden->as<float>();
    if (post_norm == nullptr) {
      adapters_.project(projection, input, rows, hidden, /*accumulate=*/true, work_.ffn.get());
      return;
    }
    float* const output = work_.normed->as<float>();  // what it held was read
    adapters_.project(projection, input, rows, output, /*accumulate=*/false, work_.ffn.get());
    backend_.rms_norm({.x = output,
                       .weight = post_norm->as<float>(),
                       .y = hidden,
                       .rows = rows,
                       .cols = config_.hidden_size,
                       .epsilon = config_.norm_epsilon,
                       .accumulate = true});
  }

  void compute_logits(const StagedBatch& staged) {
    const int64_t rows = staged.num_logit_rows;
    float* const last = work_.normed->as<float>();
    backend_.gather_rows(work_.hidden->as<float>(), config_.hidden_size, staged.logit_rows, rows,
                         last);
    // Written out: an adapter may want it too.
    backend_.make_plain(normed(last, *final_norm_), rows, config_.hidden_size, last);
    backend_.linear(*lm_head_, nullptr, last, rows, work_.logits->as<float>());
    adapters_.apply(lm_head_.get(), adapters_.logit_runs(), last, work_.logits->as<float>(),
                    config_.vocab_size);
  }

  ModelConfig config_;  // of the whole model
  Backend& backend_;
  int64_t first_layer_;
  std::unique_ptr<Weight> embedding_;    // (vocab, hidden) or nullptr: in another part
  std::unique_ptr<Buffer> frequencies_;  // (rotary_dim / 2)
  std::vector<Layer> layers_;            // from first_layer_ on
  std::unique_ptr<Buffer> final_norm_;   // (hidden) or nullptr: in another part
  std::unique_ptr<Weight> lm_head_;      // (vocab, hidden) or nullptr: in another part
  LoraAdapters adapters_;
  Workspace work_;
  std::vector<float> host_query_scale_;  // (rows)
};

}  // namespace

std::unique_ptr<ModelPart> load_glm(const ModelConfig& config, TensorSource& source,
                                    const PlacedLayers& layers, const LoadProgress& progress) {
  return std::make_unique<Glm>(config, source, layers, progress);
}

}  // namespace chatglm
