#include "model/weight_binder.h"

#include <utility>

#include "base/error.h"

namespace chatglm {
namespace {

// So much of a file is asked for ahead of what is being packed: enough to keep a disk busy.
constexpr int64_t kReadAheadBytes = int64_t{64} << 20;

std::string shape_text(int64_t rows, int64_t cols) {
  return "(" + std::to_string(rows) + ", " + std::to_string(cols) + ")";
}

void release_part(void* context, const TensorView& part) {
  static_cast<TensorSource*>(context)->release(part);
}

}  // namespace

void WeightBinder::matrix(std::string name, int64_t rows, int64_t cols,
                          std::unique_ptr<Weight>& target) {
  bindings_.push_back({.use = Use::kMatrix, .parts = {{std::move(name), rows}}, .cols = cols});
  bindings_.back().weight = &target;
}

void WeightBinder::table(std::string name, int64_t rows, int64_t cols,
                         std::unique_ptr<Weight>& target) {
  bindings_.push_back({.use = Use::kTable, .parts = {{std::move(name), rows}}, .cols = cols});
  bindings_.back().weight = &target;
}

void WeightBinder::vector(std::string name, int64_t size, std::unique_ptr<Buffer>& target) {
  bindings_.push_back({.use = Use::kVector, .parts = {{std::move(name), size}}, .cols = 0});
  bindings_.back().buffer = &target;
}

void WeightBinder::projection(std::vector<TensorPart> parts, int64_t cols, Projection& target) {
  bindings_.push_back({.use = Use::kProjection, .parts = std::move(parts), .cols = cols});
  bindings_.back().projection = &target;
}

void WeightBinder::bias(std::vector<TensorPart> parts, Projection& target) {
  bindings_.push_back({.use = Use::kVector, .parts = std::move(parts), .cols = 0});
  bindings_.back().buffer = &target.bias_;
}

int64_t WeightBinder::check_all() const {
  constexpr int kMaxListed = 8;  // enough to see the pattern
  std::string problems;
  int num_problems = 0;
  int64_t total_bytes = 0;
  for (const Binding& binding : bindings_) {
    for (const TensorPart& part : binding.parts) {
      const bool is_vector = binding.use == Use::kVector;
      const int64_t rows = is_vector ? 1 : part.rows, cols = is_vector ? part.rows : binding.cols;
      const auto found = source_.find(part.name);
      if (found && found->rows == rows && found->cols == cols) {
        total_bytes += found->size_bytes();
        continue;
      }
      if (++num_problems > kMaxListed) continue;
      problems += (num_problems == 1 ? "" : "; ") + part.name;
      problems += found ? " has shape " + shape_text(found->rows, found->cols) + ", expected " +
                              shape_text(rows, cols)
                        : " is missing";
    }
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
  switch (binding.use) {
    case Use::kMatrix:
      *binding.weight =
          backend_.load_matrix(source_.fetch(binding.parts[0].name), release_part, &source_);
      break;
    case Use::kTable:
      *binding.weight =
          backend_.load_table(source_.fetch(binding.parts[0].name), release_part, &source_);
      break;
    case Use::kVector:
      load_vector(binding);
      break;
    case Use::kProjection:
      load_projection(binding);
      break;
  }
}

void WeightBinder::load_vector(const Binding& binding) {
  std::vector<float> values;
  for (const TensorPart& part : binding.parts) {
    const TensorView tensor = source_.fetch(part.name);
    values.resize(values.size() + static_cast<std::size_t>(part.rows));
    dtype_info(tensor.dtype).decode(tensor.data, &*(values.end() - part.rows), part.rows);
    source_.release(tensor);
  }
  const auto size_bytes = static_cast<int64_t>(values.size() * sizeof(float));
  *binding.buffer = backend_.allocate(size_bytes);
  backend_.upload((*binding.buffer)->data(), values.data(), size_bytes);
}

void WeightBinder::load_projection(const Binding& binding) {
  std::vector<TensorView> run;  // neighbours of one type
  const auto load_run = [&] {
    binding.projection->weights_.push_back(backend_.load_matrix(run, release_part, &source_));
    run.clear();
  };
  for (const TensorPart& part : binding.parts) {
    const TensorView tensor = source_.fetch(part.name);
    if (!run.empty() && run.back().dtype != tensor.dtype) load_run();
    run.push_back(tensor);
  }
  load_run();
}

int64_t WeightBinder::size_of(const Binding& binding) const {
  int64_t size_bytes = 0;
  for (const TensorPart& part : binding.parts) size_bytes += source_.find(part.name)->size_bytes();
  return size_bytes;
}

void WeightBinder::load(const LoadProgress& progress) {
  const int64_t total_bytes = check_all();
  int64_t done_bytes = 0, asked_bytes = 0;
  auto next_asked = bindings_.begin();
  for (const Binding& binding : bindings_) {
    while (next_asked != bindings_.end() && asked_bytes <= done_bytes + kReadAheadBytes) {
      for (const TensorPart& part : next_asked->parts) source_.will_need(part.name);
      asked_bytes += size_of(*next_asked++);
    }
    load_one(binding);
    done_bytes += size_of(binding);
    if (progress) progress(static_cast<double>(done_bytes) / static_cast<double>(total_bytes));
  }
}

}  // namespace chatglm
