// A model whose logits are a hash of what it finds in the KV cache, so that any mistake in pages,
// positions or reuse changes the tokens. Shared by the engine's tests.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/error.h"
#include "model/model.h"

namespace chatglm::testing_support {

inline uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t value = (a ^ (b + 0x9e3779b97f4a7c15u)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

inline constexpr int64_t kFakeVocab = 61;
inline constexpr int32_t kPoison = 13;  // a sequence with this token in it gets NaN logits
// Of the bidirectional model: the tokens of a prompt before the first of these see each other, and
// a prompt with the second one is refused.
inline constexpr int32_t kContextEnd = 14;
inline constexpr int32_t kRefused = 15;

// Two layers: the first stores what token stands where, the second what all of the first looks like
// from there. Logits are a hash of the second.
class FakeModel final : public Model {
 public:
  explicit FakeModel(int64_t max_length = 1024, bool bidirectional = false,
                     int64_t prefix_length = 0) {
    config_.prefix_length = prefix_length;
    config_.bidirectional_context = bidirectional;
    config_.architecture = "fake";
    config_.vocab_size = kFakeVocab;
    config_.num_layers = 2;
    config_.num_kv_heads = 1;
    config_.head_dim = 8;
    config_.max_length = max_length;
  }

  static int64_t page_bytes() { return 2 * 2 * PagedKv::kPageTokens * 8 * 2; }  // in f16

  const ModelConfig& config() const override { return config_; }
  PromptLayout prompt_layout(std::span<const int32_t> prompt) const override {
    return config_.bidirectional_context ? layout_of(prompt) : PromptLayout{};
  }
  static PromptLayout layout_of(std::span<const int32_t> prompt) {
    if (std::find(prompt.begin(), prompt.end(), kRefused) != prompt.end()) {
      throw Error(ErrorKind::kInvalidArgument, "this prompt is refused");
    }
    const auto end = std::find(prompt.begin(), prompt.end(), kContextEnd);
    if (end == prompt.end()) return {};
    return {static_cast<int32_t>(end - prompt.begin()), 7};
  }
  int64_t decode_weight_bytes() const override { return 0; }
  void reserve(int64_t max_rows, int64_t max_logit_rows) override {
    max_rows_ = max_rows;
    max_logit_rows_ = max_logit_rows;
  }

  void forward(const Batch& batch, std::span<const kernels::PagedKvView> parts) override {
    const kernels::PagedKvView& kv = parts.front();
    if (on_forward) on_forward(batch);
    check(batch);
    for (int64_t row = 0; row < batch.rows(); ++row) {
      const int32_t slot = batch.slots[static_cast<std::size_t>(row)];
      const auto token = static_cast<uint32_t>(batch.token_ids[static_cast<std::size_t>(row)]);
      store(batch, kv, 0, row, slot, mix(token, static_cast<uint64_t>(slot)));
    }
    for (int64_t row = 0; row < batch.rows(); ++row) {
      const int32_t slot = batch.slots[static_cast<std::size_t>(row)];
      store(batch, kv, 1, row, slot, seen_from(batch, kv, 0, row));
    }
    logits_.resize(batch.logit_rows.size() * static_cast<std::size_t>(kFakeVocab));
    float* logits = logits_.data();
    for (int32_t row : batch.logit_rows) {
      write_logits(seen_from(batch, kv, 1, row), {logits, static_cast<std::size_t>(kFakeVocab)});
      if (is_poisoned(batch, kv, row)) logits[5] = std::numeric_limits<float>::quiet_NaN();
      logits += kFakeVocab;
    }
    ++num_forwards;
  }

  const float* logits() const override { return logits_.data(); }

  // The same logits of position `at`, computed from the tokens alone.
  static std::vector<float> expected_logits(std::span<const int32_t> tokens, std::size_t at,
                                            const PromptLayout& layout = {}) {
    const auto visible = [&](std::size_t position) {
      return std::max(static_cast<std::size_t>(layout.bidirectional_tokens), position + 1);
    };
    std::vector<uint64_t> seen = {0};  // of the first layer's values, by how many are visible
    for (std::size_t position = 0; position < visible(at); ++position) {
      seen.push_back(mix(seen.back(), mix(static_cast<uint32_t>(tokens[position]), position)));
    }
    uint64_t second_layer = 0;
    for (std::size_t position = 0; position < visible(at); ++position) {
      second_layer = mix(second_layer, seen[visible(position)]);
    }
    std::vector<float> logits(static_cast<std::size_t>(kFakeVocab));
    write_logits(second_layer, logits);
    return logits;
  }

  std::function<void(const Batch&)> on_forward;  // called first; may throw
  std::atomic<int64_t> num_forwards = 0;

 private:
  static void require(bool holds, const char* what) {
    if (!holds) throw std::logic_error(std::string("bad batch: ") + what);
  }

  void check(const Batch& batch) const {
    require(batch.rows() >= 1 && batch.rows() <= max_rows_, "number of rows");
    require(static_cast<int64_t>(batch.logit_rows.size()) <= max_logit_rows_, "logit rows");
    for (std::size_t row = 0; row < batch.token_ids.size(); ++row) {
      require(batch.positions[row] >= 0 && batch.positions[row] < config_.max_length, "position");
      const auto prefix = static_cast<int32_t>(config_.prefix_length);
      require(batch.slots[row] == prefix + batch.positions[row], "slot");
      const PromptLayout& layout = batch.layouts[static_cast<std::size_t>(batch.sequence[row])];
      require(batch.visible[row] ==
                  prefix + std::max(layout.bidirectional_tokens, batch.positions[row] + 1),
              "visible slots");
      require(layout.bidirectional_tokens == 0 || layout.answer_position == 7, "layout");
      if (row == 0) continue;
      const int32_t step = batch.sequence[row] - batch.sequence[row - 1];
      require(step == 0 || step == 1, "order of sequences");
      require(step == 1 || batch.positions[row] == batch.positions[row - 1] + 1, "order of rows");
    }
    for (std::size_t i = 1; i < batch.logit_rows.size(); ++i) {
      require(batch.logit_rows[i - 1] < batch.logit_rows[i], "order of logit rows");
    }
  }

  static std::byte* slot(const Batch& batch, const kernels::PagedKvView& kv, int64_t layer,
                         int64_t row, int64_t position) {
    const int64_t block = position / kv.page_tokens;
    require(block < batch.block_table_stride, "block table is too short");
    const int32_t page = batch.block_table[static_cast<std::size_t>(
        batch.sequence[static_cast<std::size_t>(row)] * batch.block_table_stride + block)];
    require(page >= 0, "position without a page");
    return kv.keys(page, layer, 0) + position % kv.page_tokens * kv.token_bytes();
  }

  static void store(const Batch& batch, const kernels::PagedKvView& kv, int64_t layer, int64_t row,
                    int64_t position, uint64_t value) {
    std::memcpy(slot(batch, kv, layer, row, position), &value, sizeof(value));
  }

  // What attention sees: the layer's values at all visible positions.
  static uint64_t seen_from(const Batch& batch, const kernels::PagedKvView& kv, int64_t layer,
                            int64_t row) {
    uint64_t seen = 0;
    for (int64_t p = 0; p < batch.visible[static_cast<std::size_t>(row)]; ++p) {
      uint64_t value = 0;
      std::memcpy(&value, slot(batch, kv, layer, row, p), sizeof(value));
      seen = mix(seen, value);
    }
    return seen;
  }

  static bool is_poisoned(const Batch& batch, const kernels::PagedKvView& kv, int64_t row) {
    for (int64_t p = 0; p < batch.visible[static_cast<std::size_t>(row)]; ++p) {
      uint64_t value = 0;
      std::memcpy(&value, slot(batch, kv, 0, row, p), sizeof(value));
      if (value == mix(kPoison, static_cast<uint64_t>(p))) return true;
    }
    return false;
  }

  static void write_logits(uint64_t state, std::span<float> logits) {
    for (std::size_t token = 0; token < logits.size(); ++token) {
      logits[token] = static_cast<float>(mix(state, token) >> 40) * 0x1.0p-21f;  // [0, 8)
    }
    logits[static_cast<std::size_t>(kPoison)] = -100.0f;  // comes from prompts only
  }

  ModelConfig config_;
  int64_t max_rows_ = 0;
  int64_t max_logit_rows_ = 0;
  std::vector<float> logits_;  // (logit_rows, kFakeVocab)
};

}  // namespace chatglm::testing_support
