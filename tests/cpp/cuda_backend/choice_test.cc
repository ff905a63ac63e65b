// Token choice on the device: the host's choice for every rule, for any number of rows, and an
// error of its own for each row that has none.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "cuda_backend/test_support.h"

namespace chatglm {
namespace {

using namespace test;

constexpr uint32_t kSeed = 97;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Rules over the rows of one matrix of logits.
class ChoiceCase {
 public:
  explicit ChoiceCase(int64_t cols) : cols_(cols) {}

  int32_t add_row(const std::vector<float>& row) {
    EXPECT_EQ(static_cast<int64_t>(row.size()), cols_);
    logits_.insert(logits_.end(), row.begin(), row.end());
    return num_rows_++;
  }
  void add(int32_t row, const ChoiceRule& rule) {
    rows_.push_back(row);
    rules_.push_back(rule);
  }
  // The rule at `count` places of the distribution, the first and the last among them.
  void add_draws(int32_t row, ChoiceRule rule, int count) {
    rule.do_sample = true;
    for (int i = 0; i < count; ++i) {
      rule.uniform = i + 1 == count ? 1 - 0x1p-53 : static_cast<double>(i) / (count - 1);
      add(row, rule);
    }
  }

  std::span<const float> logits(std::size_t index) const {
    return std::span(logits_).subspan(static_cast<std::size_t>(rows_[index] * cols_),
                                      static_cast<std::size_t>(cols_));
  }
  const ChoiceRule& rule(std::size_t index) const { return rules_[index]; }
  Choice expected(std::size_t index) const {
    ChoiceWorkspace workspace;
    return try_choose_token(rules_[index], logits(index), workspace);
  }

  std::vector<Choice> run(Backend& backend) const {
    const auto device = uploaded(backend, logits_);
    std::vector<Choice> choices(rules_.size());
    backend.choose(device->as<float>(), cols_, rows_, rules_, choices);
    return choices;
  }

  // Not one differs.
  void expect_equal(Backend& backend) const {
    const std::vector<Choice> choices = run(backend);
    for (std::size_t i = 0; i < choices.size(); ++i) {
      const Choice host = expected(i);
      EXPECT_EQ(choices[i].token, host.token) << what(i);
      EXPECT_EQ(choices[i].error, host.error) << what(i);
    }
  }

  // How many differ, each of which the device draws from a place so near to the end of a token's
  // share that rounding may have moved it.
  int64_t count_different(Backend& backend) const {
    const std::vector<Choice> choices = run(backend);
    int64_t different = 0;
    for (std::size_t i = 0; i < choices.size(); ++i) {
      const Choice host = expected(i);
      EXPECT_EQ(choices[i].error, host.error) << what(i);
      if (choices[i].token == host.token) continue;
      ++different;
      EXPECT_TRUE(rules_[i].do_sample) << what(i);
      EXPECT_TRUE(is_at_the_end(i, choices[i].token, host.token))
          << what(i) << ": " << choices[i].token << " instead of " << host.token;
    }
    return different;
  }

  std::string what(std::size_t i) const {
    const ChoiceRule& rule = rules_[i];
    return "choice " + std::to_string(i) + " of row " + std::to_string(rows_[i]) + ", top_k " +
           std::to_string(rule.top_k) + ", top_p " + std::to_string(rule.top_p) + ", min_p " +
           std::to_string(rule.min_p) + ", temperature " + std::to_string(rule.temperature) +
           ", uniform " + std::to_string(rule.uniform);
  }

