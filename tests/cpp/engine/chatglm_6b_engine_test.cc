// A real model whose context is not causal, in the engine: the same tokens and the same bits of
// logits alone, in company, in small caches and from reused pages.
#include <gtest/gtest.h>

#include "backend/registry.h"
#include "engine/engine_case.h"
#include "model/plain_chatglm_6b.h"
#include "support/exact_backend.h"

namespace chatglm {
namespace {

using testing::MemorySource;
using testing::random_chatglm_6b_weights;
using testing::tiny_chatglm_6b;
using testing_support::Answer;
using testing_support::make_request;

constexpr uint32_t kSeed = 41;

class ChatGlm6bEngine : public ::testing::Test {
 protected:
  // A context of random tokens with the mask at its end, <sop>, and `tail` tokens of an answer.
  std::vector<int32_t> prompt(int64_t context, int64_t tail) {
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < context + tail; ++i) {
      tokens.push_back(static_cast<int32_t>(random_() % 90));
    }
    tokens.insert(tokens.begin() + context, {91, 94});
    return tokens;
  }

  int64_t pages(int64_t count) const {
    return count * PagedKv::page_bytes(
                       {config_.num_layers, config_.num_kv_heads, config_.head_dim, DType::kF16});
  }

  std::vector<std::vector<int32_t>> run(Engine& engine, const std::vector<Request>& requests) {
    std::map<RequestId, std::size_t> index;
    std::vector<std::vector<int32_t>> tokens(requests.size());
    for (const Request& request : requests) {
      index.emplace(engine.submit(request), index.size());
      collect(engine, index, tokens);
    }
    while (engine.has_work()) collect(engine, index, tokens);
    return tokens;
  }

  static void collect(Engine& engine, const std::map<RequestId, std::size_t>& index,
                      std::vector<std::vector<int32_t>>& tokens) {
    for (const StepOutput& event : engine.step()) {
      EXPECT_TRUE(event.error.empty()) << event.error;
      if (event.token.token >= 0) tokens[index.at(event.id)].push_back(event.token.token);
    }
  }

  ModelConfig config_ = tiny_chatglm_6b();
  MemorySource source_ = random_chatglm_6b_weights(config_, DType::kQ8_0, kSeed);
  std::unique_ptr<Backend> backend_ = test::exact_backend(2);
  std::unique_ptr<Model> model_ = load_model(config_, source_, *backend_);
  std::mt19937 random_{kSeed};
};

TEST_F(ChatGlm6bEngine, GivesTheSameTokensUnderEverySchedule) {
  std::vector<Request> requests;
  uint64_t seed = 1;
  for (const auto& [context, tail] :
       {std::pair{1, 0}, {15, 0}, {16, 3}, {40, 0}, {70, 20}, {33, 0}, {5, 40}}) {
    requests.push_back(make_request(prompt(context, tail), 40, seed++));
  }
  requests.push_back(make_request(requests[4].prompt, 40, seed++));  // the same context again
  std::vector<std::vector<int32_t>> alone;
  for (const Request& request : requests) {
    Engine engine(*model_, *backend_, {.kv_budget_bytes = pages(20), .prefix_reuse = false});
    alone.push_back(run(engine, {request}).front());
  }
  for (const EngineOptions& options :
       {EngineOptions{.kv_budget_bytes = pages(100)},
        EngineOptions{.max_batch_rows = 8, .kv_budget_bytes = pages(100)},
        EngineOptions{.max_batch_rows = 64, .max_sequences = 3, .kv_budget_bytes = pages(100)},
        EngineOptions{.kv_budget_bytes = pages(10)},
        EngineOptions{.max_batch_rows = 16, .kv_budget_bytes = pages(10), .prefix_reuse = false}}) {
    Engine engine(*model_, *backend_, options);
    EXPECT_EQ(run(engine, requests), alone)
        << options.max_batch_rows << " rows, " << options.kv_budget_bytes << " bytes";
    const EngineStats stats = engine.stats();
    EXPECT_EQ(stats.preemptions > 0, options.kv_budget_bytes == pages(10));
    EXPECT_EQ(stats.kv_pages_used, 0);
  }
}

TEST_F(ChatGlm6bEngine, ReusedPagesGiveTheSameBits) {
  const Request first = make_request(prompt(45, 0), 30);
  Engine engine(*model_, *backend_, {.kv_budget_bytes = pages(100)});
  const std::vector<int32_t> said = run(engine, {first}).front();
  EXPECT_EQ(run(engine, {first}).front(), said);
  EXPECT_EQ(engine.stats().prompt_tokens_reused, 32);

  // The logits after the whole answer: from the cache up to its last page, and computed anew.
  std::vector<int32_t> whole = first.prompt;
  whole.insert(whole.end(), said.begin(), said.end());
  Request all = make_request(whole, 0);
  std::vector<float> logits;
  all.on_prompt_logits = [&](int64_t, std::span<const float> rows) {
    logits.insert(logits.end(), rows.begin(), rows.end());
  };
  run(engine, {all});
  const auto vocab_size = static_cast<std::size_t>(config_.vocab_size);
  ASSERT_EQ(logits.size(), whole.size() * vocab_size);
  Request next = make_request(whole, 1);
  next.sampling = {};
  next.sampling.do_sample = false;
  const int32_t token = run(engine, {next}).front().front();
  EXPECT_EQ(engine.stats().prompt_tokens_reused, 32 + 64);
  const auto last = logits.end() - static_cast<std::ptrdiff_t>(vocab_size);
  EXPECT_EQ(token, std::max_element(last, logits.end()) - last);
}

}  // namespace
}  // namespace chatglm
