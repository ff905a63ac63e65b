// A model made of its parts, each on a backend of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/model.h"
#include "model/model_part.h"

namespace chatglm {

class PartedModel final : public Model {
 public:
  // parts: at least one, in order.
  PartedModel(const ModelConfig& config, std::vector<std::unique_ptr<ModelPart>> parts);

  const ModelConfig& config() const override { return config_; }
  PromptLayout prompt_layout(std::span<const int32_t> prompt) const override;
  int64_t decode_weight_bytes() const override;
  void add_adapter(const LoraFile& adapter) override;
  int32_t num_adapters() const override { return parts_.front()->num_adapters(); }
  void reserve(int64_t max_rows, int64_t max_logit_rows) override;
  void forward(const Batch& batch, std::span<const kernels::PagedKvView> kv) override;
  const float* logits() const override { return parts_.back()->logits(); }

 private:
  ModelConfig config_;
  std::vector<std::unique_ptr<ModelPart>> parts_;
  std::vector<float> hidden_;  // (rows, hidden_size) between parts; of one part empty
};

}  // namespace chatglm
