// A second model that guesses: exact tokens whether it is right or wrong, its share of the cache's
// budget, and what it does when it falls behind, runs out of pages or is too short.
#include "engine/draft_model.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/engine_case.h"

namespace chatglm {
namespace {

using namespace testing_support;

// The large model's engine, and a draft model of the same logits: greedy, it is always right.
struct DraftCase {
  explicit DraftCase(EngineOptions options, int64_t draft_pages = 1000, int64_t draft_rows = 512,
                     int64_t draft_length = 1024, bool bidirectional = false)
      : draft(draft_length, bidirectional) {
    engine_case = std::make_unique<EngineCase>(
        options, 1024, bidirectional, 0,
        std::make_unique<DraftModel>(
            draft, draft_backend, kFakeVocab,
            DraftModelOptions{.max_batch_rows = draft_rows,
                              .max_sequences = 64,
                              .kv_budget_bytes = draft_pages * FakeModel::page_bytes()}));
  }

  void submit(const Request& request) {
    PromptLayout layout;
    if (draft.config().bidirectional_context) layout = FakeModel::layout_of(request.prompt);
    expected[engine_case->submit(request)] = expected_tokens(request, layout);
  }

  EngineStats run_and_compare() {
    engine_case->run();
    for (const auto& [id, tokens] : expected) {
      EXPECT_EQ(engine_case->answers[id].tokens, tokens) << "request " << id;
    }
    EXPECT_EQ(engine_case->engine->stats().kv_pages_used, 0);
    return engine_case->engine->stats();
  }

