// When guesses pay, by measured times and rates that the test makes up.
#include "engine/draft_policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace chatglm {
namespace {

constexpr int64_t kMost = StepCosts::kMaxRows;

// A machine where a step takes 100 ms and `slope` more for each further row.
StepCosts linear_costs(double slope) {
  StepCosts costs;
  for (int64_t rows = 1; rows <= kMost; ++rows) {
    for (int i = 0; i < 3; ++i) costs.note(rows, 100 + slope * static_cast<double>(rows - 1));
  }
  return costs;
}

int64_t chosen(const StepCosts& costs, double rate, double draft_ms = 0) {
  const DraftCandidate candidate{rate, kMost - 1};
  return choose_drafts(costs, draft_ms, 1, kMost, {&candidate, 1})[0];
}

TEST(StepCosts, GuessesWhatWasNotMeasured) {
  StepCosts costs;
  EXPECT_LT(costs.ms(8), 2 * costs.ms(1));  // worth a try
  costs.note(1, 100);
  EXPECT_NEAR(costs.ms(6), 150, 1e-9);
  costs.note(9, 300);
  EXPECT_NEAR(costs.ms(5), 200, 1e-9);
  EXPECT_NEAR(costs.ms(9), 300, 1e-9);
  EXPECT_NEAR(costs.ms(13), 400, 1e-9);
}

TEST(DraftPolicy, KnowsFirstWhatAStepCostsWithoutGuesses) {
  StepCosts costs;
  EXPECT_EQ(chosen(costs, 0.99), 0);
  for (int i = 0; i < 3; ++i) costs.note(1, 100);
  EXPECT_GT(chosen(costs, 0.99), 0);
}

TEST(StepCosts, ADisturbedStepCountsLittle) {
  StepCosts costs;
  for (const double ms : {100, 101, 5000, 99, 100}) costs.note(1, ms);
  EXPECT_NEAR(costs.ms(1), 100, 1e-9);
}

TEST(StepCosts, ForgetsOldMeasurements) {
  StepCosts costs;
  costs.note(1, 100);
  costs.note(8, 5000);
  for (int i = 0; i < 600; ++i) costs.note(1, 100);
  EXPECT_LT(costs.ms(8), 200);
}

TEST(DraftPolicy, MoreGuessesWhereTheyAreRightAndRowsAreCheap) {
  EXPECT_EQ(chosen(linear_costs(0), 0.5), kMost - 1);
  EXPECT_EQ(chosen(linear_costs(27), 0.25), 0);
  EXPECT_EQ(chosen(linear_costs(100), 0.99), 0);
  EXPECT_EQ(chosen(linear_costs(27), 1.0), kMost - 1);
  const int64_t some = chosen(linear_costs(27), 0.8);
  EXPECT_GT(some, 0);
  EXPECT_LT(some, 8);
  EXPECT_GT(chosen(linear_costs(27), 0.95), some);
  EXPECT_GT(chosen(linear_costs(10), 0.8), some);
}

TEST(DraftPolicy, CountsTheTimeOfTheDraft) {
  EXPECT_EQ(chosen(linear_costs(5), 0.6, 100), 0);
  EXPECT_GT(chosen(linear_costs(5), 0.9, 20), 0);
  EXPECT_LT(chosen(linear_costs(5), 0.9, 20), chosen(linear_costs(5), 0.9, 1));
}

TEST(DraftPolicy, GivesRowsToTheLikeliestAndNeverTooMany) {
  const StepCosts costs = linear_costs(5);
  const std::vector<DraftCandidate> candidates = {{0.1, 15}, {0.95, 15}, {0.9, 2}, {0.0, 15}};
  const std::vector<int64_t> counts = choose_drafts(costs, 0, 6, kMost, candidates);
  EXPECT_EQ(counts[0], 0);
  EXPECT_GT(counts[1], counts[2]);
  EXPECT_EQ(counts[2], 2);
  EXPECT_EQ(counts[3], 0);
  EXPECT_LE(counts[1] + counts[2], 10);
  for (const int64_t count : choose_drafts(costs, 0, kMost, kMost, candidates)) EXPECT_EQ(count, 0);
  EXPECT_EQ(equal_drafts(3, 12, kMost, candidates), (std::vector<int64_t>{1, 1, 1, 1}));
  EXPECT_EQ(equal_drafts(3, 4, kMost, candidates), (std::vector<int64_t>{3, 3, 2, 3}));
}

// Plays a text on a made-up machine: a share of guesses is right, and changes at half of it.
// Returns the speed in tokens per step of one row.
double played(double slope, double first_rate, double second_rate) {
  std::mt19937 random(4);  // NOLINT: a fixed seed on purpose
  StepCosts costs;
  Acceptance acceptance;
  double total_ms = 0;
  int64_t tokens = 0;
  constexpr int64_t kTokens = 4000;
  while (tokens < kTokens) {
    const double truth = tokens < kTokens / 2 ? first_rate : second_rate;
    const int64_t count = chosen(costs, acceptance.rate(0.7));
    const int64_t judged = std::max<int64_t>(1, count);
    int64_t right = 0;
    while (right < judged && static_cast<double>(random() % 1000) < 1000 * truth) ++right;
    acceptance.note(right, right < judged);
    const double ms = 100 + slope * static_cast<double>(count);
    costs.note(1 + count, ms);
    total_ms += ms;
    tokens += std::min(right, count) + 1;
  }
  return static_cast<double>(tokens) * 100 / total_ms;
}

TEST(DraftPolicy, IsHardlyEverSlowerThanWithoutGuesses) {
  for (const double slope : {0.0, 5.0, 27.0, 50.0, 100.0}) {
    for (const double rate : {0.0, 0.1, 0.3, 0.5}) {
      EXPECT_GT(played(slope, rate, rate), 0.98) << "slope " << slope << ", rate " << rate;
    }
  }
}

TEST(DraftPolicy, AdaptsWhereTheTextChanges) {
  EXPECT_GT(played(5, 0.95, 0.95), 6.0);
  EXPECT_GT(played(27, 0.95, 0.95), 2.0);
  EXPECT_GT(played(27, 0.0, 0.95), 1.3);
  EXPECT_GT(played(27, 0.95, 0.0), 1.3);
}

}  // namespace
}  // namespace chatglm
