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
  const float* part_bias = bias();
  for (const auto& weight : weights_) {
    backend.linear(*weight, part_bias, input, rows, y, accumulate, stride);
    y += weight->rows();
    if (part_bias != nullptr) part_bias += weight->rows();
  }
}

void Projection::apply_and_store(Backend& backend, const LinearInput& input, int64_t rows, float* y,
                                 const RotateAndStore& heads) const {
  if (weights_.size() == 1) {
    return backend.linear_rotate_store(*weights_.front(), bias(), input, rows, y, heads);
  }
  apply(backend, input, rows, y);
  backend.rotate_and_store(heads);
}

}  // namespace chatglm
