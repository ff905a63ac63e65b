// The CPU as a Backend: host memory, a thread pool, and the kernel table of one instruction set.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "backend/registry.h"
#include "kernels/cpu/kernel_table.h"

namespace chatglm {

// With the best kernel table of this CPU (or the one forced by CHATGLM_ISA).
std::unique_ptr<Backend> create_cpu_backend(const BackendOptions& options);

// With a given table, which this CPU supports. num_threads: 0 means default_num_threads().
std::unique_ptr<Backend> make_cpu_backend(int num_threads, const kernels::KernelTable& table);

}  // namespace chatglm
