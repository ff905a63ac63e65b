// A CPU backend for tests that compare bit by bit, or to f32's precision, what may be computed
// among few rows and among many: the best one here whose products do not round many rows to bf16.
#pragma once

#include <algorithm>
#include <limits>
#include <memory>

#include "backend/cpu_backend.h"

namespace chatglm::test {

inline bool rounds_many_rows(const kernels::KernelTable& table) {
  return std::any_of(table.linear.begin(), table.linear.end(), [](const auto& kernel) {
    return kernel.rows_before_bf16 != std::numeric_limits<int64_t>::max();
  });
}

inline std::unique_ptr<Backend> exact_backend(int num_threads) {
  const kernels::KernelTable* best = &kernels::select_kernel_table();
  for (const kernels::KernelTable* table : kernels::all_kernel_tables()) {
    if (!rounds_many_rows(*best)) break;
    if (table->supported()) best = table;
  }
  return make_cpu_backend(num_threads, *best);
}

}  // namespace chatglm::test
