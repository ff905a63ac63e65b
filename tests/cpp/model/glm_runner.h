// Runs a model without an engine, for tests of the forward pass.
#pragma once

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "backend/registry.h"
#include "memory_source.h"
#include "model/model.h"
#include "plain_glm.h"
#include "support/exact_backend.h"

namespace chatglm::testing {

constexpr uint32_t kSeed = 7;

inline std::vector<int32_t> random_tokens(int64_t count, int64_t vocab_size, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<int32_t> tokens(static_cast<std::size_t>(count));
  for (int32_t& token : tokens) {
    token = static_cast<int32_t>(generator() % static_cast<uint32_t>(vocab_size));
  }
  return tokens;
}

// A model with a cache of its own, in which sequence s owns the pages s, s + kSequences, ...
class Runner {
 public:
  static constexpr int64_t kMaxRows = 64;
  static constexpr int64_t kSequences = 3;
  static constexpr int64_t kBlocks = 140;  // 2,240 positions

  Runner(const ModelConfig& config, TensorSource& source, DType kv_dtype = DType::kF32,
         std::unique_ptr<Backend> backend = test::exact_backend(2))
      : Runner(config, source, kv_dtype, all_on(std::move(backend), config.num_layers)) {}

  // So many layers on each of these.
  struct OnBackend {
    std::unique_ptr<Backend> backend;
    int64_t num_layers;
  };
  Runner(const ModelConfig& config, TensorSource& source, DType kv_dtype,
         std::vector<OnBackend> backends)
      : config_(config),
        backends_(std::move(backends)),
        model_(load_model(config, source, placement())),
        kv_(placement(), {config.num_layers, config.num_kv_heads, config.head_dim, kv_dtype},
            int64_t{64} << 20) {
    model_->reserve(kMaxRows, kMaxRows);
    kv_.grow(kSequences * kBlocks);
    for (int64_t sequence = 0; sequence < kSequences; ++sequence) {
      for (int64_t block = 0; block < kBlocks; ++block) {
        block_table_.push_back(static_cast<int32_t>(block * kSequences + sequence));
      }
    }
  }

  struct Part {
    int32_t sequence;
    int32_t position;
    std::vector<int32_t> tokens;
    PromptLayout layout = {};
  };

  // Logits of every row of the batch (rows, vocab), or of none.
  std::vector<std::vector<float>> run(const std::vector<Part>& parts, bool with_logits = true) {
    std::vector<int32_t> tokens, positions, visible, sequence;
    std::vector<PromptLayout> layouts(kSequences);
    for (const Part& part : parts) {
      layouts[static_cast<std::size_t>(part.sequence)] = part.layout;
      for (std::size_t i = 0; i < part.tokens.size(); ++i) {
        tokens.push_back(part.tokens[i]);
        positions.push_back(part.position + static_cast<int32_t>(i));
        visible.push_back(std::max(part.layout.bidirectional_tokens, positions.back() + 1));
        sequence.push_back(part.sequence);
      }
    }
    std::vector<int32_t> logit_rows(with_logits ? tokens.size() : 0);
    std::iota(logit_rows.begin(), logit_rows.end(), 0);
    std::vector<float> logits(logit_rows.size() * static_cast<std::size_t>(config_.vocab_size));
    model_->forward({.token_ids = tokens,
                     .positions = positions,
                     .slots = positions,
                     .visible = visible,
                     .sequence = sequence,
                     .layouts = layouts,
                     .block_table = block_table_,
                     .block_table_stride = kBlocks,
                     .logit_rows = logit_rows},
                    kv_.views());
    backends_.back().backend->download(logits.data(), model_->logits(),
                                       static_cast<int64_t>(logits.size() * sizeof(float)));
    std::vector<std::vector<float>> rows;
    for (std::size_t row = 0; row < logit_rows.size(); ++row) {
      const auto begin = logits.begin() + static_cast<int64_t>(row) * config_.vocab_size;
      rows.emplace_back(begin, begin + config_.vocab_size);
    }
    return rows;
  }

 private:
  static std::vector<OnBackend> all_on(std::unique_ptr<Backend> backend, int64_t num_layers) {
    std::vector<OnBackend> backends;
    backends.push_back({std::move(backend), num_layers});
    return backends;
  }

  Placement placement() const {
    std::vector<PlacedLayers> parts;
    int64_t begin = 0;
    for (const OnBackend& on : backends_) {
      parts.push_back({on.backend.get(), begin, begin + on.num_layers});
      begin += on.num_layers;
    }
    return Placement(parts);
  }

  ModelConfig config_;
  std::vector<OnBackend> backends_;
  std::unique_ptr<Model> model_;
  PagedKv kv_;
  std::vector<int32_t> block_table_;
};

inline double worst_difference(const std::vector<std::vector<float>>& found, const Rows& expected) {
  double worst = 0.0;
  for (std::size_t row = 0; row < found.size(); ++row) {
    for (std::size_t i = 0; i < found[row].size(); ++i) {
      worst = std::max(worst, std::abs(found[row][i] - expected[row][i]));
    }
  }
  return worst;
}

// Each row of a sequence gets the same logits whatever chunks it came in and whoever rode along.
inline void expect_independent_of_batching(const ModelConfig& config, MemorySource& source,
                                           DType kv_dtype, const std::string& what) {
  const auto tokens = random_tokens(50, config.vocab_size, kSeed);
  const auto others = random_tokens(14, config.vocab_size, kSeed + 5);
  const auto part = [&](std::size_t begin, std::size_t end, int32_t sequence) {
    return Runner::Part{
        sequence,
        static_cast<int32_t>(begin),
        {tokens.begin() + static_cast<int64_t>(begin), tokens.begin() + static_cast<int64_t>(end)}};
  };
  const auto whole = Runner(config, source, kv_dtype).run({part(0, 50, 0)});
  for (const std::size_t chunk : {1, 3, 16, 33}) {
    Runner runner(config, source, kv_dtype);
    runner.run({{0, 0, others}});  // a neighbour whose decode rows ride along
    int32_t neighbour = 14;
    for (std::size_t begin = 0; begin < 50; begin += chunk) {
      const std::size_t end = std::min<std::size_t>(50, begin + chunk);
      const auto rows = runner.run({{0, neighbour++, {5}}, part(begin, end, 2)});
      for (std::size_t row = begin; row < end; ++row) {
        ASSERT_EQ(rows[1 + row - begin], whole[row])
            << "row " << row << ", chunk " << chunk << ", " << what;
      }
    }
  }
}

}  // namespace chatglm::testing
