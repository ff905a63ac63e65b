#include "model/weight_binder.h"

#include <utility>

#include "base/error.h"

namespace chatglm {
namespace {

std::string shape_text(int64_t rows, int64_t cols) {
  return "(" + std::to_string(rows) + ", " + std::to_string(cols) + ")";
}

void release_part(void* context, const TensorView& part) {
  static_cast<TensorSource*>(context)->release(part);
}

}  // namespace

void WeightBinder::matrix(std::string name, int64_t rows, int64_t cols,
                          std::unique_ptr<Weight>& target) {
  bindings_.push_back({Use::kMatrix, std::move(name), rows, cols, &target, nullptr});
}

void WeightBinder::table(std::string name, int64_t rows, int64_t cols,
                         std::unique_ptr<Weight>& target) {
  bindings_.push_back({Use::kTable, std::move(name), rows, cols, &target, nullptr});
}

void WeightBinder::vector(std::string name, int64_t size, std::unique_ptr<Buffer>& target) {
  bindings_.push_back({Use::kVector, std::move(name), 1, size, nullptr, &target});
}

int64_t WeightBinder::check_all() const {
  constexpr int kMaxListed = 8;  // enough to see the pattern
  std::string problems;
  int num_problems = 0;
  int64_t total_bytes = 0;
  for (const Binding& binding : bindings_) {
    const auto found = source_.find(binding.name);
    if (found && found->rows == binding.rows && found->cols == binding.cols) {
      total_bytes += found->size_bytes();
      continue;
    }
    if (++num_problems > kMaxListed) continue;
    problems += (num_problems == 1 ? "" : "; ") + binding.name;
    problems += found ? " has shape " + shape_text(found->rows, found->cols) + ", expected " +
                            shape_text(binding.rows, binding.cols)
                      : " is missing";
  }
  if (num_problems > kMaxListed) {
    problems += "; and " + std::to_string(num_problems - kMaxListed) + " more";
  }
  if (num_problems > 0) {
    throw Error(ErrorKind::kModelFile,
                std::to_string(num_problems) + " tensors do not fit the configuration: " + problems,
                source_.description());
  }
  return total_bytes;
}

void WeightBinder::load_one(const Binding& binding) {
  const TensorView tensor = source_.fetch(binding.name);
  switch (binding.use) {
    case Use::kMatrix:
      *binding.weight = backend_.load_matrix(tensor, release_part, &source_);
      break;
    case Use::kTable:
      *binding.weight = backend_.load_table(tensor, release_part, &source_);
      break;
    case Use::kVector: {
      std::vector<float> values(static_cast<std::size_t>(tensor.cols));
      dtype_info(tensor.dtype).decode(tensor.data, values.data(), tensor.cols);
      const auto size_bytes = static_cast<int64_t>(values.size() * sizeof(float));
      *binding.buffer = backend_.allocate(size_bytes);
      backend_.upload((*binding.buffer)->data(), values.data(), size_bytes);
      source_.release(tensor);
      break;
    }
  }
}

void WeightBinder::load(const LoadProgress& progress) {
  const int64_t total_bytes = check_all();
  int64_t done_bytes = 0;
  for (const Binding& binding : bindings_) {
    load_one(binding);
    done_bytes += source_.find(binding.name)->size_bytes();
    if (progress) progress(static_cast<double>(done_bytes) / static_cast<double>(total_bytes));
  }
}

}  // namespace chatglm
