#include "backend/attention_plan.h"

#include <algorithm>

#include "base/ceil_div.h"

namespace chatglm {
namespace {

using kernels::AttentionTask;
using kernels::kAttentionPartition;

// As many tasks a thread, if there is enough work: the threads end within an eighth of each other.
constexpr int64_t kTasksPerThread = 8;
// Larger tasks decode keys and values less often; below this many product rows that costs more than
// threads that wait at the end.
constexpr int64_t kFewestProductRows = 64;

// Keeps the larger of the two.
void grow(HostMemory& memory, int64_t size_bytes) {
  if (size_bytes <= memory.size_bytes()) return;
  const int64_t larger = std::max(size_bytes, 2 * memory.size_bytes());
  memory = HostMemory();  // first, so that old and new never stand side by side
  memory = HostMemory(larger);
}

int64_t product_rows(const AttentionTask& task) {
  return task.num_rows * task.num_heads;
}

}  // namespace

void AttentionPlan::make(const kernels::PagedAttentionArgs& args) {
  whole_.clear();
  // Half a share each, since later rows see more: so that few tasks must be cut into partitions.
  const int64_t share = args.rows.rows * args.heads / (num_threads_ * kTasksPerThread * 2);
  most_product_rows_ =
      std::min(kernel_.most_product_rows(args),
               std::max(share / kFewestProductRows, int64_t{1}) * kFewestProductRows);
  const kernels::RaggedRows& rows = args.rows;
  for (int64_t first = 0, end = 0; first < rows.rows; first = end) {
    while (end < rows.rows && rows.sequence[end] == rows.sequence[first]) ++end;
    cut_rows(args, first, end - first);
  }
  cut_partitions(args.kv.head_dim);
  scratch_bytes_ = kernel_.scratch_bytes(args.kv.head_dim);
  grow(scratch_, num_threads_ * scratch_bytes_);
}

// Of one sequence: into tasks of all partitions.
void AttentionPlan::cut_rows(const kernels::PagedAttentionArgs& args, int64_t first_row,
                             int64_t num_rows) {
  const int64_t group = args.heads / args.kv.kv_heads;
  const int64_t most_heads = std::min(group, most_product_rows_);
  const int64_t most_rows = most_product_rows_ / most_heads;
  for (int64_t row = 0; row < num_rows; row += most_rows) {
    AttentionTask task{};
    task.first_row = first_row + row;
    task.num_rows = std::min(most_rows, num_rows - row);
    const int32_t* visible = args.rows.visible + task.first_row;
    const int64_t longest = *std::max_element(visible, visible + task.num_rows);
    task.num_partitions = ceil_div(longest, kAttentionPartition);
    for (int64_t head = 0; head < args.heads; head += task.num_heads) {
      task.first_head = head;
      task.num_heads = std::min(most_heads, group - head % group);
      whole_.push_back(task);
    }
  }
}

// So that no task is much longer than the others; most costly first.
void AttentionPlan::cut_partitions(int64_t head_dim) {
  int64_t steps = 0;  // product rows times partitions
  for (const AttentionTask& task : whole_) steps += product_rows(task) * task.num_partitions;
  cost_ = steps * kAttentionPartition * (2 * head_dim + kExpCost);
  const int64_t most_steps = ceil_div(steps, num_threads_ * kTasksPerThread);

  tasks_.clear();
  merges_.clear();
  int64_t partials_bytes = 0;
  for (const AttentionTask& task : whole_) {
    const int64_t most = std::max<int64_t>(1, most_steps / product_rows(task));
    if (num_threads_ == 1 || task.num_partitions <= most) {
      tasks_.push_back(task);
    } else {
      merges_.push_back(task);
      partials_bytes += task.num_partitions * kernel_.partial_bytes(product_rows(task), head_dim);
    }
  }
  grow(partials_, partials_bytes);
  std::byte* partials = partials_.data();
  for (AttentionTask& merge : merges_) {
    merge.partials = partials;
    const int64_t bytes = kernel_.partial_bytes(product_rows(merge), head_dim);
    const int64_t most = std::max<int64_t>(1, most_steps / product_rows(merge));
    const int64_t parts = ceil_div(merge.num_partitions, most);
    for (int64_t part = 0; part < parts; ++part) {
      AttentionTask task = merge;
      task.first_partition = part * merge.num_partitions / parts;
      task.num_partitions = (part + 1) * merge.num_partitions / parts - task.first_partition;
      task.partials = partials + task.first_partition * bytes;
      tasks_.push_back(task);
    }
    partials += merge.num_partitions * bytes;
  }
  std::sort(tasks_.begin(), tasks_.end(), [](const AttentionTask& a, const AttentionTask& b) {
    return product_rows(a) * a.num_partitions > product_rows(b) * b.num_partitions;
  });
}

}  // namespace chatglm
