// One engine over the fake model, and what a request must give when nothing else is there. Shared
// by the engine's tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/fake_model.h"
#include "support/fake_backend.h"

namespace chatglm::testing_support {

struct Answer {
  std::vector<int32_t> tokens;
  FinishReason finish = FinishReason::kNone;
  std::string error;
  int64_t reused_tokens = 0;
  int64_t proposed_tokens = 0;
  int64_t accepted_tokens = 0;
};

inline Request make_request(std::vector<int32_t> prompt, int64_t max_new_tokens,
                            uint64_t seed = 1) {
  Request request;
  request.prompt = std::move(prompt);
  request.max_new_tokens = max_new_tokens;
  request.sampling.seed = seed;
  request.sampling.repetition_penalty = 1.1f;
  return request;
}

inline std::vector<int32_t> random_prompt(std::mt19937_64& random, int64_t length) {
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < length; ++i) {
    auto token = static_cast<int32_t>(random() % kFakeVocab);
    prompt.push_back(token >= kPoison && token <= kRefused ? 0 : token);
  }
  return prompt;
}

// Prompts of many lengths around page and chunk borders; some begin alike.
inline std::vector<Request> requests_of_many_lengths() {
  std::mt19937_64 random(42);
  const std::vector<int32_t> shared = random_prompt(random, 70);
  std::vector<Request> requests;
  uint64_t seed = 100;
  for (int64_t length : {1, 2, 15, 16, 17, 31, 32, 33, 48, 100, 130}) {
    requests.push_back(make_request(random_prompt(random, length), 30, seed++));
    std::vector<int32_t> prompt(shared.begin(), shared.begin() + std::min<int64_t>(length, 70));
    requests.push_back(make_request(prompt, 20, seed++));
    prompt.push_back(static_cast<int32_t>(length % kPoison));
    requests.push_back(make_request(prompt, 40, seed++));
  }
  for (std::size_t i = 0; i < requests.size(); i += 4) requests[i].sampling.do_sample = false;
  for (std::size_t i = 1; i < requests.size(); i += 5) requests[i].stop_token_ids = {3};
  return requests;
}

// The tokens from logits that know no cache, pages or batches.
inline std::vector<int32_t> expected_tokens(const Request& request,
                                            const PromptLayout& layout = {}) {
  Sampler sampler(request.sampling);
  SamplerWorkspace workspace;
  std::vector<int32_t> context = request.prompt;
  std::vector<int32_t> generated;
  while (static_cast<int64_t>(generated.size()) < request.max_new_tokens) {
    const std::vector<float> logits =
        FakeModel::expected_logits(context, context.size() - 1, layout);
    generated.push_back(sampler.sample(logits, context, workspace).token);
    context.push_back(generated.back());
    for (int32_t stop : request.stop_token_ids) {
      if (generated.back() == stop) return generated;
    }
  }
  return generated;
}

class EngineCase {
 public:
  explicit EngineCase(const EngineOptions& options = {}, int64_t max_length = 1024,
                      bool bidirectional = false, int64_t prefix_length = 0,
                      std::unique_ptr<Drafter> drafter = nullptr)
      : model(max_length, bidirectional, prefix_length),
        engine(std::make_unique<Engine>(model, backend, options, std::move(drafter))) {}

  RequestId submit(const Request& request) { return engine->submit(request); }

  void step() {
    for (StepOutput& event : engine->step()) {
      Answer& answer = answers[event.id];
      ASSERT_EQ(answer.finish, FinishReason::kNone) << "an event after the last one";
      if (event.token.token >= 0) answer.tokens.push_back(event.token.token);
      answer.finish = event.finish;
      answer.error = event.error;
      answer.reused_tokens = event.reused_tokens;
      answer.proposed_tokens = event.proposed_tokens;
      answer.accepted_tokens = event.accepted_tokens;
    }
  }

  void run() {
    for (int64_t steps = 0; engine->has_work(); ++steps) {
      ASSERT_LT(steps, 100000) << "the engine does not come to an end";
      step();
    }
  }

  const Answer& answer_to(const Request& request) {
    const RequestId id = submit(request);
    run();
    return answers[id];
  }

  FakeBackend backend;
  FakeModel model;
  std::unique_ptr<Engine> engine;
  std::map<RequestId, Answer> answers;
};

inline EngineOptions with_pages(int64_t pages, EngineOptions options = {}) {
  options.kv_budget_bytes = pages * FakeModel::page_bytes();
  return options;
}

// count: as EngineOptions::num_guesses.
inline EngineOptions with_guesses(int64_t count, EngineOptions options = {}) {
  options.num_guesses = count;
  return options;
}

}  // namespace chatglm::testing_support
