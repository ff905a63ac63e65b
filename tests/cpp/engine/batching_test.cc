// Results never depend on how the work was scheduled: batch mates, chunk size, prefix reuse,
// preemption, cancelled neighbours.
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "engine/engine_case.h"

namespace chatglm {
namespace {

using namespace testing_support;

struct Schedule {
  int64_t max_batch_rows;
  int64_t max_sequences;
  int64_t pages;
  bool prefix_reuse;
};

void PrintTo(const Schedule& s, std::ostream* out) {
  *out << s.max_batch_rows << " rows, " << s.max_sequences << " sequences, " << s.pages
       << " pages, reuse " << s.prefix_reuse;
}

class EverySchedule : public testing::TestWithParam<Schedule> {
 protected:
  EngineOptions options() const {
    return with_pages(GetParam().pages, {.max_batch_rows = GetParam().max_batch_rows,
                                         .max_sequences = GetParam().max_sequences,
                                         .prefix_reuse = GetParam().prefix_reuse});
  }
};

TEST_P(EverySchedule, GivesTheSameTokens) {
  EngineCase engine_case(options());
  const std::vector<Request> requests = requests_of_many_lengths();
  std::vector<RequestId> ids;
  for (const Request& request : requests) ids.push_back(engine_case.submit(request));
  engine_case.run();
  for (std::size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(engine_case.answers[ids[i]].tokens, expected_tokens(requests[i])) << "request " << i;
  }
  const EngineStats stats = engine_case.engine->stats();
  EXPECT_EQ(stats.kv_pages_used, 0);
  EXPECT_LE(stats.kv_bytes_allocated, GetParam().pages * FakeModel::page_bytes());
  if (!GetParam().prefix_reuse) {
    EXPECT_EQ(stats.prompt_tokens_reused, 0);
  }
}

TEST_P(EverySchedule, GivesTheSameTokensWhileOthersComeAndGo) {
  constexpr uint64_t kSeed = 11;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  EngineCase engine_case(options());
  const std::vector<Request> requests = requests_of_many_lengths();
  std::map<RequestId, std::vector<int32_t>> expected;
  std::map<RequestId, bool> cancelled;
  for (std::size_t next = 0; next < requests.size() || engine_case.engine->has_work();) {
    if (next < requests.size() && random() % 3 == 0) {
      const RequestId id = engine_case.submit(requests[next]);
      expected[id] = expected_tokens(requests[next++]);
      cancelled[id] = false;
    }
    if (!expected.empty() && random() % 12 == 0) {
      auto victim = cancelled.begin();
      std::advance(victim, random() % cancelled.size());
      engine_case.engine->cancel(victim->first);
      victim->second = true;
    }
    engine_case.step();
  }
  int64_t whole = 0;
  for (const auto& [id, tokens] : expected) {
    const Answer& answer = engine_case.answers[id];
    ASSERT_NE(answer.finish, FinishReason::kNone);
    ASSERT_LE(answer.tokens.size(), tokens.size());
    EXPECT_TRUE(std::equal(answer.tokens.begin(), answer.tokens.end(), tokens.begin()))
        << "request " << id;
    if (!cancelled[id]) {
      EXPECT_EQ(answer.tokens.size(), tokens.size());
      ++whole;
    }
  }
  EXPECT_GT(whole, 5);
  EXPECT_EQ(engine_case.engine->stats().kv_pages_used, 0);
}

INSTANTIATE_TEST_SUITE_P(Schedules, EverySchedule,
                         testing::Values(Schedule{512, 64, 1000, true},   // all at once
                                         Schedule{512, 64, 1000, false},  //
                                         Schedule{512, 1, 1000, true},    // one by one
                                         Schedule{1, 64, 1000, true},     // a row a step
                                         Schedule{3, 64, 1000, true},     //
                                         Schedule{16, 64, 1000, false},   //
                                         Schedule{16, 5, 40, true},       //
                                         Schedule{512, 64, 11, true},     // tiny budgets
                                         Schedule{512, 64, 11, false},    //
                                         Schedule{64, 64, 16, true},      //
                                         Schedule{7, 4, 13, false}));

TEST(Preemption, HappensAndRecomputesTheSameTokens) {
  for (bool prefix_reuse : {true, false}) {
    EngineCase engine_case(with_pages(6, {.prefix_reuse = prefix_reuse}));
    std::vector<Request> requests;
    for (uint64_t seed = 0; seed < 4; ++seed) {
      requests.push_back(make_request({static_cast<int32_t>(seed), 9, 9}, 60, seed));
      engine_case.submit(requests.back());
    }
    engine_case.run();
    EXPECT_GE(engine_case.engine->stats().preemptions, 2);
    for (RequestId id = 1; id <= 4; ++id) {
      EXPECT_EQ(engine_case.answers[id].tokens,
                expected_tokens(requests[static_cast<std::size_t>(id - 1)]));
    }
  }
}

TEST(Preemption, SparesTheOldest) {
  EngineCase engine_case(with_pages(4));
  engine_case.submit(make_request({1}, 50));
  engine_case.submit(make_request({2}, 50));
  engine_case.submit(make_request({3}, 50));
  std::vector<RequestId> finished;
  while (engine_case.engine->has_work()) {
    for (const StepOutput& event : engine_case.engine->step()) {
      if (event.finish != FinishReason::kNone) finished.push_back(event.id);
    }
  }
  EXPECT_EQ(finished, (std::vector<RequestId>{1, 2, 3}));
}

TEST(Scheduling, DecodeRowsComeFirstAndPromptsFillTheRest) {
  EngineCase engine_case({.max_batch_rows = 8});
  engine_case.submit(make_request({1, 2}, 20));
  engine_case.step();
  std::vector<int64_t> rows;
  std::vector<int32_t> first_positions;
  engine_case.model.on_forward = [&](const Batch& batch) {
    rows.push_back(batch.rows());
    first_positions.push_back(batch.positions[0]);
  };
  std::mt19937_64 random(5);
  engine_case.submit(make_request(random_prompt(random, 21), 3));
  for (int i = 0; i < 4; ++i) engine_case.step();
  EXPECT_EQ(rows, (std::vector<int64_t>{8, 8, 8, 2}));
  EXPECT_EQ(first_positions, (std::vector<int32_t>{2, 3, 4, 5}));
}

TEST(PrefixReuse, TheNextTurnOfAConversationComputesOnlyWhatIsNew) {
  EngineCase engine_case;
  std::mt19937_64 random(8);
  const Request first = make_request(random_prompt(random, 50), 40);
  std::vector<int32_t> history = first.prompt;
  for (int32_t token : engine_case.answer_to(first).tokens) history.push_back(token);
  const EngineStats before = engine_case.engine->stats();
  EXPECT_EQ(before.prompt_tokens_computed, 50);

  // 90 tokens, of which the last was never computed: 89, that is 5 whole pages.
  const std::vector<int32_t> question = random_prompt(random, 10);
  history.insert(history.end(), question.begin(), question.end());
  const Request second = make_request(history, 20);
  const Answer& answer = engine_case.answer_to(second);
  EXPECT_EQ(answer.tokens, expected_tokens(second));
  EXPECT_EQ(answer.reused_tokens, 80);
  const EngineStats after = engine_case.engine->stats();
  EXPECT_EQ(after.prompt_tokens_reused, 80);
  EXPECT_EQ(after.prompt_tokens_computed - before.prompt_tokens_computed, 20);
}

TEST(PrefixReuse, TheSamePromptAgainComputesItsLastPage) {
  EngineCase engine_case;
  std::mt19937_64 random(9);
  const Request request = make_request(random_prompt(random, 64), 5);
  engine_case.answer_to(request);
  const Answer& answer = engine_case.answer_to(request);
  EXPECT_EQ(answer.tokens, expected_tokens(request));
  EXPECT_EQ(answer.reused_tokens, 48);  // a row must be left to compute
}

TEST(PrefixReuse, RunningSequencesShareThePagesOfACommonBeginning) {
  EngineCase engine_case;
  std::mt19937_64 random(10);
  const std::vector<int32_t> prompt = random_prompt(random, 161);
  std::vector<Request> requests;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    requests.push_back(make_request(prompt, 10, seed));
    engine_case.submit(requests.back());
    engine_case.step();
  }
  EXPECT_LE(engine_case.engine->stats().kv_pages_used, 10 + 8 * 2);
  engine_case.run();
  for (RequestId id = 1; id <= 8; ++id) {
    EXPECT_EQ(engine_case.answers[id].tokens,
              expected_tokens(requests[static_cast<std::size_t>(id - 1)]));
  }
}

class PromptLogits : public testing::TestWithParam<std::tuple<int64_t, int64_t>> {};

TEST_P(PromptLogits, AreGivenOnceForEveryPositionInOrder) {
  const auto [max_batch_rows, pages] = GetParam();
  EngineCase engine_case(with_pages(pages, {.max_batch_rows = max_batch_rows}));
  std::mt19937_64 random(12);
  const std::vector<int32_t> prompt = random_prompt(random, 150);
  engine_case.answer_to(make_request(prompt, 1));  // something to reuse, which must not happen
  const Request neighbour = make_request(random_prompt(random, 20), 60);
  const RequestId neighbour_id = engine_case.submit(neighbour);

  std::vector<float> logits;
  Request request = make_request(prompt, 70);
  request.on_prompt_logits = [&](int64_t first_position, std::span<const float> rows) {
    EXPECT_EQ(first_position * kFakeVocab, static_cast<int64_t>(logits.size()));
    logits.insert(logits.end(), rows.begin(), rows.end());
  };
  const RequestId id = engine_case.submit(request);
  engine_case.run();

  ASSERT_EQ(logits.size(), prompt.size() * kFakeVocab);
  for (std::size_t position = 0; position < prompt.size(); ++position) {
    const std::vector<float> expected = FakeModel::expected_logits(prompt, position);
    ASSERT_TRUE(std::equal(expected.begin(), expected.end(),
                           logits.begin() + static_cast<std::ptrdiff_t>(position * kFakeVocab)))
        << "position " << position;
  }
  EXPECT_EQ(engine_case.answers[id].reused_tokens, 0);
  EXPECT_EQ(engine_case.answers[id].tokens, expected_tokens(request));
  EXPECT_EQ(engine_case.answers[neighbour_id].tokens, expected_tokens(neighbour));
}

INSTANTIATE_TEST_SUITE_P(Sizes, PromptLogits,
                         testing::Combine(testing::Values(1, 3, 16, 512),
                                          testing::Values(14, 100)));

}  // namespace
}  // namespace chatglm
