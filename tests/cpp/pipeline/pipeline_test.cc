// The whole way from a model file to text, on the bundled demo model; what it says is for the
// Python tests. These also run under the sanitizers.
#include "pipeline/pipeline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "pipeline/demo_model.h"

namespace chatglm {
namespace {

using std::chrono::milliseconds;

std::filesystem::path demo_file() {
  return std::filesystem::path(CHATGLM_SOURCE_DIR) / "models" / kDemoModelName;
}

const std::vector<ChatMessage> kGreeting = {{"user", "你好", "", {}}};

GenerationOptions greedy(int64_t max_new_tokens = 0) {
  GenerationOptions options;
  options.sampling.do_sample = false;
  options.max_new_tokens = max_new_tokens;
  return options;
}

// Random tokens, until max_length or cancel().
GenerationOptions endless() {
  GenerationOptions options;
  options.sampling.temperature = 100.0f;
  options.sampling.top_p = 1.0;
  options.sampling.seed = 3;
  return options;
}

std::string run(Generation& generation) {
  std::string text;
  while (!generation.finished()) {
    if (const auto delta = generation.next(milliseconds(1000))) text += delta->text;
  }
  return text;
}

ErrorKind kind_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind();
  }
  ADD_FAILURE() << "no error";
  return ErrorKind::kRuntime;
}

class PipelineTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    pipeline_ = std::make_unique<Pipeline>(demo_file(), PipelineOptions{.num_threads = 2});
  }
  static void TearDownTestSuite() { pipeline_.reset(); }

  static std::unique_ptr<Pipeline> pipeline_;
};
std::unique_ptr<Pipeline> PipelineTest::pipeline_;

TEST_F(PipelineTest, StreamsTheWholeAnswer) {
  const auto generation = pipeline_->chat(kGreeting, greedy());
  const std::string streamed = run(*generation);
  EXPECT_FALSE(streamed.empty());
  EXPECT_EQ(streamed, generation->text());
  EXPECT_EQ(generation->message().role, "assistant");
  EXPECT_EQ(generation->message().content, streamed);
  EXPECT_EQ(generation->finish_reason(), FinishReason::kStop);
  EXPECT_GT(generation->timings().prompt_tokens, 5);
  EXPECT_GT(generation->timings().output_tokens, 1);
  EXPECT_FALSE(generation->next(milliseconds(0)));
}

TEST_F(PipelineTest, ReusesWhatATurnHadComputed) {
  std::vector<ChatMessage> messages = kGreeting;
  const auto first = pipeline_->chat(messages, greedy());
  run(*first);
  messages.push_back(first->message());
  messages.push_back({"user", "你是谁？", "", {}});
  const auto second = pipeline_->chat(messages, greedy(4));
  run(*second);
  EXPECT_GT(second->timings().reused_tokens, 0);
}

TEST_F(PipelineTest, StopStringsEndTheAnswer) {
  const auto whole = pipeline_->chat(kGreeting, greedy());
  std::vector<std::string> pieces;
  while (!whole->finished()) {
    if (auto delta = whole->next(milliseconds(1000))) pieces.push_back(std::move(delta->text));
  }
  ASSERT_GT(pieces.size(), 4U);
  GenerationOptions options = greedy();
  options.stop = {pieces[pieces.size() / 2]};
  const auto cut = pipeline_->chat(kGreeting, options);
  EXPECT_EQ(run(*cut), whole->text().substr(0, whole->text().find(options.stop[0])));
  EXPECT_EQ(cut->message().content, cut->text());
  EXPECT_EQ(cut->finish_reason(), FinishReason::kStop);
}

TEST_F(PipelineTest, CountsNewTokens) {
  GenerationOptions options = endless();
  options.max_new_tokens = 5;
  const auto limited = pipeline_->generate("1 2 3", options);
  run(*limited);
  EXPECT_EQ(limited->timings().output_tokens, 5);
  EXPECT_EQ(limited->finish_reason(), FinishReason::kLength);
}

TEST_F(PipelineTest, CancelEndsAtOnce) {
  const auto generation = pipeline_->chat(kGreeting, endless());
  while (!generation->next(milliseconds(1000))) {
  }
  generation->cancel();
  EXPECT_TRUE(generation->finished());
  EXPECT_EQ(generation->finish_reason(), FinishReason::kCancelled);
  EXPECT_FALSE(generation->text().empty());
  EXPECT_FALSE(generation->next(milliseconds(0)));
}

