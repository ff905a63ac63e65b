// paged_attention() on the device against the reference, and against plain attention at the same
// precision.
#include "cuda_kernels/attention_case.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kQ8_0};

double largest_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  double largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::fabs(double{actual[i]} - double{expected[i]}));
  }
  return largest;
}

class Attention : public CudaKernelTest {
 protected:
  void compare(const AttentionSpec& spec, int multiprocessors = 4) const {
    AttentionCase test(spec);
    test.store();
    const std::vector<float> actual = test.run(multiprocessors), expected = test.expected();
    EXPECT_TRUE(within(actual, expected, attention_bound(test))) << test.name();
    // The floor: values below 6, each off by a unit or two.
    EXPECT_LE(largest_error(actual, expected),
              2 * largest_error(plain_attention(test), expected) + 12 * kUnit)
        << "less precise than twice the plain version: " << test.name();
  }
};

// Lengths around the borders of pages, tiles and partitions.
const std::vector<int64_t> kLengths = {1, 15, 16, 17, 63, 64, 65, 255, 256, 257, 513};

TEST_F(Attention, DecodeMatchesReference) {
  for (const DType dtype : kTypes) {
    compare({{dtype, 2, 128, 16}, 16, {17, 270}, 1});
    compare({{dtype, 1, 64, 16}, 4, kLengths, 1});
  }
}

TEST_F(Attention, ChunksMatchReference) {
  for (const DType dtype : kTypes) {
    compare({{dtype, 1, 128, 16}, 16, {3, 264}, 9});
    compare({{dtype, 2, 64, 16}, 1, {150, 270}, 20});
  }
}

TEST_F(Attention, AnyHeadDim) {
  for (const int64_t head_dim : {16, 32, 48, 80, 96, 112, 144, 192, 256, 320}) {
    compare({{DType::kF16, 1, head_dim, 16}, 3, {70, 5}, 2});
  }
  for (const int64_t head_dim : {32, 64, 96, 192, 256, 512}) {
    compare({{DType::kQ8_0, 1, head_dim, 16}, 3, {70, 5}, 2});
  }
  for (const int64_t head_dim : {1, 6, 40, 129, 512}) {
    compare({{DType::kF32, 1, head_dim, 16}, 3, {70, 5}, 2});
  }
  compare({{DType::kF16, 2, 40, 16}, 3, {70, 5}, 2});
}

TEST_F(Attention, AnyGroup) {
  for (const int64_t group : {1, 2, 3, 5, 7, 8, 13, 17, 37, 130}) {
    compare({{DType::kF16, 1, 64, 16}, group, {20, 66}, 1});
    compare({{DType::kF16, 1, 64, 16}, group, {20, 66}, 7});
  }
  for (const int64_t group : {1, 3, 9, 20}) {
    compare({{DType::kF32, 2, 16, 16}, group, {20, 66}, 3});
  }
}

TEST_F(Attention, AnyPageSize) {
  for (const int64_t page_tokens : {1, 7, 12, 64, 100, 300}) {
    for (const DType dtype : kTypes) {
      compare({{dtype, 1, 64, page_tokens}, 2, {1, 64, 270}, 1});
    }
    compare({{DType::kF16, 1, 64, page_tokens}, 2, {270}, 10});
  }
}

// Rows that see what comes after them.
TEST_F(Attention, RowsThatSeeTheWholeSequence) {
  for (const DType dtype : kTypes) {
    compare({{dtype, 2, 64, 16}, 2, {3, 270}, 20, /*is_causal=*/false});
  }
}

// Split over as many blocks as there can be, and merged.
TEST_F(Attention, SplitRowsMatchReference) {
  for (const DType dtype : kTypes) {
    compare({{dtype, 1, 64, 16}, 4, {530, 790, 20}, 1}, 1000);
    compare({{dtype, 1, 64, 16}, 4, {530, 780}, 5}, 1000);
  }
  compare({{DType::kF32, 1, 300, 16}, 2, {800}, 3}, 1000);
  compare({{DType::kF16, 1, 16, 16}, 2, {33 * 256 + 1}, 1}, 1000);
}

