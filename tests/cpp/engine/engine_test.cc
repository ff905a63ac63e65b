// What a request gets from the engine: its tokens, how they end, and which errors.
#include "engine/engine.h"

#include <gtest/gtest.h>

#include <stdexcept>

#include "base/error.h"
#include "engine/engine_case.h"

namespace chatglm {
namespace {

using namespace testing_support;

Error error_of_submit(EngineCase& engine_case, const Request& request) {
  try {
    engine_case.submit(request);
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorKind::kRuntime, "nothing was thrown");
}

TEST(Engine, GivesTheTokensOfThePlainLoop) {
  EngineCase engine_case;
  const Request request = make_request({1, 2, 3}, 50);
  const Answer& answer = engine_case.answer_to(request);
  EXPECT_EQ(answer.tokens, expected_tokens(request));
  EXPECT_EQ(answer.finish, FinishReason::kLength);
  EXPECT_FALSE(engine_case.engine->has_work());
  EXPECT_TRUE(engine_case.engine->step().empty());
}

TEST(Engine, EndsWithAStopTokenAndReportsIt) {
  EngineCase engine_case;
  Request request = make_request({4, 5}, 500);
  request.stop_token_ids = {7, 9};
  const Answer& answer = engine_case.answer_to(request);
  ASSERT_LT(answer.tokens.size(), 500u);
  EXPECT_EQ(answer.tokens, expected_tokens(request));
  EXPECT_TRUE(answer.tokens.back() == 7 || answer.tokens.back() == 9);
  EXPECT_EQ(answer.finish, FinishReason::kStop);
}

TEST(Engine, StopsAtTheModelsLength) {
  EngineCase engine_case({}, 40);
  Request request = make_request({1, 2, 3}, std::numeric_limits<int64_t>::max());
  const Answer& answer = engine_case.answer_to(request);
  EXPECT_EQ(answer.finish, FinishReason::kLength);
  request.max_new_tokens = 37;
  EXPECT_EQ(answer.tokens, expected_tokens(request));
}

TEST(Engine, StopsWhereTheWholeCacheIsFull) {
  EngineCase engine_case(with_pages(2));
  Request request = make_request({1, 2, 3}, 1000);
  const Answer& answer = engine_case.answer_to(request);
  EXPECT_EQ(answer.finish, FinishReason::kLength);
  request.max_new_tokens = 29;
  EXPECT_EQ(answer.tokens, expected_tokens(request));
}

TEST(Engine, ComputesOnlyThePromptWhereNoTokensAreWanted) {
  EngineCase engine_case({}, 8);
  const Answer& answer = engine_case.answer_to(make_request({1, 2, 3, 4, 5, 6, 7, 8}, 0));
  EXPECT_TRUE(answer.tokens.empty());
  EXPECT_EQ(answer.finish, FinishReason::kLength);
  EXPECT_EQ(engine_case.engine->stats().prompt_tokens_computed, 8);
}

TEST(Engine, RejectsBadRequestsWithTheReason) {
  EngineCase engine_case({}, 16);
  auto message = [&](const Request& request, ErrorKind kind) {
    const Error error = error_of_submit(engine_case, request);
    EXPECT_EQ(error.kind(), kind) << error.what();
    return std::string(error.what());
  };
  EXPECT_EQ(message(make_request({}, 1), ErrorKind::kInvalidArgument),
            "the prompt must have at least one token");
  EXPECT_EQ(message(make_request({1, 61}, 1), ErrorKind::kInvalidArgument),
            "prompt: token ids must be between 0 and 60, found 61");
  EXPECT_EQ(message(make_request({-1}, 1), ErrorKind::kInvalidArgument),
            "prompt: token ids must be between 0 and 60, found -1");
  message(make_request({1}, -1), ErrorKind::kInvalidArgument);
  Request request = make_request({1}, 1);
  request.sampling.temperature = 0.0f;
  message(request, ErrorKind::kInvalidArgument);
  request = make_request({1}, 1);
  request.sampling.bad_words_ids = {{1, 99}};
  EXPECT_EQ(message(request, ErrorKind::kInvalidArgument),
            "bad_words_ids: token ids must be between 0 and 60, found 99");
  EXPECT_EQ(
      message(make_request(std::vector<int32_t>(16, 1), 1), ErrorKind::kContextLength),
      "the prompt has 16 tokens, but the model can take at most 16 together with the answer's "
      "first");
  EXPECT_FALSE(engine_case.engine->has_work());

  EngineCase small_cache(with_pages(1));
  EXPECT_EQ(error_of_submit(small_cache, make_request(std::vector<int32_t>(16, 1), 1)).kind(),
            ErrorKind::kContextLength);
  EXPECT_EQ(small_cache.answer_to(make_request(std::vector<int32_t>(15, 1), 5)).tokens.size(), 1u);
}

TEST(Engine, RejectsBadOptions) {
  FakeBackend backend;
  FakeModel model;
  for (EngineOptions options :
       {EngineOptions{.max_batch_rows = 0}, EngineOptions{.max_sequences = 0},
        EngineOptions{.kv_budget_bytes = -1}, EngineOptions{.kv_budget_bytes = 10},
        EngineOptions{.kv_dtype = DType::kQ4_0}, EngineOptions{.kv_dtype = DType::kQ8_0}}) {
    EXPECT_THROW(Engine(model, backend, options), Error);
  }
}

TEST(Engine, AnErrorOfOneRequestLeavesTheOthersAlone) {
  EngineCase engine_case;
  const Request good = make_request({1, 2, 3}, 20);
  const Request other = make_request({2, 2, 3}, 20, 5);
  Request throwing = make_request({5, 5}, 5);
  throwing.on_prompt_logits = [](int64_t, std::span<const float>) {
    throw std::runtime_error("the caller's own trouble");
  };
  const RequestId good_id = engine_case.submit(good);
  const RequestId bad_id = engine_case.submit(make_request({1, kPoison}, 20));
  const RequestId throwing_id = engine_case.submit(throwing);
  const RequestId other_id = engine_case.submit(other);
  engine_case.run();
  EXPECT_EQ(engine_case.answers[good_id].tokens, expected_tokens(good));
  EXPECT_EQ(engine_case.answers[other_id].tokens, expected_tokens(other));
  EXPECT_EQ(engine_case.answers[bad_id].finish, FinishReason::kError);
  EXPECT_EQ(engine_case.answers[bad_id].error,
            "the model gave unusable logits: 1 NaN and 0 +Inf among 61, first at token 5");
  EXPECT_EQ(engine_case.answers[throwing_id].finish, FinishReason::kError);
  EXPECT_EQ(engine_case.answers[throwing_id].error, "the caller's own trouble");
  EXPECT_EQ(engine_case.engine->stats().kv_pages_used, 0);
}

TEST(Engine, CancelsWaitingRunningAndUnknownRequests) {
  EngineCase engine_case({.max_sequences = 2});
  const Request kept = make_request({1, 2, 3}, 30);
  const RequestId kept_id = engine_case.submit(kept);
  const RequestId running_id = engine_case.submit(make_request({3, 4}, 30));
  const RequestId waiting_id = engine_case.submit(make_request({5}, 30));
  for (int i = 0; i < 5; ++i) engine_case.step();
  engine_case.engine->cancel(running_id);
  engine_case.engine->cancel(waiting_id);
  engine_case.engine->cancel(12345);
  engine_case.step();
  EXPECT_EQ(engine_case.answers[running_id].finish, FinishReason::kCancelled);
  EXPECT_EQ(engine_case.answers[running_id].tokens.size(), 5u);
  EXPECT_EQ(engine_case.answers[waiting_id].finish, FinishReason::kCancelled);
  engine_case.engine->cancel(running_id);
  engine_case.run();
  EXPECT_EQ(engine_case.answers[kept_id].tokens, expected_tokens(kept));
  EXPECT_EQ(engine_case.engine->stats().kv_pages_used, 0);
}

TEST(Engine, FailsRunningRequestsWhereTheModelThrows) {
  EngineCase engine_case({.max_sequences = 2});
  const Request later = make_request({7, 8}, 10);
  const RequestId cancelled_id = engine_case.submit(make_request({4}, 10));
  const RequestId first_id = engine_case.submit(make_request({1}, 10));
  const RequestId second_id = engine_case.submit(make_request({2}, 10));
  const RequestId later_id = engine_case.submit(later);
  engine_case.engine->cancel(cancelled_id);
  engine_case.model.on_forward = [](const Batch&) { throw Error(ErrorKind::kDevice, "no memory"); };
  EXPECT_THROW(engine_case.engine->step(), Error);
  std::map<RequestId, FinishReason> finished;
  for (const StepOutput& event : engine_case.engine->fail_running("no memory")) {
    finished[event.id] = event.finish;
    if (event.finish == FinishReason::kError) {
      EXPECT_EQ(event.error, "no memory");
    }
  }
  EXPECT_EQ(finished, (std::map<RequestId, FinishReason>{{cancelled_id, FinishReason::kCancelled},
                                                         {first_id, FinishReason::kError},
                                                         {second_id, FinishReason::kError}}));
  engine_case.model.on_forward = nullptr;
  engine_case.run();
  EXPECT_EQ(engine_case.answers[later_id].tokens, expected_tokens(later));
}

TEST(Engine, AStepThatThrewCanBeTriedAgain) {
  EngineCase engine_case;
  const Request request = make_request({1, 2, 3}, 40);
  const RequestId id = engine_case.submit(request);
  int calls = 0;
  engine_case.model.on_forward = [&](const Batch&) {
    if (++calls % 3 == 0) throw std::runtime_error("now and then");
  };
  while (engine_case.engine->has_work()) {
    try {
      engine_case.step();
    } catch (const std::runtime_error&) {
    }
  }
  EXPECT_EQ(engine_case.answers[id].tokens, expected_tokens(request));
}

TEST(Engine, MemoryGrowsWithUseWithinTheBudget) {
  constexpr int64_t kPages = 300;
  EngineCase engine_case(with_pages(kPages), 8192);
  EXPECT_EQ(engine_case.engine->stats().kv_bytes_allocated, 0);
  engine_case.answer_to(make_request({1, 2}, 3));
  const int64_t small_bytes = engine_case.engine->stats().kv_bytes_allocated;
  EXPECT_GT(small_bytes, 0);
  EXPECT_LE(small_bytes, 64 * FakeModel::page_bytes());
  std::mt19937_64 random(3);
  for (int i = 0; i < 8; ++i) {
    engine_case.submit(make_request(random_prompt(random, 1500), 20));
  }
  engine_case.run();
  const int64_t large_bytes = engine_case.engine->stats().kv_bytes_allocated;
  EXPECT_GT(large_bytes, small_bytes);
  EXPECT_LE(large_bytes, kPages * FakeModel::page_bytes());
  for (const auto& [id, answer] : engine_case.answers) {
    EXPECT_EQ(answer.finish, FinishReason::kLength);
  }
}

TEST(Engine, GivesLogprobsWhereAskedFor) {
  EngineCase engine_case;
  Request request = make_request({1, 2}, 1);
  request.sampling.top_logprobs = 2;
  engine_case.submit(request);
  const std::vector<StepOutput> events = engine_case.engine->step();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_LT(events[0].token.logprob, 0.0f);
  ASSERT_EQ(events[0].token.top_logprobs.size(), 2u);
  EXPECT_GE(events[0].token.top_logprobs[0].logprob, events[0].token.top_logprobs[1].logprob);
}

}  // namespace
}  // namespace chatglm
