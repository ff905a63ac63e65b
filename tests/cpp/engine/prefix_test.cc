// A trained prefix before every sequence: the fake model hashes all that it finds in the cache, so
// any slot that is wrong, shared too far or recomputed shows in the tokens.
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "engine/engine_case.h"

namespace chatglm::testing_support {
namespace {

// The prefix as the fake model would have computed it: tokens that no request has.
std::vector<int32_t> prefix_tokens(int64_t length) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < length; ++i) tokens.push_back(static_cast<int32_t>(1000 + 7 * i));
  return tokens;
}

void write_prefix(const kernels::PagedKvView& kv, std::span<const PageId> pages, int64_t length) {
  uint64_t first_layer = 0;
  const auto tokens = prefix_tokens(length);
  for (int64_t slot = 0; slot < length; ++slot) {
    const auto token = static_cast<uint32_t>(tokens[static_cast<std::size_t>(slot)]);
    const uint64_t stored = mix(token, static_cast<uint64_t>(slot));
    first_layer = mix(first_layer, stored);
    const PageId page = pages[static_cast<std::size_t>(slot / kv.page_tokens)];
    const int64_t offset = slot % kv.page_tokens * kv.token_bytes();
    std::memcpy(kv.keys(page, 0, 0) + offset, &stored, sizeof(stored));
    std::memcpy(kv.keys(page, 1, 0) + offset, &first_layer, sizeof(first_layer));
  }
}

EngineOptions with_prefix(int64_t length, EngineOptions options = {}) {
  options.write_prefix = [length](std::span<const kernels::PagedKvView> kv,
                                  std::span<const PageId> pages) {
    write_prefix(kv.front(), pages, length);
  };
  return options;
}

std::unique_ptr<EngineCase> make_case(int64_t length, EngineOptions options = {}) {
  return std::make_unique<EngineCase>(with_prefix(length, options), 1024, false, length);
}

// What follows the prefix and the prompt, from their tokens alone.
std::vector<int32_t> expected_after(int64_t length, const Request& request) {
  const auto prefix = prefix_tokens(length);
  Sampler sampler(request.sampling);
  SamplerWorkspace workspace;
  std::vector<int32_t> context = request.prompt, generated;
  while (static_cast<int64_t>(generated.size()) < request.max_new_tokens) {
    std::vector<int32_t> all = prefix;
    all.insert(all.end(), context.begin(), context.end());
    const std::vector<float> logits = FakeModel::expected_logits(all, all.size() - 1);
    generated.push_back(sampler.sample(logits, context, workspace).token);
    context.push_back(generated.back());
  }
  return generated;
}

TEST(EnginePrefix, StandsBeforeEverySequence) {
  std::mt19937_64 random(5);
  for (const int64_t length : {1, 15, 16, 17, 40}) {
    const auto engine = make_case(length, {.max_batch_rows = 24});
    std::vector<Request> requests;
    for (const int64_t size : {1, 15, 16, 17, 60}) {
      requests.push_back(make_request(random_prompt(random, size), 20));
    }
    std::vector<RequestId> ids;
    for (const Request& request : requests) ids.push_back(engine->submit(request));
    engine->run();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      EXPECT_EQ(engine->answers[ids[i]].tokens, expected_after(length, requests[i]))
          << "prefix " << length << ", prompt " << requests[i].prompt.size();
    }
  }
}

TEST(EnginePrefix, ItsFullPagesStayAndTheRestIsReusedWithTheTokensAfterIt) {
  for (const int64_t length : {32, 37}) {
    const auto engine = make_case(length);
    EXPECT_EQ(engine->engine->stats().kv_pages_used, 2) << "pinned";
    std::mt19937_64 random(6);
    const Request request = make_request(random_prompt(random, 50), 10);
    EXPECT_EQ(engine->answer_to(request).reused_tokens, 0);
    const int64_t computed = engine->engine->stats().prompt_tokens_computed;
    EXPECT_EQ(computed, 50);
    // Whole pages of slots; the last token is always computed.
    const int64_t reused = (length + 49) / 16 * 16 - length;
    const Answer& again = engine->answer_to(request);
    EXPECT_EQ(again.reused_tokens, reused);
    EXPECT_EQ(again.tokens, expected_after(length, request));
    EXPECT_EQ(engine->engine->stats().prompt_tokens_computed, computed + 50 - reused);
    EXPECT_EQ(engine->engine->stats().kv_pages_used, 2);
  }
}

TEST(EnginePrefix, SurvivesPreemption) {
  const int64_t length = 21;
  const auto engine = make_case(length, with_pages(9, {.max_batch_rows = 32}));
  std::mt19937_64 random(7);
  std::vector<Request> requests;
  std::vector<RequestId> ids;
  for (int i = 0; i < 6; ++i) {
    requests.push_back(make_request(random_prompt(random, 10 + 5 * i), 40, 3));
    ids.push_back(engine->submit(requests.back()));
  }
  engine->run();
  EXPECT_GT(engine->engine->stats().preemptions, 0);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(engine->answers[ids[i]].tokens, expected_after(length, requests[i])) << i;
  }
}

TEST(EnginePrefix, TakesItsShareOfTheBudget) {
  const auto engine = make_case(40, with_pages(5));
  EXPECT_NO_THROW(engine->engine->check(make_request(std::vector<int32_t>(39, 1), 1)));
  EXPECT_THROW(engine->engine->check(make_request(std::vector<int32_t>(40, 1), 1)), Error);
  const Request request = make_request(std::vector<int32_t>(30, 1), 100);
  EXPECT_EQ(engine->answer_to(request).tokens.size(), 10u);  // 40 + 30 + 10 slots

  EXPECT_THROW(make_case(40, with_pages(2)), Error);
  EXPECT_THROW(EngineCase({}, 1024, false, 40), Error) << "nobody writes it";
}

}  // namespace
}  // namespace chatglm::testing_support
