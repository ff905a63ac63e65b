// Guesses change when tokens come and nothing else: under scripts of right and wrong guesses, every
// request gets the tokens, log probabilities, end and cached pages that it gets without.
#include "engine/speculation.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "engine/engine_case.h"

namespace chatglm {
namespace {

using namespace testing_support;

// What the drafter knows of the future, and how often it tells the truth.
struct Script {
  double share_right = 1.0;
  int64_t most_tokens = 100;
  std::map<RequestId, std::vector<int32_t>> tokens = {};  // prompt and answer
};

class ScriptedDrafter final : public Drafter {
 public:
  explicit ScriptedDrafter(std::shared_ptr<const Script> script) : script_(std::move(script)) {}
  Outlook outlook(const Sequence& sequence, int64_t most_tokens) override {
    return {std::min(most_tokens, script_->most_tokens), static_cast<int32_t>(sequence.id % 4),
            0.5};
  }
  void propose(std::span<const DraftTask> tasks) override {
    for (const auto& [sequence, count] : tasks) {
      const std::vector<int32_t>& all = script_->tokens.at(sequence->id);
      for (int64_t i = 0; i < count; ++i) {
        const auto at = static_cast<std::size_t>(sequence->num_tokens() + i);
        const bool is_right =
            static_cast<double>(random_() % 1000) < 1000 * script_->share_right && at < all.size();
        // A poisoned guess gives NaN logits after it.
        sequence->draft.push_back(is_right ? all[at] : kPoison);
      }
    }
  }
  bool is_free() const override { return true; }
  double ms_per_token() const override { return 0; }
  void forget(RequestId) override {}

 private:
  const std::shared_ptr<const Script> script_;
  std::mt19937_64 random_{5};  // NOLINT: a fixed seed on purpose
};

// An engine whose drafter knows what will come.
struct ScriptedCase {
  explicit ScriptedCase(const EngineOptions& options, double share_right,
                        bool bidirectional = false)
      : script(std::make_shared<Script>(Script{.share_right = share_right})),
        engine_case(options, 1024, bidirectional, 0, std::make_unique<ScriptedDrafter>(script)) {}

  RequestId submit(const Request& request) {
    const RequestId id = engine_case.submit(request);
    PromptLayout layout;
    if (engine_case.model.config().bidirectional_context) {
      layout = FakeModel::layout_of(request.prompt);
    }
    expected[id] = expected_tokens(request, layout);
    std::vector<int32_t>& all = script->tokens[id];
    all = request.prompt;
    all.insert(all.end(), expected[id].begin(), expected[id].end());
    return id;
  }

  void run_and_compare() {
    engine_case.run();
    for (const auto& [id, tokens] : expected) {
      EXPECT_EQ(engine_case.answers[id].tokens, tokens) << "request " << id;
    }
    EXPECT_EQ(engine_case.engine->stats().kv_pages_used, 0);
  }

