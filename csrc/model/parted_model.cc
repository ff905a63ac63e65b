// See parted_model.h.
#include "model/parted_model.h"

#include <utility>

namespace chatglm {

PartedModel::PartedModel(const ModelConfig& config, std::vector<std::unique_ptr<ModelPart>> parts)
    : config_(config), parts_(std::move(parts)) {}

PromptLayout PartedModel::prompt_layout(std::span<const int32_t> prompt) const {
  return parts_.front()->prompt_layout(prompt);
}

int64_t PartedModel::decode_weight_bytes() const {
  int64_t total = 0;
  for (const auto& part : parts_) total += part->decode_weight_bytes();
  return total;
}

void PartedModel::add_adapter(const LoraFile& adapter) {
  for (const auto& part : parts_) part->add_adapter(adapter);
}

void PartedModel::reserve(int64_t max_rows, int64_t max_logit_rows) {
  if (parts_.size() > 1) hidden_.resize(static_cast<std::size_t>(max_rows * config_.hidden_size));
  for (const auto& part : parts_) part->reserve(max_rows, max_logit_rows);
}

void PartedModel::forward(const Batch& batch, std::span<const kernels::PagedKvView> kv) {
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    parts_[i]->forward(batch, kv[i], hidden_.data(), hidden_.data());
  }
}

}  // namespace chatglm
