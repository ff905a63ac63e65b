// A loaded model: weights in one backend or several, and the forward pass over one ragged batch.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "backend/backend.h"
#include "kv/paged_kv.h"
#include "model/config.h"
#include "model/lora_file.h"
#include "model/tensor_source.h"

namespace chatglm {

class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelConfig& config() const = 0;
  // What must be known of a sequence from its prompt, for every later step too. Throws
  // Error{kInvalidArgument} where the prompt lacks what the model needs. Any thread may ask at any
  // time.
  virtual PromptLayout prompt_layout(std::span<const int32_t> /*prompt*/) const { return {}; }
  // Bytes of weights read to decode one token of one sequence.
  virtual int64_t decode_weight_bytes() const = 0;
  // Loads a LoRA adapter, which sequences of a batch may name by its index: 0 for the first. Before
  // reserve(). Throws Error{kModelFile} listing what of it does not fit, Error{kUnsupportedModel}
  // where the model takes no adapters.
  virtual void add_adapter(const LoraFile& adapter);
  virtual int32_t num_adapters() const { return 0; }
  // Makes room for batches of up to max_rows rows, of which max_logit_rows ask for logits.
  virtual void reserve(int64_t max_rows, int64_t max_logit_rows) = 0;
  // Runs the batch: stores its keys and values into kv, placed as the model is, and computes the
  // logits of batch.logit_rows. Allocates nothing, and may return before all of it is done. Token
  // ids and positions were checked by the caller.
  virtual void forward(const Batch& batch, std::span<const kernels::PagedKvView> kv) = 0;
  // Those of the last forward(): (logit_rows, vocab_size) in memory of the placement's last
  // backend.
  virtual const float* logits() const = 0;
};

// Called while loading with the share that is done, 0..1. May be empty.
using LoadProgress = std::function<void(double done)>;

// Throws Error{kUnsupportedModel} for an architecture that no row of the registry knows,
// Error{kModelFile} listing every tensor that is missing or has another shape.
std::unique_ptr<Model> load_model(const ModelConfig& config, TensorSource& source,
                                  const Placement& placement, const LoadProgress& progress = {});

}  // namespace chatglm
