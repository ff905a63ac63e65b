// What an architecture implements: consecutive layers of a model on one backend. The part with
// layer 0 has the embedding, the one with the last layer the output matrix; in between go hidden
// states in host memory.
#pragma once

#include <cstdint>
#include <span>

#include "backend/backend.h"
#include "model/lora_file.h"

namespace chatglm {

class ModelPart {
 public:
  virtual ~ModelPart() = default;
  // As in Model, of this part's matrices:
  virtual PromptLayout prompt_layout(std::span<const int32_t> /*prompt*/) const { return {}; }
  virtual int64_t decode_weight_bytes() const = 0;
  virtual void add_adapter(const LoraFile& adapter) = 0;
  virtual int32_t num_adapters() const = 0;
  virtual void reserve(int64_t max_rows, int64_t max_logit_rows) = 0;
  // Runs the batch through this part's layers. input (rows, hidden_size): what the part before put
  // out; not read by the first. output (rows, hidden_size): not written by the last, which has the
  // logits instead.
  virtual void forward(const Batch& batch, const kernels::PagedKvView& kv, const float* input,
                       float* output) = 0;
  // Of the last part, as Model::logits().
  virtual const float* logits() const = 0;
};

}  // namespace chatglm
