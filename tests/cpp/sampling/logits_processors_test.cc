// Each step by itself: against plain sort-everything versions, and at its edges.
#include "sampling/logits_processors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>

#include "base/error.h"

namespace chatglm {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<Candidate> candidates_of(const std::vector<float>& scores) {
  std::vector<Candidate> candidates;
  collect_candidates(scores, candidates);
  return candidates;
}

std::vector<int32_t> ids(const std::vector<Candidate>& candidates) {
  std::vector<int32_t> tokens;
  for (const Candidate& candidate : candidates) tokens.push_back(candidate.token);
  return tokens;
}

std::vector<float> log_of(std::vector<float> probabilities) {
  for (float& p : probabilities) p = std::log(p);
  return probabilities;
}

std::string message_of_check(const std::vector<float>& logits) {
  try {
    check_logits(logits);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kRuntime);
    return error.what();
  }
  return "";
}

TEST(CheckLogits, CountsWhatIsWrongAndSaysWhere) {
  EXPECT_EQ(message_of_check({1, -kInfinity, 2}), "");
  EXPECT_EQ(message_of_check({1, 2, kNan, kInfinity, kNan}),
            "the model gave unusable logits: 2 NaN and 1 +Inf among 5, first at token 2");
  EXPECT_EQ(message_of_check({-kInfinity, -kInfinity}),
            "the model gave no usable logits: all 2 are -Inf");
  EXPECT_EQ(message_of_check({}), "the model gave no usable logits: all 0 are -Inf");
}

TEST(RepetitionPenalty, AppliesOnceAndBySign) {
  const std::vector<float> logits = {2.0f, -2.0f, 3.0f, 0.0f};
  std::vector<float> scores = logits;
  apply_repetition_penalty(logits, std::vector<int32_t>{0, 1, 1, 0, 3, 0}, 1.5f, scores);
  EXPECT_EQ(scores, (std::vector<float>{2.0f / 1.5f, -3.0f, 3.0f, 0.0f}));
  EXPECT_THROW(apply_repetition_penalty(logits, std::vector<int32_t>{4}, 2.0f, scores), Error);
  EXPECT_THROW(apply_repetition_penalty(logits, std::vector<int32_t>{-1}, 2.0f, scores), Error);
}

void ban_words(std::span<const std::vector<int32_t>> words, std::span<const int32_t> context,
               std::span<float> scores) {
  std::vector<int32_t> banned;
  find_banned(words, context, banned);
  ban_tokens(banned, scores);
}

TEST(BanWords, BansTheLastTokenOfAWordThatHasBegun) {
  const std::vector<std::vector<int32_t>> words = {
      {2}, {7, 3}, {6, 7, 4}, {5, 7, 0}, {1, 2, 6, 7, 1}};
  std::vector<float> scores(5, 1.0f);
  ban_words(words, std::vector<int32_t>{1, 6, 7}, scores);
  EXPECT_EQ(scores, (std::vector<float>{1, 1, -kInfinity, -kInfinity, -kInfinity}));
}

TEST(BanWords, ManyWordsMayEndInTheSameToken) {
  std::vector<float> scores(2, 1.0f);
  ban_words(std::vector<std::vector<int32_t>>{{1}, {0, 1}, {1}}, std::vector<int32_t>{0, 0},
            scores);
  EXPECT_EQ(scores, (std::vector<float>{1, -kInfinity}));
}

TEST(Argmax, TakesTheLowestIdOfEqualScores) {
  EXPECT_EQ(argmax(std::vector<float>{-kInfinity, 3, 1, 3}), 1);
}

TEST(Temperature, DividesAndSurvivesOverflow) {
  std::vector<float> scores = {1.0f, -3.0f, -kInfinity};
  apply_temperature(scores, 0.7f);
  EXPECT_EQ(scores, (std::vector<float>{1.0f / 0.7f, -3.0f / 0.7f, -kInfinity}));
  for (float highest : {20.0f, -20.0f}) {
    scores = {highest, highest - 1.0f, highest};
    apply_temperature(scores, 1e-40f);
    EXPECT_EQ(scores, (std::vector<float>{0.0f, -kInfinity, 0.0f}));
  }
}

