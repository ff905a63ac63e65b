// See recording_backend.h.
#include "backend/recording_backend.h"

#include <utility>

namespace chatglm {

// The other backend's matrix, and where its inputs are noted.
class RecordingBackend::RecordedWeight final : public Weight {
 public:
  RecordedWeight(std::unique_ptr<Weight> inner, RecordedInputs& inputs)
      : Weight(inner->rows(), inner->cols(), inner->dtype(), inner->size_bytes()),
        inner_(std::move(inner)),
        inputs_(inputs) {}
  const Weight& inner() const { return *inner_; }
  RecordedInputs& inputs() const { return inputs_; }

 private:
  std::unique_ptr<Weight> inner_;
  RecordedInputs& inputs_;  // the backend's, which outlives its weights
};

std::vector<RecordedInputs> RecordingBackend::recorded() const {
  std::vector<RecordedInputs> copies;
  for (const auto& inputs : recorded_) copies.push_back(*inputs);
  return copies;
}

std::unique_ptr<Weight> RecordingBackend::load_matrix(std::span<const TensorView> parts,
                                                      ReleaseHint after_rows, void* context) {
  std::unique_ptr<Weight> inner = ForwardingBackend::load_matrix(parts, after_rows, context);
  RecordedInputs inputs;
  for (const TensorView& part : parts) inputs.sources.push_back(part.data);
  inputs.sum_squares.resize(static_cast<std::size_t>(inner->cols()));
  recorded_.push_back(std::make_unique<RecordedInputs>(std::move(inputs)));
  return std::make_unique<RecordedWeight>(std::move(inner), *recorded_.back());
}

const float* RecordingBackend::plain(const LinearInput& input, int64_t rows, int64_t cols) {
  if (input.is_plain()) return input.x;
  const int64_t size_bytes = rows * cols * static_cast<int64_t>(sizeof(float));
  if (plain_rows_ == nullptr || plain_rows_->size_bytes() < size_bytes) {
    plain_rows_ = allocate(size_bytes);
  }
  make_plain(input, rows, cols, plain_rows_->as<float>());
  return plain_rows_->as<float>();
}

void RecordingBackend::linear(const Weight& weight, const float* bias, const LinearInput& input,
                              int64_t rows, float* y, bool accumulate, int64_t y_stride) {
  const auto& recorded = static_cast<const RecordedWeight&>(weight);
  const float* const x = plain(input, rows, weight.cols());
  const auto cols = static_cast<std::size_t>(weight.cols());
  host_rows_.resize(static_cast<std::size_t>(rows) * cols);
  download(host_rows_.data(), x, static_cast<int64_t>(host_rows_.size() * sizeof(float)));
  RecordedInputs& inputs = recorded.inputs();
  inputs.rows += rows;
  for (std::size_t start = 0; start < host_rows_.size(); start += cols) {
    for (std::size_t col = 0; col < cols; ++col) {
      const double value = host_rows_[start + col];
      inputs.sum_squares[col] += value * value;
    }
  }
  ForwardingBackend::linear(recorded.inner(), bias, x, rows, y, accumulate, y_stride);
}

}  // namespace chatglm
