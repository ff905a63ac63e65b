// The engine over a real model on the device: the same tokens alone, in company, in a cache that is
// too small, from reused pages and with guesses, and those of the CPU.
#include "cuda_backend/test_support.h"
#include "engine/engine_case.h"
#include "model/memory_source.h"

namespace chatglm {
namespace {

using namespace test;
using testing::MemorySource;
using testing::random_weights;
using testing_support::make_request;

constexpr uint32_t kSeed = 41;

class CudaEngine : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    backend_ = cuda_backend();
    model_ = load_model(config_, source_, *backend_);
  }
  void TearDown() override {
    model_.reset();
    backend_.reset();
    CudaTest::TearDown();
  }

  std::vector<int32_t> prompt(int64_t length) {
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < length; ++i) {
      tokens.push_back(static_cast<int32_t>(random_() % static_cast<uint64_t>(config_.vocab_size)));
    }
    return tokens;
  }

  int64_t pages(int64_t count) const {
    return count * PagedKv::page_bytes(
                       {config_.num_layers, config_.num_kv_heads, config_.head_dim, DType::kF16});
  }

  static std::vector<std::vector<int32_t>> run(Engine& engine,
                                               const std::vector<Request>& requests) {
    std::map<RequestId, std::size_t> index;
    std::vector<std::vector<int32_t>> tokens(requests.size());
    for (const Request& request : requests) index.emplace(engine.submit(request), index.size());
    while (engine.has_work()) {
      for (const StepOutput& event : engine.step()) {
        EXPECT_TRUE(event.error.empty()) << event.error;
        if (event.token.token >= 0) tokens[index.at(event.id)].push_back(event.token.token);
      }
    }
    return tokens;
  }

  ModelConfig config_ = small_config();
  // f32: products of few rows and of many are the same.
  MemorySource source_ = random_weights(config_, DType::kF32, kSeed);
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  std::mt19937 random_{kSeed};
};

TEST_F(CudaEngine, GivesTheSameTokensUnderEverySchedule) {
  std::vector<Request> requests;
  uint64_t seed = 1;
  for (const int64_t length : {1, 15, 40}) {
    requests.push_back(make_request(prompt(length), 6, seed++));
  }
  requests.push_back(make_request(requests[2].prompt, 6, seed++));  // the same prompt again
  // Sampled from f32's logits, where rounding seldom matters: here it does not.
  const auto cpu = exact_backend(2);
  const auto on_cpu = load_model(config_, source_, *cpu);
  Engine cpu_engine(*on_cpu, *cpu, {.kv_budget_bytes = pages(100)});
  const auto expected = run(cpu_engine, requests);
  for (const EngineOptions& options :
       {EngineOptions{.kv_budget_bytes = pages(100)},
        EngineOptions{.max_batch_rows = 24, .max_sequences = 2, .kv_budget_bytes = pages(5)}}) {
    Engine engine(*model_, *backend_, options);
    EXPECT_EQ(run(engine, requests), expected)
        << options.max_batch_rows << " rows, " << options.kv_budget_bytes << " bytes";
    EXPECT_EQ(engine.stats().kv_pages_used, 0);
  }
}

TEST_F(CudaEngine, ASequenceThatWasPreemptedGoesOnAsBefore) {
  std::vector<Request> requests;
  for (const int64_t length : {14, 15}) requests.push_back(make_request(prompt(length), 24, 5));
  Engine roomy(*model_, *backend_, {.kv_budget_bytes = pages(100)});
  Engine tight(*model_, *backend_, {.kv_budget_bytes = pages(4), .prefix_reuse = false});
  EXPECT_EQ(run(tight, requests), run(roomy, requests));
  EXPECT_EQ(roomy.stats().preemptions, 0);
  EXPECT_GT(tight.stats().preemptions, 0);
}

// Knows what will come, and errs now and then.
class Oracle final : public Drafter {
 public:
  Oracle(std::vector<int32_t> prompt, const std::vector<int32_t>& answer)
      : text_(std::move(prompt)) {
    text_.insert(text_.end(), answer.begin(), answer.end());
  }

  Outlook outlook(const Sequence&, int64_t most_tokens) override { return {most_tokens, 0, 0.9}; }
  void propose(std::span<const DraftTask> tasks) override {
    for (const DraftTask& task : tasks) {
      Sequence& sequence = *task.sequence;
      const auto known = static_cast<std::size_t>(sequence.num_tokens());
      for (std::size_t i = known; i < text_.size() && std::ssize(sequence.draft) < task.num_tokens;
           ++i) {
        sequence.draft.push_back(i % 4 == 3 ? (text_[i] + 1) % 40 : text_[i]);
      }
    }
  }
  bool is_free() const override { return true; }
  double ms_per_token() const override { return 0; }
  void forget(RequestId) override {}

 private:
  std::vector<int32_t> text_;
};

TEST_F(CudaEngine, PagesAndGuessesChangeNothing) {
  const Request request = make_request(prompt(36), 12);
  const EngineOptions options{.kv_budget_bytes = pages(100), .num_guesses = 3};
  Engine plain(*model_, *backend_, options);
  const auto expected = run(plain, {request});
  EXPECT_EQ(run(plain, {request}), expected);
  EXPECT_EQ(plain.stats().prompt_tokens_reused, 32);
  Engine guessing(*model_, *backend_, options,
                  std::make_unique<Oracle>(request.prompt, expected.front()));
  EXPECT_EQ(run(guessing, {request}), expected);
  const EngineStats stats = guessing.stats();
  EXPECT_GT(stats.tokens_accepted, 0);
  EXPECT_LT(stats.tokens_accepted, stats.tokens_proposed);
}

TEST_F(CudaEngine, TakesMostOfTheFreeMemoryByItself) {
  Engine engine(*model_, *backend_, {});
  const auto expected = run(engine, {make_request(prompt(20), 4)});
  EXPECT_EQ(expected.front().size(), 4u);
}

}  // namespace
}  // namespace chatglm
