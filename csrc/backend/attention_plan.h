// Cuts one attention over a ragged batch into tasks for the threads, and owns the memory that the
// tasks work in. Knows the shape of the work, not how it is computed.
#pragma once

#include <span>
#include <vector>

#include "backend/host_memory.h"
#include "kernels/cpu/kernel_table.h"

namespace chatglm {

// Costs of work are counted in multiply-adds, about; that many is one exp worth.
inline constexpr int64_t kExpCost = 16;

class AttentionPlan {
 public:
  explicit AttentionPlan(const kernels::AttentionKernel& kernel, int num_threads)
      : kernel_(kernel), num_threads_(num_threads) {}

  // Memory grows to the largest batch and context seen; a call no larger than one before allocates
  // nothing. Throws Error{kDevice} where there is none.
  void make(const kernels::PagedAttentionArgs& args);

  // In any order and at the same time, the costly ones first.
  std::span<const kernels::AttentionTask> tasks() const { return tasks_; }
  // After all tasks: the rows whose partitions were cut apart.
  std::span<const kernels::AttentionTask> merges() const { return merges_; }
  int64_t cost() const { return cost_; }  // of all, in multiply-adds
  std::byte* scratch(int thread) const { return scratch_.data() + thread * scratch_bytes_; }

 private:
  void cut_rows(const kernels::PagedAttentionArgs& args, int64_t first_row, int64_t num_rows);
  void cut_partitions(int64_t head_dim);

  const kernels::AttentionKernel& kernel_;
  const int num_threads_;
  std::vector<kernels::AttentionTask> whole_, tasks_, merges_;
  int64_t most_product_rows_ = 0;  // of a task
  int64_t cost_ = 0;
  int64_t scratch_bytes_ = 0;  // of one thread
  HostMemory scratch_;         // (threads, scratch_bytes_)
  HostMemory partials_;
};

}  // namespace chatglm