TEST_F(PipelineTest, AnswersSeveralThreads) {
  const std::string alone = run(*pipeline_->chat(kGreeting, greedy()));
  std::vector<std::string> texts(4);
  std::vector<std::thread> threads;
  for (std::string& text : texts) {
    threads.emplace_back([&text] { text = run(*pipeline_->chat(kGreeting, greedy())); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& text : texts) EXPECT_EQ(text, alone);
}

TEST_F(PipelineTest, GivesTheLogitsOfEveryPosition) {
  const std::vector<int32_t> ids = pipeline_->chat_format()->encode(kGreeting);
  std::vector<float> logits(ids.size() * static_cast<size_t>(pipeline_->config().vocab_size));
  size_t filled = 0;
  pipeline_->logits(
      ids,
      [&](int64_t first, std::span<const float> part) {
        EXPECT_EQ(static_cast<size_t>(first * pipeline_->config().vocab_size), filled);
        std::copy(part.begin(), part.end(), logits.begin() + static_cast<std::ptrdiff_t>(filled));
        filled += part.size();
      },
      [] { return false; });
  EXPECT_EQ(filled, logits.size());
}

TEST_F(PipelineTest, LogitsCanBeInterrupted) {
  const std::vector<int32_t> ids(static_cast<size_t>(pipeline_->max_length()), 5);
  pipeline_->logits(ids, [](int64_t, std::span<const float>) {}, [] { return true; });
}

TEST_F(PipelineTest, RefusesWhatDoesNotFit) {
  const auto prompt_tokens =
      static_cast<int64_t>(pipeline_->chat_format()->encode(kGreeting).size());
  for (const auto& [kind, change] :
       std::vector<std::pair<ErrorKind, std::function<void(GenerationOptions&)>>>{
           {ErrorKind::kContextLength,
            [&](GenerationOptions& options) { options.max_length = prompt_tokens; }},
           {ErrorKind::kContextLength,
            [&](GenerationOptions& options) { options.max_context_length = prompt_tokens - 1; }},
           {ErrorKind::kInvalidArgument,
            [](GenerationOptions& options) { options.max_length = pipeline_->max_length() + 1; }},
           {ErrorKind::kInvalidArgument,
            [](GenerationOptions& options) { options.max_length = -1; }},
           {ErrorKind::kInvalidArgument,
            [](GenerationOptions& options) { options.max_new_tokens = -1; }},
           {ErrorKind::kInvalidArgument,
            [](GenerationOptions& options) { options.sampling.temperature = 0; }},
           {ErrorKind::kInvalidArgument,
            [](GenerationOptions& options) { options.stop = {""}; }}}) {
    GenerationOptions options = greedy();
    change(options);
    EXPECT_EQ(kind_of([&] { pipeline_->chat(kGreeting, options); }), kind);
  }
}

TEST_F(PipelineTest, AGenerationMayOutliveItsPipeline) {
  auto pipeline = std::make_unique<Pipeline>(demo_file());
  const auto generation = pipeline->chat(kGreeting, greedy());
  pipeline.reset();
  EXPECT_FALSE(run(*generation).empty());
}

TEST(PipelineOptions, AreChecked) {
  const auto open = [](const PipelineOptions& options) {
    return kind_of([&] { Pipeline(demo_file(), options); });
  };
  EXPECT_EQ(open({.device = "abacus"}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(open({.num_threads = -1}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(open({.kv_dtype = "q4_0"}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(open({.max_length = 1 << 30}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(open({.speculative = "maybe"}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(open({.speculative = "off", .draft_model = demo_file()}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(open({.draft_model = "no-such-file"}), ErrorKind::kModelFile);
}

TEST(PipelineSpeculation, ChangesNoToken) {
  const std::vector<PipelineOptions> all = {{.num_threads = 2, .speculative = "off"},
                                            {.num_threads = 2, .speculative = "lookup"},
                                            {.num_threads = 2, .draft_model = demo_file()}};
  std::vector<std::string> answers;
  for (const PipelineOptions& options : all) {
    Pipeline pipeline(demo_file(), options);
    const auto counting = pipeline.generate("1 2 3 4 5 1 2 3 4 5 1 2", greedy(100));
    answers.push_back(run(*counting));
    const GenerationTimings timings = counting->timings();
    EXPECT_EQ(timings.output_tokens, 100);
    EXPECT_LE(timings.accepted_tokens, timings.proposed_tokens);
    EXPECT_EQ(timings.accepted_tokens, pipeline.stats().tokens_accepted);
    GenerationOptions sampled = endless();
    sampled.sampling.temperature = 1.0f;
    sampled.max_new_tokens = 60;
    answers.back() += run(*pipeline.chat(kGreeting, sampled));
  }
  EXPECT_EQ(answers[1], answers[0]);
  EXPECT_EQ(answers[2], answers[0]);
}

TEST(PipelineProgress, EndsAtOneWithADraftModel) {
  double last = -1;
  const Pipeline pipeline(demo_file(), {.draft_model = demo_file(), .progress = [&](double done) {
                                          EXPECT_GE(done, last);
                                          last = done;
                                        }});
  EXPECT_DOUBLE_EQ(last, 1.0);
}

TEST(PipelineProgress, EndsAtOne) {
  double last = -1;
  const Pipeline pipeline(demo_file(), {.progress = [&](double done) {
                            EXPECT_GE(done, last);
                            last = done;
                          }});
  EXPECT_EQ(last, 1.0);
}

}  // namespace
}  // namespace chatglm
