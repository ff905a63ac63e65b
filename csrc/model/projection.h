// A linear layer as the forward pass wants it, y = x W^T (+ b), whose W a file may hold in one
// matrix or in several, one below the other, even of different storage types.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.h"

namespace chatglm {

class Projection {
 public:
  int64_t outputs() const;
  int64_t inputs() const { return weights_.front()->cols(); }
  int64_t size_bytes() const;  // of the weights, as packed
  // y (rows, outputs) = input (rows, inputs) W^T + b, or added to y where accumulate.
  void apply(Backend& backend, const LinearInput& input, int64_t rows, float* y,
             bool accumulate = false) const;
  // The same of queries, keys and values, which `heads` names in y, and rotates and stores them.
  void apply_and_store(Backend& backend, const LinearInput& input, int64_t rows, float* y,
                       const RotateAndStore& heads) const;

 private:
  friend class WeightBinder;  // fills it
  const float* bias() const { return bias_ == nullptr ? nullptr : bias_->as<float>(); }

  std::vector<std::unique_ptr<Weight>>
      weights_;                   // one below the other: columns of y, left to right
  std::unique_ptr<Buffer> bias_;  // (outputs) or nullptr
};

}  // namespace chatglm
