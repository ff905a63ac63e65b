#include "model/lora.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace chatglm {
namespace {

constexpr int kMaxListed = 8;  // enough to see the pattern

std::string shape_text(const TensorView& tensor) {
  return "(" + std::to_string(tensor.rows) + ", " + std::to_string(tensor.cols) + ")";
}

// Of several targets of one name the one with as many outputs, else the first.
const LoraTarget* find_target(std::span<const LoraTarget> targets, const LoraPair& pair) {
  const LoraTarget* found = nullptr;
  for (const LoraTarget& target : targets) {
    if (target.name != pair.name) continue;
    if (target.rows == pair.b.rows) return &target;
    if (found == nullptr) found = &target;
  }
  return found;
}

int64_t rank_of(const LoraPair& pair) {
  return pair.b.cols;
}

// Empty: it fits.
std::string misfit(const LoraTarget* target, const LoraPair& pair) {
  if (target == nullptr) return pair.name + " is not a matrix of the model";
  const int64_t rank = rank_of(pair);
  const auto has_shape = [](const TensorView& tensor, int64_t rows, int64_t cols) {
    return tensor.rows == rows && tensor.cols == cols;
  };
  const bool fits_a = target->is_embedding ? has_shape(pair.a, target->cols, rank)
                                           : has_shape(pair.a, rank, target->cols);
  if (fits_a && has_shape(pair.b, target->rows, rank)) return "";
  return pair.name + " has the factors " + shape_text(pair.a) + " and " + shape_text(pair.b) +
         ", expected rank r and " +
         (target->is_embedding ? "(" + std::to_string(target->cols) + ", r)"
                               : "(r, " + std::to_string(target->cols) + ")") +
         " and (" + std::to_string(target->rows) + ", r)";
}

void append_run(std::vector<LoraRun>& runs, int32_t adapter, int64_t row) {
  if (adapter < 0) return;
  if (!runs.empty() && runs.back().adapter == adapter && runs.back().end == row) {
    ++runs.back().end;
  } else {
    runs.push_back({adapter, row, row + 1});
  }
}

}  // namespace

void LoraAdapters::add(std::span<const LoraTarget> targets, const LoraFile& file) {
  std::string problems;
  int num_problems = 0;
  for (const LoraPair& pair : file.pairs()) {
    const std::string problem = misfit(find_target(targets, pair), pair);
    if (problem.empty() || ++num_problems > kMaxListed) continue;
    problems += (num_problems == 1 ? "" : "; ") + problem;
  }
  if (num_problems > kMaxListed) {
    problems += "; and " + std::to_string(num_problems - kMaxListed) + " more";
  }
  if (num_problems > 0) {
    throw Error(ErrorKind::kModelFile,
                "the adapter does not fit the model (another base?): " + problems, file.where());
  }
  for (const LoraPair& pair : file.pairs()) {
    const LoraTarget& target = *find_target(targets, pair);
    if (target.matrix == nullptr) continue;
    Updates& updates = updates_[target.matrix];
    updates.resize(static_cast<std::size_t>(size_) + 1);
    updates.back().push_back(load(target, pair, file));
    max_rank_ = std::max(max_rank_, rank_of(pair));
  }
  ++size_;
  for (auto& [matrix, updates] : updates_) updates.resize(static_cast<std::size_t>(size_));
}

LoraAdapters::Update LoraAdapters::load(const LoraTarget& target, const LoraPair& pair,
                                        const LoraFile& file) {
  Update update;
  update.first_row = target.first_row;
  update.a = target.is_embedding ? backend_.load_table(pair.a) : backend_.load_matrix(pair.a);
  const float scale = file.scale(rank_of(pair));
  if (scale == 1.0f) {
    update.b = backend_.load_matrix(pair.b);
  } else {
    // The scale is put into B, which is f32 then: no rounding but that of one product.
    std::vector<float> values(static_cast<std::size_t>(pair.b.size()));
    dtype_info(pair.b.dtype).decode(pair.b.data, values.data(), pair.b.size());
    for (float& value : values) value *= scale;
    TensorView scaled = pair.b;
    scaled.dtype = DType::kF32;
    scaled.data = reinterpret_cast<const std::byte*>(values.data());
    update.b = backend_.load_matrix(scaled);
  }
  file.release(pair.a);
  file.release(pair.b);
  size_bytes_ += update.a->size_bytes() + update.b->size_bytes();
  return update;
}

void LoraAdapters::reserve(int64_t max_rows) {
  if (size_ == 0) return;
  low_rank_ = backend_.allocate(max_rows * max_rank_ * static_cast<int64_t>(sizeof(float)));
  row_runs_.reserve(static_cast<std::size_t>(max_rows));
  logit_runs_.reserve(static_cast<std::size_t>(max_rows));
}

void LoraAdapters::begin(const Batch& batch) {
  row_runs_.clear();
  logit_runs_.clear();
  if (size_ == 0 || batch.adapter.empty()) return;
  const auto adapter_of = [&](std::size_t row) {
    return batch.adapter[static_cast<std::size_t>(batch.sequence[row])];
  };
  for (std::size_t row = 0; row < batch.sequence.size(); ++row) {
    append_run(row_runs_, adapter_of(row), static_cast<int64_t>(row));
  }
  for (std::size_t index = 0; index < batch.logit_rows.size(); ++index) {
    append_run(logit_runs_, adapter_of(static_cast<std::size_t>(batch.logit_rows[index])),
               static_cast<int64_t>(index));
  }
}

template <typename FirstProduct>
void LoraAdapters::apply_runs(const void* matrix, std::span<const LoraRun> runs, float* y,
                              int64_t y_stride, const FirstProduct& first_product) {
  if (runs.empty()) return;
  const auto entry = updates_.find(matrix);
  if (entry == updates_.end()) return;
  float* const low_rank = low_rank_->as<float>();
  for (const LoraRun& run : runs) {
    for (const Update& update : entry->second[static_cast<std::size_t>(run.adapter)]) {
      first_product(update, run, low_rank);
      backend_.linear(*update.b, nullptr, low_rank, run.end - run.begin,
                      y + run.begin * y_stride + update.first_row, /*accumulate=*/true, y_stride);
    }
  }
}

void LoraAdapters::project(const Projection& projection, LinearInput input, int64_t rows, float* y,
                           bool accumulate, Buffer* plain_rows) {
  if (!row_runs_.empty() && !input.is_plain()) {
    backend_.make_plain(input, rows, projection.inputs(), plain_rows->as<float>());
    input = plain_rows->as<float>();
  }
  projection.apply(backend_, input, rows, y, accumulate);
  apply(&projection, row_runs_, input.x, y, projection.outputs());
}

void LoraAdapters::apply(const void* matrix, std::span<const LoraRun> runs, const float* x,
                         float* y, int64_t y_stride) {
  apply_runs(matrix, runs, y, y_stride,
             [&](const Update& update, const LoraRun& run, float* low_rank) {
               backend_.linear(*update.a, nullptr, x + run.begin * update.a->cols(),
                               run.end - run.begin, low_rank);
             });
}

void LoraAdapters::apply_embedding(const void* table, std::span<const LoraRun> runs,
                                   const int32_t* row_ids, float* y, int64_t y_stride) {
  apply_runs(table, runs, y, y_stride,
             [&](const Update& update, const LoraRun& run, float* low_rank) {
               backend_.embed(*update.a, row_ids + run.begin, run.end - run.begin, low_rank);
             });
}

}  // namespace chatglm
