#include "model/prefix.h"

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"

namespace chatglm {
namespace {

std::string tensor_name(int64_t layer, const char* kind) {
  return "blk." + std::to_string(layer) + ".attn_prefix_" + kind;
}

void check(const ModelConfig& config, TensorSource& source) {
  const int64_t rows = config.prefix_length, cols = config.num_kv_heads * config.head_dim;
  std::string problems;
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    for (const char* kind : {"k", "v"}) {
      const std::string name = tensor_name(layer, kind);
      const auto found = source.find(name);
      if (found && found->rows == rows && found->cols == cols) continue;
      problems += (problems.empty() ? "" : "; ") + name +
                  (found ? " has shape (" + std::to_string(found->rows) + ", " +
                               std::to_string(found->cols) + ")"
                         : " is missing");
    }
  }
  if (problems.empty()) return;
  throw Error(ErrorKind::kModelFile,
              "the trained prefix does not fit the configuration, expected tensors of shape (" +
                  std::to_string(rows) + ", " + std::to_string(cols) + "): " + problems,
              source.description());
}

std::unique_ptr<Buffer> load_rows(TensorSource& source, Backend& backend, const std::string& name) {
  const TensorView tensor = source.fetch(name);
  std::vector<float> values(static_cast<std::size_t>(tensor.size()));
  dtype_info(tensor.dtype).decode(tensor.data, values.data(), tensor.size());
  source.release(tensor);
  const auto size_bytes = static_cast<int64_t>(values.size() * sizeof(float));
  std::unique_ptr<Buffer> buffer = backend.allocate(size_bytes);
  backend.upload(buffer->data(), values.data(), size_bytes);
  return buffer;
}

}  // namespace

void store_prefix(const ModelConfig& config, TensorSource& source, const Placement& placement,
                  std::span<const kernels::PagedKvView> kv, std::span<const int32_t> pages) {
  check(config, source);
  const auto rows = static_cast<std::size_t>(config.prefix_length);
  std::vector<int32_t> slots(rows), visible(rows);
  const std::vector<int32_t> zeros(rows);
  std::iota(slots.begin(), slots.end(), 0);
  std::iota(visible.begin(), visible.end(), 1);
  const PromptLayout layout;
  const Batch batch{.token_ids = zeros,
                    .positions = slots,
                    .slots = slots,
                    .visible = visible,
                    .sequence = zeros,
                    .layouts = {&layout, 1},
                    .block_table = pages,
                    .block_table_stride = static_cast<int64_t>(pages.size()),
                    .logit_rows = {}};
  auto view = kv.begin();
  for (const PlacedLayers& placed : placement.of(config.num_layers)) {
    Backend& backend = *placed.backend;
    const StagedBatch staged = backend.stage(batch);
    for (int64_t layer = placed.begin; layer < placed.end; ++layer) {
      const auto keys = load_rows(source, backend, tensor_name(layer, "k"));
      const auto values = load_rows(source, backend, tensor_name(layer, "v"));
      backend.kv_store({.keys = keys->as<float>(),
                        .values = values->as<float>(),
                        .row_stride = config.num_kv_heads * config.head_dim,
                        .layer = layer - placed.begin,
                        .kv = *view,
                        .rows = staged.rows});
    }
    ++view;
  }
}

}  // namespace chatglm