  std::shared_ptr<Script> script;
  EngineCase engine_case;
  std::map<RequestId, std::vector<int32_t>> expected;
};

struct Plan {
  int64_t num_guesses;  // 0: as many as seem to pay
  double share_right;
  int64_t max_batch_rows = 512;
  int64_t max_sequences = 64;
  int64_t pages = 1000;
  bool prefix_reuse = true;
};

void PrintTo(const Plan& p, std::ostream* out) {
  *out << p.num_guesses << " guesses, " << p.share_right << " right, " << p.max_batch_rows
       << " rows, " << p.max_sequences << " sequences, " << p.pages << " pages, reuse "
       << p.prefix_reuse;
}

class EveryPlan : public testing::TestWithParam<Plan> {
 protected:
  EngineOptions options() const {
    const Plan& plan = GetParam();
    return with_pages(plan.pages, {.max_batch_rows = plan.max_batch_rows,
                                   .max_sequences = plan.max_sequences,
                                   .prefix_reuse = plan.prefix_reuse,
                                   .num_guesses = plan.num_guesses});
  }
};

TEST_P(EveryPlan, GivesTheSameTokens) {
  ScriptedCase scripted(options(), GetParam().share_right);
  int64_t verifying_steps = 0;
  scripted.engine_case.model.on_forward = [&](const Batch& batch) {
    const auto sequences = static_cast<std::size_t>(batch.sequence.back() + 1);
    if (batch.logit_rows.size() <= sequences) return;
    ++verifying_steps;
    EXPECT_LE(batch.rows(), StepCosts::kMaxRows);
  };
  std::vector<Request> requests = requests_of_many_lengths();
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i].may_speculate = i % 7 != 6;
    scripted.submit(requests[i]);
  }
  scripted.run_and_compare();
  const EngineStats stats = scripted.engine_case.engine->stats();
  EXPECT_LE(stats.tokens_accepted, stats.tokens_proposed);
  if (GetParam().num_guesses > 0 && GetParam().max_batch_rows > 1) {
    EXPECT_GT(verifying_steps, 0);
    EXPECT_EQ(stats.tokens_accepted > 0, GetParam().share_right > 0);
    EXPECT_EQ(stats.tokens_accepted < stats.tokens_proposed, GetParam().share_right < 1);
  }
}

// With few pages, guesses evict cached ones a little sooner.
class EveryRoomyPlan : public EveryPlan {};

TEST_P(EveryRoomyPlan, LeavesTheSameCacheBehind) {
  const auto run = [&](double share_right, int64_t num_guesses) {
    EngineOptions plan = options();
    plan.max_sequences = 1;
    plan.num_guesses = num_guesses;
    ScriptedCase scripted(plan, share_right);
    std::vector<int64_t> reused;
    for (Request request : requests_of_many_lengths()) {
      scripted.submit(request);
      scripted.run_and_compare();
      // The next turn: the answer, and something new.
      request.prompt = scripted.script->tokens.rbegin()->second;
      request.prompt.push_back(1);
      reused.push_back(scripted.engine_case.answers[scripted.submit(request)].reused_tokens);
      scripted.run_and_compare();
      reused.back() = scripted.engine_case.answers.rbegin()->second.reused_tokens;
    }
    return reused;
  };
  EXPECT_EQ(run(GetParam().share_right, GetParam().num_guesses), run(0, 1));
}

INSTANTIATE_TEST_SUITE_P(
    Plans, EveryPlan,
    testing::Values(Plan{1, 1.0}, Plan{5, 1.0}, Plan{15, 1.0}, Plan{5, 0.0}, Plan{15, 0.7},
                    Plan{3, 0.5, 512, 3}, Plan{0, 1.0}, Plan{0, 0.7}, Plan{0, 0.0, 512, 2},
                    Plan{4, 0.9, 512, 64, 1000, false},                                           //
                    Plan{6, 0.8, 1}, Plan{6, 0.8, 3}, Plan{6, 0.8, 16}, Plan{8, 0.8, 16, 5, 40},  //
                    Plan{8, 0.8, 512, 64, 11}, Plan{8, 0.8, 512, 64, 11, false},
                    Plan{15, 0.9, 7, 4, 13, false}));

INSTANTIATE_TEST_SUITE_P(Plans, EveryRoomyPlan,
                         testing::Values(Plan{5, 1.0}, Plan{15, 0.7}, Plan{0, 0.8},
                                         Plan{4, 0.9, 512, 64, 1000, false}, Plan{6, 0.8, 3}));

TEST(Speculation, RightGuessesSaveSteps) {
  ScriptedCase scripted(with_guesses(4), 1.0);
  scripted.submit(make_request({1, 2, 3}, 31));
  scripted.run_and_compare();
  const EngineStats stats = scripted.engine_case.engine->stats();
  EXPECT_EQ(stats.steps, 1 + 6);  // the prompt with the first token, then five tokens each
  EXPECT_EQ(stats.tokens_generated, 31);
  EXPECT_EQ(stats.tokens_proposed, 24);
  EXPECT_EQ(stats.tokens_accepted, 24);
}

