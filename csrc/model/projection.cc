#include "model/projection.h"

namespace chatglm {

int64_t Projection::outputs() const {
  int64_t total = 0;
  for (const auto& weight : weights_) total += weight->rows();
  return total;
}

int64_t Projection::size_bytes() const {
  int64_t total = 0;
  for (const auto& weight : weights_) total += weight->size_bytes();
  return total;
}

void Projection::apply(Backend& backend, const LinearInput& input, int64_t rows, float* y,
                       bool accumulate) const {
  const int64_t stride = outputs();
  const float* bias = bias_ == nullptr ? nullptr : bias_->as<float>();
  for (const auto& weight : weights_) {
    backend.linear(*weight, bias, input, rows, y, accumulate, stride);
    y += weight->rows();
    if (bias != nullptr) bias += weight->rows();
  }
}

}  // namespace chatglm