 private:
  // Whether both tokens are left of the host's filters, neighbours, and the draw is where one ends:
  // weights are rounded to 2^-45 of the likeliest's, sums on the host to 2^-53 of the total.
  bool is_at_the_end(std::size_t index, int32_t a, int32_t b) const {
    ChoiceWorkspace workspace;
    const std::vector<float> scores = processed_scores(rules_[index], logits(index), workspace);
    const auto [low, high] = std::minmax(a, b);
    if (low < 0) return false;
    const float highest = *std::max_element(scores.begin(), scores.end());
    double before = 0, total = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const double share = std::exp(static_cast<double>(scores[i] - highest));
      total += share;
      if (static_cast<int64_t>(i) <= low) before += share;
      if (static_cast<int64_t>(i) > low && static_cast<int64_t>(i) < high && share > 0x1p-40) {
        return false;
      }
    }
    const double bound = static_cast<double>(cols_) * (0x1p-45 + total * 0x1p-52);
    return scores[static_cast<std::size_t>(low)] > -kInfinity &&
           scores[static_cast<std::size_t>(high)] > -kInfinity &&
           std::fabs(rules_[index].uniform * total - before) <= bound;
  }

  const int64_t cols_;
  std::vector<float> logits_;  // (num_rows_, cols_)
  int32_t num_rows_ = 0;
  std::vector<int32_t> rows_;
  std::vector<ChoiceRule> rules_;
};

class CudaChoice : public CudaTest {
 protected:
  // From flat to peaked, with ties where `step` is not 0.
  std::vector<float> row(int64_t cols, float spread, float step = 0) {
    std::vector<float> values(static_cast<std::size_t>(cols));
    for (float& value : values) {
      value = spread * static_cast<float>(uniform() + uniform() - 1.0);
      if (step > 0) value = std::round(value / step) * step;
    }
    return values;
  }
  double uniform() { return static_cast<double>(random_() >> 11) * 0x1p-53; }
  int32_t below(int64_t count) {
    return static_cast<int32_t>(random_() % static_cast<uint64_t>(count));
  }
  std::vector<int32_t> tokens(int64_t count, int64_t cols) {
    std::vector<int32_t> chosen;
    for (int64_t i = 0; i < count; ++i) chosen.push_back(below(cols));
    return chosen;
  }