TEST(Speculation, WrongGuessesCostNoSteps) {
  ScriptedCase scripted(with_guesses(4), 0.0);
  scripted.submit(make_request({1, 2, 3}, 31));
  scripted.run_and_compare();
  const EngineStats stats = scripted.engine_case.engine->stats();
  EXPECT_EQ(stats.steps, 31);
  EXPECT_EQ(stats.tokens_accepted, 0);
  EXPECT_GT(stats.tokens_proposed, 100);
}

TEST(Speculation, EveryEventCountsTheGuessesSoFar) {
  ScriptedCase scripted(with_guesses(3), 1.0);
  const RequestId id = scripted.submit(make_request({1, 2, 3}, 9));
  std::vector<int64_t> accepted;
  while (scripted.engine_case.engine->has_work()) {
    for (const StepOutput& event : scripted.engine_case.engine->step()) {
      EXPECT_EQ(event.id, id);
      accepted.push_back(event.accepted_tokens);
      EXPECT_GE(event.proposed_tokens, event.accepted_tokens);
    }
  }
  EXPECT_EQ(accepted, (std::vector<int64_t>{0, 1, 2, 3, 3, 4, 5, 6, 6}));
}

TEST(Speculation, SharesTheRowsAmongSequences) {
  ScriptedCase scripted(with_guesses(15), 1.0);
  std::vector<std::size_t> rows;
  scripted.engine_case.model.on_forward = [&](const Batch& batch) {
    rows.push_back(batch.logit_rows.size());
  };
  for (uint64_t seed = 0; seed < 5; ++seed) scripted.submit(make_request({1, 2, 3}, 8, seed));
  scripted.run_and_compare();
  // 5 prompts; then 16 rows for five sequences: four of 3 rows, one of 4.
  ASSERT_GE(rows.size(), 3U);
  EXPECT_EQ(rows[0], 5U);
  EXPECT_EQ(rows[1], 16U);
  EXPECT_EQ(rows[2], 16U);
}

TEST(Speculation, GuessesNothingInAStepWithALongPrompt) {
  ScriptedCase scripted(with_guesses(4), 1.0);
  scripted.submit(make_request({1, 2, 3}, 20));
  scripted.engine_case.step();
  std::mt19937_64 random(3);
  scripted.submit(make_request(random_prompt(random, 100), 4));
  scripted.engine_case.model.on_forward = [&](const Batch& batch) {
    if (batch.rows() > 16) {
      EXPECT_EQ(batch.logit_rows.size(), 2U);
    }
  };
  scripted.run_and_compare();
  EXPECT_GT(scripted.engine_case.engine->stats().tokens_accepted, 0);
}

TEST(Speculation, KeepsLogProbabilities) {
  const auto logprobs = [](int64_t num_guesses, double share_right) {
    ScriptedCase scripted(with_guesses(num_guesses), share_right);
    Request request = make_request({4, 5, 6}, 40);
    request.sampling.top_logprobs = 3;
    scripted.submit(request);
    std::vector<float> all;
    while (scripted.engine_case.engine->has_work()) {
      for (const StepOutput& event : scripted.engine_case.engine->step()) {
        all.push_back(event.token.logprob);
        for (const TokenLogprob& top : event.token.top_logprobs) {
          all.push_back(top.logprob);
          all.push_back(static_cast<float>(top.token));
        }
      }
    }
    return all;
  };
  const std::vector<float> plain = logprobs(1, 0);
  EXPECT_EQ(plain.size(), 40U * 7);
  EXPECT_EQ(logprobs(15, 1.0), plain);
  EXPECT_EQ(logprobs(6, 0.6), plain);
}