  FakeBackend draft_backend;
  FakeModel draft;
  std::unique_ptr<EngineCase> engine_case;
  std::map<RequestId, std::vector<int32_t>> expected;
};

Request greedy_request(std::vector<int32_t> prompt, int64_t max_new_tokens) {
  Request request = make_request(std::move(prompt), max_new_tokens);
  request.sampling.do_sample = false;
  request.sampling.repetition_penalty = 1.0f;
  return request;
}

TEST(DraftModel, IsAlwaysRightWhereItIsTheSameModel) {
  DraftCase drafted(with_guesses(5));
  drafted.submit(greedy_request({1, 2, 3}, 37));
  const EngineStats stats = drafted.run_and_compare();
  EXPECT_EQ(stats.steps, 1 + 6);
  EXPECT_EQ(stats.tokens_proposed, 30);
  EXPECT_EQ(stats.tokens_accepted, 30);
  // Nothing twice: the prompt and the first token, then of each step's six new tokens the last two
  // in one.
  EXPECT_EQ(drafted.draft.num_forwards, 6 * 5);
}

TEST(DraftModel, ComputesAPromptInPartsWhileTheLargeModelGoesOn) {
  std::mt19937_64 random(4);
  DraftCase drafted(with_guesses(5), 1000, 20);
  drafted.submit(greedy_request(random_prompt(random, 100), 40));
  const EngineStats stats = drafted.run_and_compare();
  // 105 tokens in parts of 20 in the first five decodes, guesses in the sixth.
  EXPECT_EQ(stats.steps, 1 + 5 + 6);
  EXPECT_EQ(stats.tokens_accepted, stats.tokens_proposed);
}

TEST(DraftModel, GivesTheSameTokensUnderEveryLimit) {
  for (const int64_t guesses : {0, 1, 4, 15}) {
    for (const int64_t pages : {14, 1000}) {
      for (const int64_t draft_pages : {3, 14, 1000}) {
        for (const int64_t draft_rows : {1, 17, 512}) {
          SCOPED_TRACE(testing::Message() << guesses << " guesses, " << pages << " pages, "
                                          << draft_pages << " and " << draft_rows << " rows");
          DraftCase drafted(with_guesses(guesses, with_pages(pages, {.max_sequences = 20})),
                            draft_pages, draft_rows);
          for (const Request& request : requests_of_many_lengths()) drafted.submit(request);
          drafted.run_and_compare();
        }
      }
    }
  }
}

TEST(DraftModel, SequencesThatBeginAlikeShareItsPages) {
  std::mt19937_64 random(6);
  const std::vector<int32_t> prompt = random_prompt(random, 400);
  DraftCase drafted(with_guesses(3), 40);  // 25 pages for the prompt, once
  for (int i = 0; i < 4; ++i) {
    drafted.submit(greedy_request(prompt, 12));
    drafted.run_and_compare();
  }
  EXPECT_LT(drafted.draft.num_forwards, 60);
  const EngineStats stats = drafted.engine_case->engine->stats();
  EXPECT_EQ(stats.tokens_accepted, stats.tokens_proposed);
}

TEST(DraftModel, GuessesOfTwoSequencesAreComputedTogether) {
  DraftCase drafted(with_guesses(4));
  int64_t together = 0;
  drafted.draft.on_forward = [&](const Batch& batch) {
    together += batch.sequence.back() == 1 ? 1 : 0;
  };
  drafted.submit(greedy_request({1, 2, 3}, 31));
  drafted.submit(greedy_request({1, 2, 4}, 31));
  drafted.run_and_compare();
  EXPECT_EQ(together, drafted.draft.num_forwards);
}

TEST(DraftModel, RightGuessesOfASampledAnswerCount) {
  DraftCase drafted(with_guesses(3));
  for (uint64_t seed = 0; seed < 8; ++seed) {
    Request request = make_request({1, 2, 3}, 60, seed);
    request.sampling.temperature = 0.3f;
    request.sampling.top_p = 0.5;
    drafted.submit(request);
  }
  const EngineStats stats = drafted.run_and_compare();
  EXPECT_GT(stats.tokens_accepted, 30);
  EXPECT_LT(stats.tokens_accepted, stats.tokens_proposed);
}

TEST(DraftModel, AShorterModelGuessesAsFarAsItReaches) {
  DraftCase drafted(with_guesses(4), 1000, 512, 64);
  drafted.submit(greedy_request({1, 2, 3}, 120));
  const EngineStats stats = drafted.run_and_compare();
  EXPECT_GT(stats.tokens_accepted, 40);
  EXPECT_GT(stats.steps, 60);
}

TEST(DraftModel, FollowsBidirectionalContexts) {
  std::mt19937_64 random(8);
  DraftCase drafted(with_guesses(4), 60, 16, 1024, /*bidirectional=*/true);
  for (const int64_t context : {1, 15, 17, 60}) {
    std::vector<int32_t> prompt = random_prompt(random, context);
    prompt.push_back(kContextEnd);
    prompt.push_back(7);
    drafted.submit(greedy_request(prompt, 30));
  }
  const EngineStats stats = drafted.run_and_compare();
  EXPECT_GT(stats.tokens_accepted, 60);
}

TEST(DraftModel, ADifferentModelIsWrongAndHarmless) {
  DraftCase drafted(with_guesses(0));
  // It sees other tokens than the large model.
  Request request = greedy_request({1, 2, 3}, 60);
  request.sampling.bad_words_ids = {{expected_tokens(request)[3]}};
  request.sampling.repetition_penalty = 3.0f;
  drafted.submit(request);
  drafted.run_and_compare();
}

TEST(KvBudget, IsDividedSoThatBothHoldAsMuch) {
  const FakeModel model(1024);
  FakeBackend backend;
  ModelConfig draft = model.config();
  draft.num_layers = 1;
  const int64_t page = FakeModel::page_bytes();
  const KvBudgets budgets =
      divide_kv_budget(model.config(), draft, DType::kF16, 31 * page, backend);
  EXPECT_EQ(budgets.model_bytes, 20 * page);
  EXPECT_EQ(budgets.draft_bytes, 10 * page);
  EXPECT_THROW(divide_kv_budget(model.config(), draft, DType::kF16, page, backend), Error);
  EXPECT_THROW(divide_kv_budget(model.config(), draft, DType::kQ8_0, 100 * page, backend), Error);
  const KvBudgets automatic = divide_kv_budget(model.config(), draft, DType::kF16, 0, backend);
  EXPECT_GE(automatic.draft_bytes, 1024 / 16 * page / 2);
}

}  // namespace
}  // namespace chatglm