  std::mt19937_64 random_{kSeed};
};

TEST_F(CudaChoice, GreedyIsTheFirstOfTheHighest) {
  const auto backend = cuda_backend();
  for (const int64_t cols : {1, 2, 31, 32, 33, 1023, 2048, 2049, 5000}) {
    ChoiceCase choice_case(cols);
    for (const float spread : {1.0f, 30.0f}) {
      for (const float step : {0.0f, 0.5f}) {
        const int32_t index = choice_case.add_row(row(cols, spread, step));
        choice_case.add(index, {});
        choice_case.add(index, {.temperature = 1e-30f, .top_k = 1, .min_p = 1});  // not looked at
      }
    }
    std::vector<float> zeros(static_cast<std::size_t>(cols), -0.0f);
    if (cols > 1) zeros[1] = 0.0f;  // no higher than the first
    choice_case.add(choice_case.add_row(zeros), {});
    std::vector<float> lowest(static_cast<std::size_t>(cols), -kInfinity);
    lowest.back() = -3e38f;
    choice_case.add(choice_case.add_row(lowest), {});
    choice_case.expect_equal(*backend);
  }
}

TEST_F(CudaChoice, TiesAtEveryCut) {
  const auto backend = cuda_backend();
  ChoiceCase choice_case(6);
  const int32_t steps = choice_case.add_row({1, 5, 3, 3, 2, 3});
  const int32_t equal = choice_case.add_row({4, 4, 4, 4, 4, 4});
  const int32_t cut = choice_case.add_row({-kInfinity, 7, 7, -kInfinity, 6, 7});
  const int32_t zeros = choice_case.add_row({0.0f, -0.0f, 0.0f, -1, -0.0f, -2});
  for (const int32_t index : {steps, equal, cut, zeros}) {
    for (const int32_t top_k : {1, 2, 5, 6, 100}) {
      choice_case.add_draws(index, {.top_k = top_k}, 3);
    }
    for (const double top_p : {0.75, 0.5, 0.2, 1e-9}) {
      choice_case.add_draws(index, {.top_p = top_p}, 3);
      choice_case.add_draws(index, {.top_k = 4, .top_p = top_p, .min_p = 0.1f}, 2);
    }
    for (const float min_p : {0.1f, 0.3f, 1.0f}) choice_case.add_draws(index, {.min_p = min_p}, 2);
  }
  EXPECT_LE(choice_case.count_different(*backend), 2);
}

// More than one segment, and a tail of the list that is not at hand.
TEST_F(CudaChoice, FlatDistributionsOfManyColumns) {
  const auto backend = cuda_backend();
  ChoiceCase choice_case(5003);
  const int32_t flat = choice_case.add_row(row(5003, 0.01f)),
                equal = choice_case.add_row(row(5003, 1e-3f, 1)),
                rough = choice_case.add_row(row(5003, 4, 0.25f));
  for (const int32_t index : {flat, equal, rough}) {
    choice_case.add_draws(index, {}, 3);
    choice_case.add_draws(index, {.top_p = 0.9}, 4);
    choice_case.add_draws(index, {.top_k = 3000, .top_p = 0.95}, 3);
    choice_case.add_draws(index, {.min_p = 0.05f}, 3);
  }
  // Thirds and quarters of equal shares end where shares do.
  EXPECT_LE(choice_case.count_different(*backend), 3);
}

TEST_F(CudaChoice, EveryRuleOnEveryDistribution) {
  const auto backend = cuda_backend();
  constexpr int64_t kCols = 777;
  ChoiceCase choice_case(kCols);
  std::vector<int32_t> rows;
  for (const float spread : {0.01f, 1.0f, 8.0f, 40.0f, 300.0f}) {
    for (const float step : {0.0f, 0.5f}) {
      rows.push_back(choice_case.add_row(row(kCols, spread, step)));
      std::vector<float> holes = row(kCols, spread, step);
      for (float& value : holes) value = below(2) == 0 ? -kInfinity : value;
      rows.push_back(choice_case.add_row(holes));
    }
  }
  std::vector<std::vector<int32_t>> lists;
  for (int i = 0; i < 20; ++i) lists.push_back(tokens(1 + below(60), kCols));
  const auto list = [&] { return std::span(lists[static_cast<std::size_t>(below(20))]); };
  constexpr float kTemperatures[] = {1.0f, 0.8f, 0.1f, 3.0f, 1e-40f};
  for (int i = 0; i < 400; ++i) {
    ChoiceRule rule{.do_sample = i % 8 != 0, .uniform = uniform()};
    rule.temperature = kTemperatures[below(5)];
    if (i % 3 == 0) rule.top_k = 1 + below(i % 2 == 0 ? 50 : 1000);
    if (i % 5 < 3) rule.top_p = i % 7 == 0 ? 1 - 1e-6 * uniform() : 0.05 + 0.94 * uniform();
    if (i % 4 == 0) rule.min_p = static_cast<float>(uniform() * uniform());
    if (i % 6 == 0) {
      rule.repetition_penalty = below(2) == 0 ? 1.3f : 0.7f;
      rule.penalised = list();
    }
    if (i % 9 == 0) rule.banned = list();
    choice_case.add(rows[static_cast<std::size_t>(below(std::ssize(rows)))], rule);
  }
  // As many as lie within 2^-35 or so of an end: none to be expected.
  EXPECT_LE(choice_case.count_different(*backend), 1);
}

TEST_F(CudaChoice, ThousandsOfDraws) {
  const auto backend = cuda_backend();
  ChoiceCase choice_case(300);
  const int32_t plain = choice_case.add_row(row(300, 3)),
                tied = choice_case.add_row(row(300, 2, 1));
  for (int i = 0; i < 1000; ++i) {
    choice_case.add(i % 2 == 0 ? plain : tied, {.do_sample = true, .uniform = uniform()});
  }
  EXPECT_LE(choice_case.count_different(*backend), 1);
}

TEST_F(CudaChoice, AWholeVocabulary) {
  const auto backend = cuda_backend();
  constexpr int64_t kCols = 65024;
  ChoiceCase choice_case(kCols);
  const int32_t plain = choice_case.add_row(row(kCols, 12));
  choice_case.add(plain, {});
  for (const ChoiceRule& rule :
       {ChoiceRule{}, ChoiceRule{.temperature = 0.8f, .top_p = 0.8}, ChoiceRule{.top_k = 50},
        ChoiceRule{.temperature = 1.5f, .top_p = 0.95, .min_p = 0.01f}}) {
    ChoiceRule drawn = rule;
    drawn.do_sample = true;
    drawn.uniform = uniform();
    choice_case.add(plain, drawn);
  }
  EXPECT_EQ(choice_case.count_different(*backend), 0);
}

TEST_F(CudaChoice, WhatCannotBeChosenIsAnErrorOfItsRowAlone) {
  const auto backend = cuda_backend();
  ChoiceCase choice_case(40);
  std::vector<float> values = row(40, 3);
  const int32_t good = choice_case.add_row(values);
  values[7] = kNan;
  values[9] = kInfinity;
  const int32_t bad = choice_case.add_row(values);
  const int32_t nothing = choice_case.add_row(std::vector<float>(40, -kInfinity));
  const int32_t high = choice_case.add_row(std::vector<float>(40, 1e10f));
  std::vector<int32_t> all(40);
  std::iota(all.begin(), all.end(), 0);
  const std::vector<int32_t> outside = {3, 40}, below_zero = {-1};
  for (const bool do_sample : {false, true}) {
    choice_case.add(good, {.do_sample = do_sample});
    choice_case.add(bad, {.do_sample = do_sample});
    choice_case.add(bad, {.do_sample = do_sample, .top_p = 0.5, .banned = {all.data(), 20}});
    choice_case.add(nothing, {.do_sample = do_sample, .top_k = 3});
    choice_case.add(good, {.do_sample = do_sample, .banned = all});
    choice_case.add(good, {.do_sample = do_sample, .banned = outside});
    choice_case.add(high, {.do_sample = do_sample, .repetition_penalty = 1e-38f, .penalised = all});
    for (const std::vector<int32_t>* penalised : {&outside, &below_zero}) {
      choice_case.add(good,
                      {.do_sample = do_sample, .repetition_penalty = 2, .penalised = *penalised});
    }
    choice_case.add(good, {.do_sample = do_sample, .penalised = outside});  // no penalty
    choice_case.add(good, {.do_sample = do_sample, .top_p = 0.5});
  }
  choice_case.expect_equal(*backend);
  std::size_t errors = 0;
  for (const Choice& choice : choice_case.run(*backend)) errors += choice.error.empty() ? 0 : 1;
  EXPECT_EQ(errors, 2u * 7u);
}

// More rows than are chosen for at once, and each as if it were alone.
TEST_F(CudaChoice, ARowDependsOnItselfOnly) {
  const auto backend = cuda_backend();
  std::vector<float> values = row(100, 4);
  const std::vector<int32_t> penalised = tokens(30, 100);
  ChoiceCase together(100);
  together.add_row(values);
  std::vector<ChoiceRule> rules;
  for (int i = 0; i < 300; ++i) {
    ChoiceRule rule{.do_sample = i % 3 != 0, .uniform = uniform(), .top_p = 0.9};
    if (i % 2 == 0) {
      rule.repetition_penalty = 1.5f;
      rule.penalised = penalised;
    }
    rules.push_back(rule);
    together.add(0, rule);
  }
  const std::vector<Choice> choices = together.run(*backend);
  for (const std::size_t i : {0, 1, 2, 4, 255, 256, 299}) {
    ChoiceCase alone(100);
    alone.add(alone.add_row(values), rules[i]);
    EXPECT_EQ(alone.run(*backend).front().token, choices[i].token) << i;
  }
}

TEST_F(CudaChoice, MoreColumnsThanTheKernelsTake) {
  const auto backend = cuda_backend();
  constexpr int64_t kCols = (int64_t{1} << 19) + 1;
  ChoiceCase choice_case(kCols);
  std::vector<float> values(static_cast<std::size_t>(kCols), 1.0f);
  values.back() = 2.0f;
  choice_case.add(choice_case.add_row(values), {});
  choice_case.expect_equal(*backend);
}

TEST_F(CudaChoice, NoRowsIsNothing) {
  cuda_backend()->choose(nullptr, 8, {}, {}, {});
}

}  // namespace
}  // namespace chatglm