TEST(Speculation, StopsAtAStopTokenAmongRightGuesses) {
  for (const bool do_sample : {false, true}) {
    Request request = make_request({1, 2, 3}, 60, 4);
    request.sampling.do_sample = do_sample;
    const std::vector<int32_t> whole = expected_tokens(request);
    for (const std::size_t at : {0U, 1U, 2U, 3U, 7U, 20U}) {
      request.stop_token_ids = {whole[at]};
      ScriptedCase scripted(with_guesses(6), 1.0);
      const RequestId id = scripted.submit(request);
      const auto& all = scripted.script->tokens[id];
      const std::size_t answer = all.size() - request.prompt.size();
      // The drafter goes on past the end.
      scripted.script->tokens[id].insert(all.end(), whole.begin() + answer, whole.end());
      scripted.run_and_compare();
      EXPECT_EQ(scripted.engine_case.answers[id].finish, FinishReason::kStop);
    }
  }
}

TEST(Speculation, KeepsToBansAndPenalties) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    Request request = make_request({1, 2, 3, 1, 2}, 50, seed);
    request.sampling.repetition_penalty = 1.5f;
    request.sampling.do_sample = seed % 2 == 0;
    const std::vector<int32_t> free = expected_tokens(request);
    request.sampling.bad_words_ids = {{free[2]}, {free[5], free[6]}, {free[9], free[10], free[11]}};
    ScriptedCase scripted(with_guesses(7), 0.9);
    const RequestId id = scripted.submit(request);
    scripted.run_and_compare();
    // What the model would say without the bans are wrong guesses.
    std::copy(free.begin(), free.end(), scripted.script->tokens[id].begin() + 5);
    ScriptedCase misled(with_guesses(7), 1.0);
    misled.submit(request);
    misled.script->tokens[1] = scripted.script->tokens[id];
    misled.run_and_compare();
  }
}

TEST(Speculation, KeepsToMaxLength) {
  for (const int64_t max_new_tokens : {1, 2, 3, 7, 100}) {
    FakeBackend backend;
    FakeModel model(32);
    auto script = std::make_shared<Script>();
    Engine engine(model, backend, with_guesses(15), std::make_unique<ScriptedDrafter>(script));
    std::mt19937_64 random(9);
    Request request = make_request(random_prompt(random, 25), max_new_tokens);
    request.max_new_tokens = std::min<int64_t>(max_new_tokens, 7);
    const std::vector<int32_t> expected = expected_tokens(request);
    request.max_new_tokens = max_new_tokens;
    const RequestId id = engine.submit(request);
    script->tokens[id] = request.prompt;
    script->tokens[id].insert(script->tokens[id].end(), expected.begin(), expected.end());
    std::vector<int32_t> tokens;
    FinishReason finish = FinishReason::kNone;
    while (engine.has_work()) {
      for (const StepOutput& event : engine.step()) {
        tokens.push_back(event.token.token);
        finish = event.finish;
      }
    }
    EXPECT_EQ(tokens, expected);
    EXPECT_EQ(finish, FinishReason::kLength);
  }
}

TEST(Speculation, PreemptionInTheMiddleChangesNothing) {
  for (const bool prefix_reuse : {true, false}) {
    ScriptedCase scripted(with_guesses(6, with_pages(6, {.prefix_reuse = prefix_reuse})), 0.8);
    for (uint64_t seed = 0; seed < 4; ++seed) {
      scripted.submit(make_request({static_cast<int32_t>(seed), 9, 9}, 60, seed));
    }
    scripted.run_and_compare();
    const EngineStats stats = scripted.engine_case.engine->stats();
    EXPECT_GE(stats.preemptions, 2);
    EXPECT_GT(stats.tokens_accepted, 20);
  }
}

