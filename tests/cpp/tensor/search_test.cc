// Every type with a search: never worse than the plain encoding, in the same format, and blind to
// everything but the ratios of its weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/float16.h"
#include "tensor/dtype.h"

namespace chatglm {
namespace {

constexpr uint32_t kSeed = 97;
constexpr int64_t kBlocks = 400;

struct Case {
  std::vector<float> values;
  std::vector<float> weights;  // empty: all equal
};

class SearchTest : public testing::TestWithParam<DTypeInfo> {
 protected:
  int64_t elements() const { return kBlocks * GetParam().block_elements; }

  // Normal, heavy-tailed, one-sided and sparse blocks of many magnitudes.
  std::vector<float> values() {
    std::vector<float> made;
    std::normal_distribution<float> normal;
    for (int64_t block = 0; block < kBlocks; ++block) {
      const float scale = std::exp2(static_cast<float>(block % 24) - 16.0f);
      for (int64_t i = 0; i < GetParam().block_elements; ++i) {
        float value = normal(random_);
        if (block % 4 == 1) value = value * value * value;
        if (block % 4 == 2) value = std::fabs(value);
        if (block % 4 == 3 && value < 1) value = 0;
        made.push_back(value * scale);
      }
    }
    return made;
  }

  std::vector<float> weights() {
    std::vector<float> made;
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < elements(); ++i) made.push_back(std::exp(2 * normal(random_)));
    return made;
  }

  std::vector<std::byte> plain(const std::vector<float>& values) const {
    std::vector<std::byte> bytes(static_cast<std::size_t>(GetParam().row_bytes(elements())));
    GetParam().encode(values.data(), bytes.data(), elements());
    return bytes;
  }

  std::vector<std::byte> search(const Case& test) const {
    std::vector<std::byte> bytes(static_cast<std::size_t>(GetParam().row_bytes(elements())));
    GetParam().search(test.values.data(), test.weights.empty() ? nullptr : test.weights.data(),
                      bytes.data(), elements());
    return bytes;
  }

  // Weighted squared error of each block.
  std::vector<double> errors(const std::vector<std::byte>& bytes, const Case& test) const {
    std::vector<float> decoded(test.values.size());
    GetParam().decode(bytes.data(), decoded.data(), elements());
    std::vector<double> sums(static_cast<std::size_t>(kBlocks));
    for (std::size_t i = 0; i < decoded.size(); ++i) {
      const double difference = static_cast<double>(decoded[i]) - test.values[i];
      const double weight = test.weights.empty() ? 1.0 : test.weights[i];
      sums[i / static_cast<std::size_t>(GetParam().block_elements)] +=
          weight * difference * difference;
    }
    return sums;
  }

  double total_gain(const Case& test) const {
    const std::vector<double> before = errors(plain(test.values), test);
    const std::vector<double> after = errors(search(test), test);
    double log_ratio = 0;
    for (std::size_t block = 0; block < before.size(); ++block) {
      EXPECT_LE(after[block], before[block] * (1 + 1e-6)) << "block " << block;
      if (before[block] > 0) log_ratio += std::log(std::max(after[block] / before[block], 1e-6));
    }
    return 1 - std::exp(log_ratio / kBlocks);
  }

  std::mt19937 random_{kSeed};
};

TEST_P(SearchTest, IsNeverWorseThanPlainAndMostlyBetter) {
  if (GetParam().block_elements == 256) GTEST_SKIP() << "K-quants are only ever searched";
  Case test{values(), {}};
  const double equal_gain = total_gain(test);
  test.weights = weights();
  const double weighted_gain = total_gain(test);
  RecordProperty("gain_percent", std::to_string(100 * equal_gain));
  EXPECT_GT(equal_gain, 0.10);
  EXPECT_GT(weighted_gain, 0.25);
}

TEST_P(SearchTest, OnlyRatiosOfWeightsCount) {
  Case test{values(), weights()};
  const std::vector<std::byte> expected = search(test);
  for (float& weight : test.weights) weight *= 0x1p-40f;
  EXPECT_EQ(search(test), expected);
  test.weights.assign(test.weights.size(), 0x1p30f);
  EXPECT_EQ(search(test), search({test.values, {}}));
}

TEST_P(SearchTest, BlocksWithoutAnyWeightAreStillEncoded) {
  Case test{values(), {}};
  test.weights.assign(test.values.size(), 0.0f);
  EXPECT_EQ(search(test), search({test.values, {}}));
}

TEST_P(SearchTest, KeepsExactBlocksExact) {
  if (GetParam().block_elements == 256) GTEST_SKIP() << "two levels of scales: no one solution";
  std::vector<float> exact(static_cast<std::size_t>(elements()));
  GetParam().decode(plain(values()).data(), exact.data(), elements());
  const Case test{exact, {}};
  for (const double error : errors(search(test), test)) EXPECT_EQ(error, 0);
}

TEST_P(SearchTest, OddValuesAreEncodedAsThePlainWay) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const float odd : {nan, inf, -inf, 3e38f, 1e-38f, 1e-9f, 0.0f, -0.0f}) {
    for (const float rest : {0.0f, 1e-30f}) {
      Case test{std::vector<float>(static_cast<std::size_t>(elements()), rest), {}};
      for (std::size_t i = 5; i < test.values.size(); i += 32) test.values[i] = odd;
      EXPECT_EQ(search(test), plain(test.values)) << odd << " among " << rest;
    }
  }
}

std::vector<DTypeInfo> searching_types() {
  std::vector<DTypeInfo> types;
  for (const DTypeInfo& info : all_dtypes()) {
    if (info.search != nullptr) types.push_back(info);
  }
  return types;
}

INSTANTIATE_TEST_SUITE_P(AllTypes, SearchTest, testing::ValuesIn(searching_types()),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace chatglm
