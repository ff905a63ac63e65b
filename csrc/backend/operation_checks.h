// What every backend checks of the arguments of its operations, so that all refuse the same in the
// same words: each throws Error{kInvalidArgument} naming the operation. Knows no device.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "backend/backend.h"

namespace chatglm {

[[noreturn]] void fail_operation(const char* operation, const std::string& message);
// A product for whose inputs reserve() made no room.
[[noreturn]] void fail_unreserved(int64_t rows, int64_t cols);

void check_loadable(const TensorView& view, const char* operation);
// Of load_matrix; returns the rows of all parts together.
int64_t check_stackable(std::span<const TensorView> parts);
void check_reserve(int64_t rows, int64_t cols);
void check_batch(const Batch& batch);
void check_row_ids(std::span<const int32_t> row_ids, int64_t table_rows);
// The y_stride that is meant.
int64_t checked_stride(const Weight& weight, int64_t y_stride);
void check_rope_table(const kernels::RopeTableArgs& args);
void check_rope(const kernels::RopeArgs& args);
void check_kv(const kernels::PagedKvView& kv, int64_t layer, const char* operation);
void check_attention(const kernels::PagedAttentionArgs& args);

}  // namespace chatglm