TEST(Speculation, NeverTakesPagesFromOthers) {
  const auto preemptions = [](double share_right, int64_t num_guesses) {
    ScriptedCase scripted(with_guesses(num_guesses, with_pages(8)), share_right);
    for (uint64_t seed = 0; seed < 4; ++seed) {
      scripted.submit(make_request({static_cast<int32_t>(seed), 9, 9}, 28, seed));
    }
    scripted.run_and_compare();
    return scripted.engine_case.engine->stats().preemptions;
  };
  EXPECT_EQ(preemptions(0, 1), 0);
  EXPECT_EQ(preemptions(0, 15), 0);
  EXPECT_EQ(preemptions(0.7, 4), 0);
}

TEST(Speculation, AFailedStepIsTriedAgain) {
  ScriptedCase scripted(with_guesses(5), 0.7);
  scripted.submit(make_request({1, 2, 3}, 40));
  scripted.submit(make_request({1, 2, 4}, 40));
  int64_t calls = 0;
  scripted.engine_case.model.on_forward = [&](const Batch&) {
    if (++calls % 3 == 0) throw Error(ErrorKind::kDevice, "try again");
  };
  while (scripted.engine_case.engine->has_work()) {
    try {
      scripted.engine_case.step();
    } catch (const Error&) {
    }
  }
  scripted.engine_case.model.on_forward = nullptr;
  scripted.run_and_compare();
}

TEST(Speculation, ABadRequestFailsAlone) {
  ScriptedCase scripted(with_guesses(5), 0.7);
  scripted.submit(make_request({1, 2, 3}, 40));
  const RequestId bad = scripted.engine_case.submit(make_request({kPoison, 2, 3}, 40));
  scripted.script->tokens[bad] = {};
  scripted.run_and_compare();
  EXPECT_EQ(scripted.engine_case.answers[bad].finish, FinishReason::kError);
}

TEST(Speculation, CancelsBetweenTheTokensOfAStep) {
  ScriptedCase scripted(with_guesses(5), 1.0);
  const RequestId id = scripted.submit(make_request({1, 2, 3}, 40));
  scripted.engine_case.step();
  scripted.engine_case.step();
  EXPECT_EQ(scripted.engine_case.answers[id].tokens.size(), 7U);
  scripted.engine_case.engine->cancel(id);
  scripted.engine_case.run();
  EXPECT_EQ(scripted.engine_case.answers[id].tokens.size(), 7U);
  EXPECT_EQ(scripted.engine_case.answers[id].finish, FinishReason::kCancelled);
}

TEST(Speculation, FollowsBidirectionalContexts) {
  ScriptedCase scripted(with_guesses(5, with_pages(30)), 0.8, /*bidirectional=*/true);
  std::mt19937_64 random(8);
  for (const int64_t context : {1, 15, 16, 17, 60}) {
    std::vector<int32_t> prompt = random_prompt(random, context);
    prompt.push_back(kContextEnd);
    prompt.push_back(7);
    scripted.submit(make_request(prompt, 30, static_cast<uint64_t>(context)));
    scripted.submit(make_request(prompt, 20, 99));
  }
  scripted.run_and_compare();
  EXPECT_GT(scripted.engine_case.engine->stats().tokens_accepted, 50);
}

TEST(Speculation, GivesPromptLogitsAndTokens) {
  ScriptedCase scripted(with_guesses(5, {.max_batch_rows = 20}), 0.8);
  std::mt19937_64 random(12);
  Request request = make_request(random_prompt(random, 70), 30);
  std::vector<float> given;
  request.on_prompt_logits = [&](int64_t first, std::span<const float> logits) {
    EXPECT_EQ(first * kFakeVocab, static_cast<int64_t>(given.size()));
    given.insert(given.end(), logits.begin(), logits.end());
  };
  scripted.submit(make_request({1, 2}, 60));
  scripted.submit(request);
  scripted.run_and_compare();
  ASSERT_EQ(given.size(), 70U * kFakeVocab);
  const std::vector<float> last = FakeModel::expected_logits(request.prompt, 69);
  EXPECT_TRUE(std::equal(last.begin(), last.end(), given.end() - kFakeVocab));
}

}  // namespace
}  // namespace chatglm