// Scores of several hundred, queries and keys that as halves would be none, and very small ones.
TEST_F(Attention, LargeAndSmallScores) {
  for (const DType dtype : kTypes) {
    compare({{dtype, 1, 64, 16}, 4, {1, 270}, 2, true, 100});
    compare({{dtype, 1, 64, 16}, 4, {1, 70}, 6, true, 1e-6f});
    compare({{dtype, 1, 64, 16}, 4, {1, 70}, 1, true, 1e-30f});
  }
}

// Scores far above the largest half. The winning key is the only one whose product is largest: its
// value is the result.
TEST_F(Attention, HugeScoresChooseOneSlot) {
  for (const DType dtype : kTypes) {
    for (const int64_t rows : {1, 20}) {
      AttentionCase test({{dtype, 1, 64, 16}, 4, {270}, rows});
      const float key = dtype == DType::kF16 ? 6e4f : 2e5f;
      for (std::size_t i = 0; i < test.keys().size(); ++i) {
        test.keys()[i] = i / 64 == 77 ? key : key / 2;
      }
      for (float& query : test.query()) query = 3e7f;
      test.store();
      const std::vector<float> output = test.run();
      for (std::size_t i = 0; i < output.size(); ++i) {
        const float value = test.value(0, 0, 77)[i % 64];
        ASSERT_EQ(output[i], dtype == DType::kF32 ? value : as_half(value)) << i;
      }
    }
  }
}

// Equal weights and small integers: the mean of what a row sees, and of nothing else.
TEST_F(Attention, WeighsExactlyWhatIsVisible) {
  for (const DType dtype : kTypes) {
    for (const bool is_causal : {true, false}) {
      AttentionCase test({{dtype, 1, 64, 16}, 3, {530, 77}, 7, is_causal});
      std::fill(test.query().begin(), test.query().end(), 0.0f);
      Random random(5);
      for (float& value : test.values()) value = static_cast<float>(random.integer(-127, 127));
      // Of q8_0 exact where every block has the largest code.
      for (std::size_t i = 0; i < test.values().size(); i += 32) test.values()[i] = 127;
      test.store();
      std::vector<double> bound;
      const std::vector<float> expected = test.expected();
      for (const float value : expected) {
        bound.push_back(3 * kUnit * std::fabs(value) + 1e-12);
      }
      for (const int multiprocessors : {1, 1000}) {
        EXPECT_TRUE(within(test.run(multiprocessors), expected, bound)) << test.name();
      }
    }
  }
}

// However rows are tiled, split and batched: the same bits.
TEST_F(Attention, RowsDoNotDependOnTheirNeighbours) {
  for (const DType dtype : kTypes) {
    for (const int64_t group : {3, 16}) {
      if (group == 3 && dtype != DType::kF16) continue;
      AttentionCase test({{dtype, 1, 64, 16}, group, {3, 257, 530}, 3});
      test.store();
      const std::vector<float> together = test.run(1);
      EXPECT_TRUE(same_bits(test.run(1000), together, test.rows() * test.row_size()))
          << "split: " << test.name();
      for (int64_t row = 0; row < test.rows(); ++row) {
        const std::vector<float> alone = test.run(row % 2 == 0 ? 1 : 1000, row, 1);
        ASSERT_TRUE(same_bits(
            alone, std::vector<float>(together.begin() + row * test.row_size(), together.end()),
            test.row_size()))
            << "row " << row << ": " << test.name();
      }
    }
  }
}

TEST_F(Attention, NanStaysInItsRow) {
  for (const DType dtype : kTypes) {
    AttentionCase test({{dtype, 1, 64, 16}, 4, {90}, 40});
    test.query()[3 * (4 * 64 + 5) + 70] = std::numeric_limits<float>::quiet_NaN();
    test.store();
    const std::vector<float> output = test.run();
    for (std::size_t i = 0; i < output.size(); ++i) {
      ASSERT_EQ(std::isnan(output[i]), i / 64 == 3 * 4 + 1) << i;
    }
  }
}

}  // namespace
}  // namespace chatglm::kernels::cuda
