// See runner.h.
#include "engine/runner.h"

#include <algorithm>
#include <utility>

namespace chatglm {

Runner::Runner(Model& model, Backend& backend, int64_t max_rows, int64_t max_logit_rows,
               const CachePrefix& prefix)
    : model_(model), backend_(backend), max_logit_rows_(max_logit_rows), prefix_(prefix) {
  model_.reserve(max_rows, max_logit_rows);
  token_ids_.reserve(static_cast<std::size_t>(max_rows));
  positions_.reserve(static_cast<std::size_t>(max_rows));
  slots_.reserve(static_cast<std::size_t>(max_rows));
  visible_.reserve(static_cast<std::size_t>(max_rows));
  sequence_.reserve(static_cast<std::size_t>(max_rows));
  logit_rows_.reserve(static_cast<std::size_t>(max_logit_rows));
}

void Runner::run(std::span<const Chunk> chunks, PagedKv& kv) {
  pack(chunks);
  kv.grow(num_pages_);
  for (const Chunk& chunk : chunks) {
    if (!std::exchange(chunk.sequence->needs_prefix_tail, false)) continue;
    kv.write_page(chunk.sequence->pages[prefix_.pages.size()], prefix_.tail);
  }
  const Batch batch{.token_ids = token_ids_,
                    .positions = positions_,
                    .slots = slots_,
                    .visible = visible_,
                    .sequence = sequence_,
                    .layouts = layouts_,
                    .block_table = block_table_,
                    .block_table_stride = block_table_stride_,
                    .logit_rows = logit_rows_,
                    .adapter = adapter_};
  model_.forward(batch, kv.views());
}

std::span<const Choice> Runner::choose(std::span<const int32_t> rows,
                                       std::span<const ChoiceRule> rules) {
  choices_.resize(rows.size());
  if (!rows.empty()) {
    backend_.choose(model_.logits(), model_.config().vocab_size, rows, rules, choices_);
  }
  return choices_;
}

void Runner::download(int64_t first_row, int64_t count) {
  constexpr auto kFloatBytes = static_cast<int64_t>(sizeof(float));
  const int64_t vocab_size = model_.config().vocab_size;
  if (logits_ == nullptr) {
    logits_ = backend_.allocate_host(max_logit_rows_ * vocab_size * kFloatBytes);
  }
  const int64_t begin = first_row * vocab_size;
  backend_.download(logits_->as<float>() + begin, model_.logits() + begin,
                    count * vocab_size * kFloatBytes);
}

std::span<const float> Runner::downloaded(int64_t first_row, int64_t count) const {
  const int64_t vocab_size = model_.config().vocab_size;
  return {logits_->as<float>() + first_row * vocab_size,
          static_cast<std::size_t>(count * vocab_size)};
}

int64_t Runner::pages_of(const Chunk& chunk) const {
  return (prefix_.length + chunk.end + PagedKv::kPageTokens - 1) / PagedKv::kPageTokens;
}

void Runner::pack(std::span<const Chunk> chunks) {
  token_ids_.clear();
  positions_.clear();
  slots_.clear();
  visible_.clear();
  sequence_.clear();
  layouts_.clear();
  adapter_.clear();
  logit_rows_.clear();
  block_table_stride_ = 0;
  num_pages_ = 0;
  for (const Chunk& chunk : chunks) {
    block_table_stride_ = std::max(block_table_stride_, pages_of(chunk));
  }
  block_table_.assign(chunks.size() * static_cast<std::size_t>(block_table_stride_), kNoPage);

  auto table_row = block_table_.begin();
  for (std::size_t index = 0; index < chunks.size(); ++index) {
    const Chunk& chunk = chunks[index];
    layouts_.push_back(chunk.sequence->layout);
    for (int64_t position = chunk.begin; position < chunk.end; ++position) {
      if (position >= chunk.first_logit && position < chunk.end_logit) {
        logit_rows_.push_back(static_cast<int32_t>(token_ids_.size()));
      }
      token_ids_.push_back(chunk.sequence->token(position));
      positions_.push_back(static_cast<int32_t>(prefix_.first_position + position));
      slots_.push_back(static_cast<int32_t>(prefix_.length + position));
      visible_.push_back(
          static_cast<int32_t>(prefix_.length + chunk.sequence->visible_from(position)));
      sequence_.push_back(static_cast<int32_t>(index));
    }
    adapter_.push_back(chunk.sequence->adapter);
    const std::vector<PageId>& pages = chunk.sequence->pages;
    const auto pages_end = pages.begin() + pages_of(chunk);
    std::copy(pages.begin(), pages_end, table_row);
    table_row += block_table_stride_;
    num_pages_ = std::max<int64_t>(num_pages_, *std::max_element(pages.begin(), pages_end) + 1);
  }
}

}  // namespace chatglm
