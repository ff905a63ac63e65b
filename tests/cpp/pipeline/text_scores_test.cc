// Scores of given tokens against a plain computation from the same logits; two models side by side.
#include "pipeline/text_scores.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <vector>

#include "base/error.h"
#include "pipeline/demo_model.h"
#include "support/exact_backend.h"

namespace chatglm {
namespace {

std::unique_ptr<Pipeline> open_demo(bool record_inputs = false) {
  return std::make_unique<Pipeline>(
      std::filesystem::path(CHATGLM_SOURCE_DIR) / "models" / kDemoModelName,
      PipelineOptions{.num_threads = 2, .record_inputs = record_inputs});
}

const auto never = [] { return false; };

class TextScoresTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { pipeline_ = open_demo(); }
  static void TearDownTestSuite() { pipeline_.reset(); }

  // Longer than the rows of logits of one step.
  static std::vector<int32_t> ids() {
    std::vector<int32_t> made;
    for (int32_t i = 0; i < 150; ++i) made.push_back((i * 131 + 7) % 4000);
    return made;
  }

  // Row i: log p(. | ids[0..i]).
  static std::vector<std::vector<double>> log_probabilities(const std::vector<int32_t>& ids) {
    const auto vocab_size = static_cast<std::size_t>(pipeline_->config().vocab_size);
    std::vector<std::vector<double>> rows;
    pipeline_->logits(
        ids,
        [&](int64_t, std::span<const float> part) {
          for (; !part.empty(); part = part.subspan(vocab_size)) {
            rows.emplace_back(part.begin(), part.begin() + static_cast<std::ptrdiff_t>(vocab_size));
          }
        },
        never);
    for (std::vector<double>& row : rows) {
      long double sum = 0;
      for (const double value : row) sum += std::exp(static_cast<long double>(value));
      for (double& value : row) value -= static_cast<double>(std::log(sum));
    }
    return rows;
  }

  static std::unique_ptr<Pipeline> pipeline_;
};
std::unique_ptr<Pipeline> TextScoresTest::pipeline_;

TEST_F(TextScoresTest, NllsAreThoseOfTheLogits) {
  const std::vector<int32_t> tokens = ids();
  const auto rows = log_probabilities(tokens);
  // Logits of a few rows at a time and of many are not the same bits where many are rounded.
  const double bound = test::rounds_many_rows(kernels::select_kernel_table()) ? 0.01 : 1e-9;
  for (const int64_t first : {int64_t{1}, int64_t{100}, int64_t{149}}) {
    const std::vector<double> nlls = token_nlls(*pipeline_, tokens, first, never);
    ASSERT_EQ(nlls.size(), tokens.size() - static_cast<std::size_t>(first));
    for (std::size_t i = 0; i < nlls.size(); ++i) {
      const std::size_t index = i + static_cast<std::size_t>(first);
      EXPECT_NEAR(nlls[i], -rows[index - 1][static_cast<std::size_t>(tokens[index])], bound);
    }
  }
}

TEST_F(TextScoresTest, AModelDoesNotDivergeFromItself) {
  const std::unique_ptr<Pipeline> reference = open_demo();
  const Divergences result = divergences(*pipeline_, *reference, ids(), 20, never);
  ASSERT_EQ(result.kl.size(), 130u);
  EXPECT_EQ(result.nll, result.reference_nll);
  EXPECT_EQ(result.nll, token_nlls(*pipeline_, ids(), 20, never));
  for (const double kl : result.kl) EXPECT_EQ(kl, 0);
  EXPECT_TRUE(std::all_of(result.same_top.begin(), result.same_top.end(),
                          [](uint8_t same) { return same == 1; }));
}

TEST_F(TextScoresTest, RefusesWhatItCannotScore) {
  const std::unique_ptr<Pipeline> reference = open_demo();
  const auto kind_of = [](const auto& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kRuntime;
  };
  for (const int64_t first : {int64_t{-1}, int64_t{0}, int64_t{150}}) {
    EXPECT_EQ(kind_of([&] { token_nlls(*pipeline_, ids(), first, never); }),
              ErrorKind::kInvalidArgument);
    EXPECT_EQ(kind_of([&] { divergences(*pipeline_, *reference, ids(), first, never); }),
              ErrorKind::kInvalidArgument);
  }
  const std::vector<int32_t> unknown = {1, 2, 4032};
  EXPECT_EQ(kind_of([&] { token_nlls(*pipeline_, unknown, 1, never); }),
            ErrorKind::kInvalidArgument);
  EXPECT_EQ(kind_of([&] { divergences(*pipeline_, *pipeline_, ids(), 1, never); }),
            ErrorKind::kInvalidArgument);
  // A failure of one side stops the other: both limits are the models' own.
  std::vector<int32_t> too_long(3000, 5);
  EXPECT_EQ(kind_of([&] { divergences(*pipeline_, *reference, too_long, 1, never); }),
            ErrorKind::kContextLength);
}

TEST_F(TextScoresTest, AnInterruptEndsBothSides) {
  const std::unique_ptr<Pipeline> reference = open_demo();
  const std::vector<int32_t> tokens(2000, 5);
  const Divergences result = divergences(*pipeline_, *reference, tokens, 1, [] { return true; });
  EXPECT_LT(result.kl.size(), tokens.size());
  // And leaves both ready for more.
  EXPECT_EQ(divergences(*pipeline_, *reference, ids(), 100, never).kl.size(), 50u);
}

TEST_F(TextScoresTest, RecordsTheInputsOfEveryMatrix) {
  EXPECT_TRUE(pipeline_->recorded_inputs().empty());
  const std::unique_ptr<Pipeline> recording = open_demo(true);
  EXPECT_EQ(token_nlls(*recording, ids(), 1, never), token_nlls(*pipeline_, ids(), 1, never));
  const std::vector<MatrixInputs> all = recording->recorded_inputs();
  const ModelConfig& config = recording->config();
  ASSERT_EQ(all.size(), static_cast<std::size_t>(4 * config.num_layers + 1));
  for (const MatrixInputs& inputs : all) {
    EXPECT_EQ(inputs.rows, 149) << inputs.name;
    const int64_t cols =
        inputs.name.ends_with("ffn_down.weight") ? config.ffn_size : config.hidden_size;
    EXPECT_EQ(inputs.sum_squares.size(), static_cast<std::size_t>(cols)) << inputs.name;
    EXPECT_GT(*std::max_element(inputs.sum_squares.begin(), inputs.sum_squares.end()), 0);
  }
  EXPECT_EQ(all.back().name, "output.weight");
}

}  // namespace
}  // namespace chatglm
