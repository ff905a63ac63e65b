// Brings the rows of stored matrices into memory of a CPU backend, all threads at once. Owns
// nothing.
#pragma once

#include <span>

#include "backend/backend.h"
#include "base/thread_pool.h"
#include "kernels/cpu/kernel_table.h"

namespace chatglm {

// Packs the rows of `parts`, one below the other (one type, one number of columns), for `kernel`
// into packed (panels, panel_bytes). The panels a thread writes are those that parallel_for gives
// it for as many panels in a product. after_rows, unless nullptr, is called by all threads, for
// rows that were packed.
void pack_rows(ThreadPool& threads, const kernels::LinearKernel& kernel,
               std::span<const TensorView> parts, std::byte* packed,
               Backend::ReleaseHint after_rows, void* context);

// The same for rows that are kept as they are, in destination (table.size_bytes()).
void copy_rows(ThreadPool& threads, const TensorView& table, std::byte* destination,
               Backend::ReleaseHint after_rows, void* context);

}  // namespace chatglm