TEST(TopK, KeepsTiesWithTheLast) {
  std::vector<float> heap;
  auto kept = [&](std::vector<float> scores, int32_t k) {
    std::vector<Candidate> candidates = candidates_of(scores);
    keep_top_k(candidates, k, heap);
    return ids(candidates);
  };
  EXPECT_EQ(kept({1, 5, 3, 3, 2, 3}, 2), (std::vector<int32_t>{1, 2, 3, 5}));
  EXPECT_EQ(kept({1, 5, 3, 3, 2, 3}, 1), (std::vector<int32_t>{1}));
  EXPECT_EQ(kept({1, 5, 3}, 100), (std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(kept({4, 4, 4, 4}, 2), (std::vector<int32_t>{0, 1, 2, 3}));
}

TEST(TopP, KeepsTheSmallestSetThatExceedsTheMass) {
  auto kept = [](const std::vector<float>& probabilities, double top_p) {
    std::vector<Candidate> candidates = candidates_of(log_of(probabilities));
    keep_top_p(candidates, top_p);
    return ids(candidates);
  };
  EXPECT_EQ(kept({0.3f, 0.11f, 0.09f, 0.5f}, 0.75), (std::vector<int32_t>{0, 3}));
  EXPECT_EQ(kept({0.3f, 0.11f, 0.09f, 0.5f}, 0.85), (std::vector<int32_t>{0, 1, 3}));
  EXPECT_EQ(kept({0.3f, 0.11f, 0.09f, 0.5f}, 0.95), (std::vector<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(kept({0.3f, 0.11f, 0.09f, 0.5f}, 0.4), (std::vector<int32_t>{3}));
  EXPECT_EQ(kept({0.3f, 0.11f, 0.09f, 0.5f}, 1e-9), (std::vector<int32_t>{3}));
  EXPECT_EQ(kept({1.0f}, 0.5), (std::vector<int32_t>{0}));
}

TEST(TopP, DropsTheLowerIdsOfEqualScoresFirst) {
  std::vector<Candidate> candidates = candidates_of({1, 1, 1, 1, 1});
  keep_top_p(candidates, 0.5);  // 3/5 is the first share above 1/2
  EXPECT_EQ(ids(candidates), (std::vector<int32_t>{2, 3, 4}));
  candidates = candidates_of({1, 1, 1, 1, 1});
  keep_top_p(candidates, 1e-9);
  EXPECT_EQ(ids(candidates), (std::vector<int32_t>{4}));
}

// The definition: sort ascending, drop while the cumulative probability stays at or below 1 -
// top_p.
std::vector<int32_t> plain_top_p(const std::vector<float>& scores, double top_p) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  auto score = [&](int32_t token) { return scores[static_cast<std::size_t>(token)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return score(a) < score(b); });
  double total = 0.0;
  for (int32_t token : order)
    total += std::exp(static_cast<double>(score(token) - score(order.back())));
  double mass = 0.0;
  std::vector<int32_t> kept;
  for (int32_t token : order) {
    mass += std::exp(static_cast<double>(score(token) - score(order.back()))) / total;
    const bool is_last = token == order.back();
    if (is_last || static_cast<float>(mass) > static_cast<float>(1.0 - top_p))
      kept.push_back(token);
  }
  std::sort(kept.begin(), kept.end());
  return kept;
}

TEST(TopP, AgreesWithThePlainDefinitionOnDistributionsOfEveryShape) {
  constexpr uint64_t kSeed = 77;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  std::mt19937_64 random(kSeed);
  auto uniform = [&] { return static_cast<double>(random() >> 11) * 0x1.0p-53; };
  std::size_t least = 1000000;
  std::size_t most = 0;
  for (int round = 0; round < 400; ++round) {
    const std::size_t size = 1 + random() % 3000;
    const double spread = std::pow(10.0, 3.0 * uniform() - 1.5);  // from flat to peaked
    std::vector<float> scores(size);
    for (float& score : scores) score = static_cast<float>(spread * (uniform() + uniform() - 1.0));
    if (round % 3 == 0) {  // with many ties
      for (float& score : scores) score = std::round(score * 2.0f) / 2.0f;
    }
    const double top_p = round % 5 == 0 ? 1.0 - 1e-4 * uniform() : 0.01 + 0.98 * uniform();
    std::vector<Candidate> candidates = candidates_of(scores);
    keep_top_p(candidates, top_p);
    ASSERT_EQ(ids(candidates), plain_top_p(scores, top_p)) << "round " << round;
    least = std::min(least, candidates.size());
    most = std::max(most, candidates.size());
  }
  EXPECT_EQ(least, 1u);
  EXPECT_GT(most, 2000u);
}

TEST(MinP, KeepsWhatIsLikelyEnoughBesideTheLikeliest) {
  auto kept = [](float min_p) {
    std::vector<Candidate> candidates = candidates_of(log_of({0.4f, 0.21f, 0.19f, 0.2f}));
    keep_min_p(candidates, min_p);
    return ids(candidates);
  };
  EXPECT_EQ(kept(0.1f), (std::vector<int32_t>{0, 1, 2, 3}));
  EXPECT_EQ(kept(0.51f), (std::vector<int32_t>{0, 1}));
  EXPECT_EQ(kept(1.0f), (std::vector<int32_t>{0}));
}

TEST(Draw, WalksTheCumulativeDistribution) {
  const std::vector<Candidate> candidates = candidates_of(log_of({0.25f, 0.5f, 0.25f}));
  EXPECT_EQ(draw(candidates, 0.0), 0);
  EXPECT_EQ(draw(candidates, 0.2499), 0);
  EXPECT_EQ(draw(candidates, 0.2501), 1);
  EXPECT_EQ(draw(candidates, 0.7499), 1);
  EXPECT_EQ(draw(candidates, 0.7501), 2);
  EXPECT_EQ(draw(candidates, std::nextafter(1.0, 0.0)), 2);
}

TEST(Draw, NeverGivesAnImpossibleToken) {
  const std::vector<Candidate> candidates = {{-2000, 0}, {0, 1}, {-2000, 2}};
  EXPECT_EQ(draw(candidates, 0.0), 1);
  EXPECT_EQ(draw(candidates, std::nextafter(1.0, 0.0)), 1);
}

}  // namespace
}  // namespace chatglm
