// Guesses from the text so far: what is proposed, and that tokens stay what they are where guesses
// come out right and wrong by chance.
#include "engine/prompt_lookup.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/engine_case.h"
#include "engine/engine_thread.h"
#include "engine/ngram_index.h"

namespace chatglm {
namespace {

using namespace testing_support;

TEST(NgramIndex, FindsWhatASearchFinds) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    std::mt19937_64 random(seed);
    const uint64_t vocab = 2 + seed;
    std::vector<int32_t> tokens;
    NgramIndex index;
    for (int step = 0; step < 300; ++step) {
      for (uint64_t i = random() % 4; i > 0; --i) {
        tokens.push_back(static_cast<int32_t>(random() % vocab) * 65000);
      }
      const NgramIndex::Match found = index.find(tokens);
      NgramIndex::Match expected;
      const auto size = static_cast<int64_t>(tokens.size());
      for (int64_t n = NgramIndex::kLongest; n >= NgramIndex::kShortest && !expected.length; --n) {
        for (int64_t end = size - 1; end >= n && !expected.length; --end) {
          if (std::equal(tokens.end() - n, tokens.end(), tokens.begin() + (end - n))) {
            expected = {n, end};
          }
        }
      }
      ASSERT_EQ(found.length, expected.length) << "seed " << seed << ", " << size << " tokens";
      ASSERT_EQ(found.next, expected.next);
    }
  }
}

// Few tokens to choose from: text that repeats itself.
Request narrow_request(std::mt19937_64& random, int64_t max_new_tokens) {
  Request request = make_request({}, max_new_tokens, random());
  const auto choices = static_cast<int32_t>(2 + random() % 4);
  for (int64_t i = 0; i < 40; ++i) {
    request.prompt.push_back(static_cast<int32_t>(random() % static_cast<uint64_t>(choices)));
  }
  for (int32_t token = choices; token < kFakeVocab; ++token) {
    request.sampling.bad_words_ids.push_back({token});
  }
  request.sampling.do_sample = random() % 2 == 0;
  request.sampling.repetition_penalty = random() % 2 == 0 ? 1.0f : 1.3f;
  request.sampling.temperature = 0.5f + static_cast<float>(random() % 100) / 50;
  if (random() % 3 == 0) request.stop_token_ids = {choices};  // never comes
  return request;
}

TEST(PromptLookup, GivesTheSameTokensForManySeeds) {
  int64_t accepted = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    const int64_t pages = seed % 3 == 0 ? 12 : 200;
    EngineCase engine_case(with_guesses(static_cast<int64_t>(random() % 16), with_pages(pages)),
                           1024, false, 0, std::make_unique<PromptLookup>());
    std::map<RequestId, std::vector<int32_t>> expected;
    for (uint64_t i = 0; i <= seed % 5; ++i) {
      const Request request = narrow_request(random, 60);
      expected[engine_case.submit(request)] = expected_tokens(request);
    }
    engine_case.run();
    for (const auto& [id, tokens] : expected) EXPECT_EQ(engine_case.answers[id].tokens, tokens);
    accepted += engine_case.engine->stats().tokens_accepted;
    EXPECT_EQ(engine_case.engine->stats().kv_pages_used, 0);
  }
  EXPECT_GT(accepted, 500);
}

TEST(PromptLookup, CopiesWhatFollowedTheLongestMatch) {
  //                             0  1  2  3  4  5  6  7  8  9 10 11 12
  const std::vector<int32_t> tokens{5, 1, 2, 3, 4, 8, 9, 3, 4, 7, 2, 3, 4};
  Request request;
  request.prompt = tokens;
  request.max_new_tokens = 10;
  Sequence sequence(1, request, 100, {});
  PromptLookup lookup;
  const Outlook outlook = lookup.outlook(sequence, 6);
  EXPECT_EQ(outlook.most_tokens, 6);
  EXPECT_EQ(outlook.kind, 1);  // 2 3 4, not the 3 4 that stands later
  const DraftTask task{&sequence, 6};
  lookup.propose({&task, 1});
  EXPECT_EQ(sequence.draft, (std::vector<int32_t>{8, 9, 3, 4, 7, 2}));

  sequence.draft.clear();
  sequence.tokens.push_back(6);
  EXPECT_EQ(lookup.outlook(sequence, 6).most_tokens, 0);
}

TEST(PromptLookup, RepetitionsRepeatOn) {
  Request request;
  request.prompt = {1, 2, 3, 1, 2, 3, 1, 2};
  request.max_new_tokens = 10;
  Sequence sequence(1, request, 100, {});
  PromptLookup lookup;
  ASSERT_GT(lookup.outlook(sequence, 9).most_tokens, 0);
  const DraftTask task{&sequence, 9};
  lookup.propose({&task, 1});
  EXPECT_EQ(sequence.draft, (std::vector<int32_t>{3, 1, 2, 3, 1, 2, 3, 1, 2}));
}

TEST(EngineThread, DeliversAllTokensOfAStep) {
  FakeBackend backend;
  FakeModel model;
  EngineThread thread(
      std::make_unique<Engine>(model, backend, with_guesses(8), std::make_unique<PromptLookup>()));
  std::mt19937_64 random(77);
  for (int i = 0; i < 4; ++i) {
    const Request request = narrow_request(random, 80);
    const auto stream = thread.submit(request);
    std::vector<int32_t> tokens;
    for (bool finished = false; !finished;) {
      const auto event = stream->next(std::chrono::seconds(60));
      ASSERT_TRUE(event);
      tokens.push_back(event->token.token);
      finished = event->finish != FinishReason::kNone;
    }
    EXPECT_EQ(tokens, expected_tokens(request));
  }
  EXPECT_GT(thread.stats().tokens_accepted, 10);
}

}  // namespace
}  // namespace chatglm
