#include "backend/operation_checks.h"

#include <utility>

#include "base/error.h"

namespace chatglm {
namespace {

std::string shape(int64_t rows, int64_t cols) {
  return "(" + std::to_string(rows) + ", " + std::to_string(cols) + ")";
}

}  // namespace

void fail_operation(const char* operation, const std::string& message) {
  throw Error(ErrorKind::kInvalidArgument, message, operation);
}

void fail_unreserved(int64_t rows, int64_t cols) {
  fail_operation("linear",
                 "no scratch space for inputs of shape " + shape(rows, cols) + "; reserve() more");
}

void check_loadable(const TensorView& view, const char* operation) {
  const DTypeInfo& type = dtype_info(view.dtype);
  if (view.rows <= 0 || view.cols <= 0 || view.data == nullptr) {
    fail_operation(operation, "expected a tensor with data, found one of shape " +
                                  shape(view.rows, view.cols));
  }
  if (view.cols % type.block_elements != 0) {
    fail_operation(operation, "expected rows of a multiple of " +
                                  std::to_string(type.block_elements) + " elements (" +
                                  std::string(type.name) + "), found shape " +
                                  shape(view.rows, view.cols));
  }
}

int64_t check_stackable(std::span<const TensorView> parts) {
  if (parts.empty()) fail_operation("load_matrix", "expected a matrix, found none");
  int64_t rows = 0;
  for (const TensorView& part : parts) {
    check_loadable(part, "load_matrix");
    if (part.dtype != parts[0].dtype || part.cols != parts[0].cols) {
      fail_operation("load_matrix", "expected parts of one type and width, found " +
                                        std::string(dtype_info(parts[0].dtype).name) + " " +
                                        shape(parts[0].rows, parts[0].cols) + " and " +
                                        std::string(dtype_info(part.dtype).name) + " " +
                                        shape(part.rows, part.cols));
    }
    rows += part.rows;
  }
  return rows;
}

void check_reserve(int64_t rows, int64_t cols) {
  if (rows < 0 || cols < 0) {
    fail_operation("reserve", "found a negative size " + shape(rows, cols));
  }
}

void check_batch(const Batch& batch) {
  const std::size_t rows = batch.token_ids.size();
  const std::pair<const char*, std::span<const int32_t>> row_arrays[] = {
      {"position", batch.positions},
      {"slot", batch.slots},
      {"number of visible slots", batch.visible},
      {"sequence", batch.sequence}};
  for (const auto& [name, values] : row_arrays) {
    if (values.size() == rows) continue;
    fail_operation("stage", "expected a " + std::string(name) + " for each of " +
                                std::to_string(rows) + " tokens, found " +
                                std::to_string(values.size()));
  }
}

void check_row_ids(std::span<const int32_t> row_ids, int64_t table_rows) {
  for (const int32_t row : row_ids) {
    if (row >= 0 && row < table_rows) continue;
    fail_operation("embed", "row " + std::to_string(row) + " is outside of a table of " +
                                std::to_string(table_rows) + " rows");
  }
}

int64_t checked_stride(const Weight& weight, int64_t y_stride) {
  const int64_t stride = y_stride == 0 ? weight.rows() : y_stride;
  if (stride < weight.rows()) {
    fail_operation("linear", "expected rows of at least " + std::to_string(weight.rows()) +
                                 " outputs, found a y_stride of " + std::to_string(stride));
  }
  return stride;
}

void check_rope_table(const kernels::RopeTableArgs& args) {
  if (args.rotary_dim <= 0 || args.rotary_dim % 2 != 0) {
    fail_operation("rope_table",
                   "expected an even rotary_dim, found " + std::to_string(args.rotary_dim));
  }
}

void check_rope(const kernels::RopeArgs& args) {
  if (args.rotary_dim % 2 != 0 || args.rotary_dim > args.head_dim) {
    fail_operation("rope", "expected an even rotary_dim of at most head_dim " +
                               std::to_string(args.head_dim) + ", found " +
                               std::to_string(args.rotary_dim));
  }
  if (args.pair_span <= 0 || args.pair_span % 2 != 0 || args.rotary_dim % args.pair_span != 0) {
    fail_operation("rope", "expected pairs within an even divisor of rotary_dim " +
                               std::to_string(args.rotary_dim) + ", found " +
                               std::to_string(args.pair_span));
  }
}

void check_kv(const kernels::PagedKvView& kv, int64_t layer, const char* operation) {
  if (layer < 0 || layer >= kv.num_layers) {
    fail_operation(operation, "layer " + std::to_string(layer) + " is outside of a KV cache of " +
                                  std::to_string(kv.num_layers) + " layers");
  }
  if (kv.head_dim % dtype_info(kv.dtype).block_elements != 0) {
    fail_operation(operation, "head_dim " + std::to_string(kv.head_dim) +
                                  " is not possible in a KV cache of " +
                                  std::string(dtype_info(kv.dtype).name));
  }
}

void check_attention(const kernels::PagedAttentionArgs& args) {
  check_kv(args.kv, args.layer, "paged_attention");
  if (args.kv.kv_heads <= 0 || args.heads % args.kv.kv_heads != 0) {
    fail_operation("paged_attention", "expected a multiple of " + std::to_string(args.kv.kv_heads) +
                                          " KV heads, found " + std::to_string(args.heads) +
                                          " heads");
  }
  if (args.kv.head_dim > kernels::kMaxAttentionHeadDim) {
    fail_operation("paged_attention", "expected a head_dim of at most " +
                                          std::to_string(kernels::kMaxAttentionHeadDim) +
                                          ", found " + std::to_string(args.kv.head_dim));
  }
}

}  // namespace chatglm
