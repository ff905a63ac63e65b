// A backend that computes as another one does and notes what every matrix is multiplied with: the
// sums from which a quantizer learns which columns matter. Knows no names: a matrix is known by
// where its values were read from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend/forwarding_backend.h"

namespace chatglm {

struct RecordedInputs {
  std::vector<const std::byte*> sources;  // TensorView::data of the matrix's parts; to compare
  int64_t rows = 0;                       // rows of inputs seen
  std::vector<double> sum_squares;        // (cols) over those rows
};

class RecordingBackend final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

  // Of every matrix, in the order of loading.
  std::vector<RecordedInputs> recorded() const;

  using ForwardingBackend::load_matrix;
  std::unique_ptr<Weight> load_matrix(std::span<const TensorView> parts, ReleaseHint after_rows,
                                      void* context) override;
  // Never repeated: every product downloads its inputs.
  void run_step(const StepShape& shape, const std::function<void()>& step) override {
    Backend::run_step(shape, step);
  }
  void linear(const Weight& weight, const float* bias, const LinearInput& input, int64_t rows,
              float* y, bool accumulate, int64_t y_stride) override;
  void linear_rotate_store(const Weight& weight, const float* bias, const LinearInput& input,
                           int64_t rows, float* y, const RotateAndStore& heads) override {
    Backend::linear_rotate_store(weight, bias, input, rows, y, heads);  // by linear() above
  }

 private:
  class RecordedWeight;

  // The rows that linear() would make: the input's own, or written to plain_rows_.
  const float* plain(const LinearInput& input, int64_t rows, int64_t cols);

  std::vector<std::unique_ptr<RecordedInputs>> recorded_;
  std::unique_ptr<Buffer> plain_rows_;  // (rows, cols) of the largest product so far
  std::vector<float> host_rows_;        // scratch: (rows, cols) of one product's inputs
};

}  // namespace chatglm
