// linear() of every ISA and storage type against the reference.
#include <ostream>

#include "kernels/linear_case.h"

namespace chatglm::kernels {
namespace {

constexpr uint64_t kSeed = 20231027;

LinearCase random_case(Random& random, DType dtype, int64_t m, int64_t n, int64_t k,
                       float x_scale = 1) {
  LinearCase test{dtype, m, n, k, {}, {}, {}, {}};
  test.weights = random_weights(random, dtype, n * k, 0.05f);
  test.x = random.normals(m * k, x_scale);
  return test;
}

std::string describe(const LinearCase& test) {
  return "m=" + std::to_string(test.m) + " n=" + std::to_string(test.n) +
         " k=" + std::to_string(test.k) + (test.bias.empty() ? "" : " bias") +
         (test.y.empty() ? "" : " accumulate") + " seed=" + std::to_string(kSeed);
}

class Linear : public TypedKernelTest {
 protected:
  void expect_exact(const LinearCase& test) const {
    const LinearCase computed = as_computed(test);
    const std::vector<float> magnitudes = computed.magnitudes();
    ASSERT_LT(*std::max_element(magnitudes.begin(), magnitudes.end()), 1 << 24)
        << "the case itself is not exact: " << describe(test);
    const std::vector<double> exact(magnitudes.size(), 0.0);
    ASSERT_TRUE(within(PackedCase(kernel(), test).product(), computed.expected(), exact))
        << describe(test);
  }
  const LinearKernel& kernel() const { return table().linear_kernel(dtype()); }
  // Input lengths: with a tail for every vector width, where the type allows it.
  std::vector<int64_t> input_lengths() const {
    if (type().block_elements == 256) return {256, 512, 768, 1280};
    if (type().is_quantized()) return {32, 64, 96, 512, 1056};
    return {1, 5, 8, 31, 32, 64, 96, 100, 512, 1056};
  }
  bool quantizes_input() const { return type().is_quantized(); }
  bool in_bf16(int64_t m) const { return m > kernel().rows_before_bf16; }
  // What is left to be computed once inputs and weights have been rounded.
  LinearCase as_computed(const LinearCase& test) const {
    return in_bf16(test.m) ? test.in_bf16() : test;
  }
};

TEST_P(Linear, IsExactOnIntegers) {
  Random random(kSeed);
  int cases = 0;
  for (const int64_t k : input_lengths()) {
    for (const int64_t n : {1, 7, 8, 9, 15, 16, 17, 33, 100}) {
      for (const int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 33}) {
        LinearCase test = exact_case(random, dtype(), m, n, k);
        if (random.integer(0, 1) == 1) test.bias = integer_blocks(random, n, 100, 100);
        if (random.integer(0, 1) == 1) test.y = integer_blocks(random, m * n, 100, 100);
        expect_exact(test);
        ++cases;
      }
    }
  }
  EXPECT_GE(cases, 4 * 9 * 12);
}

// Sizes around the blocks of the kernels that cut long products into some.
TEST_P(Linear, ManyRowsAreExactOnIntegers) {
  Random random(kSeed);
  const int64_t k = whole_blocks(dtype(), 288);
  struct Shape {
    int64_t m, n, k;
  };
  for (const Shape shape : {Shape{31, 40, k},
                            {32, 16, k},
                            {33, 48, 3 * k},
                            {64, 33, k},
                            {100, 70, k},
                            {40, 300, 2 * k},
                            {600, 17, whole_blocks(dtype(), 64)}}) {
    LinearCase test = exact_case(random, dtype(), shape.m, shape.n, shape.k);
    test.bias = integer_blocks(random, test.n, 100, 100);
    expect_exact(test);
    test.y = integer_blocks(random, test.m * test.n, 100, 100);
    expect_exact(test);
  }
}

// Inputs that int8 holds exactly, weights of any value: only f32 rounding is left.
TEST_P(Linear, RoundsNoMoreThanItsOperations) {
  Random random(kSeed);
  int noticed = 0;
  for (const int64_t k : input_lengths()) {
    for (const int64_t m : {1, 2, 7, 16, 33}) {
      LinearCase test = random_case(random, dtype(), m, 33, k);
      test.x = integer_blocks(random, m * k, 127, 127.0f);
      test.bias = random.normals(test.n);
      test.y = random.normals(m * test.n);
      const std::vector<float> expected = as_computed(test).expected();
      const std::vector<double> bound =
          in_bf16(m) ? test.bf16_rounding_bound() : test.rounding_bound();
      ASSERT_TRUE(within(PackedCase(kernel(), test).product(), expected, bound)) << describe(test);

      // The bound notices one wrong weight, the last one that counts.
      LinearCase wrong = test;
      wrong.weights.clear();
      for (int64_t i = 1; i <= k && wrong.weights.empty(); ++i) {
        if (*(test.x.end() - i) == 0) continue;
        wrong.weights = with_wrong_bit(dtype(), test.weights, test.n * k - i);
      }
      if (wrong.weights.empty()) continue;  // all zero, any weights are right
      ASSERT_FALSE(within(PackedCase(kernel(), wrong).product(), expected, bound))
          << "the bound has no teeth: " << describe(test);
      ++noticed;
    }
  }
  EXPECT_GT(noticed, 0);
}

// Inputs of any value, from tiny ones to those of a long residual stream, with outliers.
TEST_P(Linear, KeepsTheStepOfItsInputs) {
  Random random(kSeed);
  for (const float scale : {1e-5f, 1.0f, 1e5f}) {
    for (const int64_t k : input_lengths()) {
      for (const int64_t m : {1, 3, 9, 33}) {
        LinearCase test = random_case(random, dtype(), m, 33, k, scale);
        if (k > 1) test.x[static_cast<std::size_t>(k) / 2] = 1e5f;
        const std::vector<double> bound = in_bf16(m)          ? test.bf16_bound()
                                          : quantizes_input() ? test.quantized_input_bound()
                                                              : test.rounding_bound();
        ASSERT_TRUE(within(PackedCase(kernel(), test).product(), test.expected(), bound))
            << describe(test) << " scale=" << scale;
      }
    }
  }
}

TEST_P(Linear, StepBoundHasTeeth) {
  Random random(kSeed);
  const int64_t k = whole_blocks(dtype(), 96);
  LinearCase test = random_case(random, dtype(), 1, 33, k);
  // Only one block of inputs, so that one weight matters beside the others' steps.
  std::fill(test.x.begin() + kInputBlock, test.x.end(), 0.0f);
  const std::vector<double> bound =
      quantizes_input() ? test.quantized_input_bound() : test.rounding_bound();
  const std::vector<float> expected = test.expected();
  const auto largest = std::max_element(
      test.x.begin(), test.x.end(), [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  for (const int64_t row : {0, 8, 15, 16, 32}) {
    LinearCase wrong = test;
    wrong.weights = with_wrong_bit(dtype(), test.weights, row * k + (largest - test.x.begin()));
    ASSERT_FALSE(wrong.weights.empty());
    EXPECT_FALSE(within(PackedCase(kernel(), wrong).product(), expected, bound)) << "row " << row;
  }
}

TEST_P(Linear, RowsDoNotDependOnTheirNeighbours) {
  Random random(kSeed);
  for (const int64_t k : {whole_blocks(dtype(), 32), int64_t{512}, input_lengths().back()}) {
    for (const int64_t rows : {16, 100}) {
      const LinearCase batch = random_case(random, dtype(), rows, 37, k);
      const std::vector<float> all = PackedCase(kernel(), batch).product();
      for (const int64_t m : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 31, 32, 33, 64}) {
        if (m > rows || in_bf16(m) != in_bf16(rows)) continue;
        LinearCase part = batch;
        part.m = m;
        part.x.assign(batch.x.end() - static_cast<std::ptrdiff_t>(m * k), batch.x.end());
        const std::vector<float> expected(all.end() - static_cast<std::ptrdiff_t>(m * batch.n),
                                          all.end());
        ASSERT_TRUE(same_bits(PackedCase(kernel(), part).product(), expected, m * batch.n))
            << describe(part);
      }
    }
  }
}

TEST_P(Linear, SplitsDoNotChangeResults) {
  Random random(kSeed);
  for (const int64_t m : {1, 7, 33}) {
    LinearCase test = random_case(random, dtype(), m, 100, whole_blocks(dtype(), 96));
    test.bias = random.normals(test.n);
    PackedCase packed(kernel(), test);
    const std::vector<float> whole = packed.product();
    for (int64_t cut = 0; cut <= packed.num_panels(); ++cut) {
      ASSERT_TRUE(same_bits(packed.product({0, cut, packed.num_panels()}), whole, m * test.n));
    }
    std::vector<int64_t> singles;
    for (int64_t panel = 0; panel <= packed.num_panels(); ++panel) singles.push_back(panel);
    ASSERT_TRUE(same_bits(packed.product(singles), whole, m * test.n));
  }
}

TEST_P(Linear, RowsMayLieInWiderOnes) {
  Random random(kSeed);
  for (const int64_t m : {1, 2, 7, 33}) {
    LinearCase test = random_case(random, dtype(), m, 37, whole_blocks(dtype(), 96));
    test.bias = random.normals(test.n);
    for (const bool accumulate : {false, true}) {
      if (accumulate) test.y = random.normals(m * test.n);
      PackedCase packed(kernel(), test);
      const std::vector<float> expected = packed.product();
      for (const int64_t gap : {1, 8, 91}) {
        ASSERT_TRUE(same_bits(packed.product({0, packed.num_panels()}, gap), expected, m * test.n))
            << describe(test) << " gap=" << gap;
      }
    }
  }
}

// A NaN or an infinity must be seen at the end, not be quantized away.
TEST_P(Linear, NonFiniteInputsStayNonFinite) {
  Random random(kSeed);
  const int64_t k = whole_blocks(dtype(), 96);
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const int64_t m : {9, 40}) {
      LinearCase test = random_case(random, dtype(), m, 17, k);
      test.x[static_cast<std::size_t>(3 * k) + 40] = poison;
      const std::vector<float> y = PackedCase(kernel(), test).product();
      for (std::size_t i = 0; i < y.size(); ++i) {
        ASSERT_EQ(std::isfinite(y[i]), i / 17 != 3) << "row " << i / 17 << " output " << i % 17;
      }
    }
  }
}

// Norms and gates on the way into a product are those of rms_norm and silu_mul.
TEST_P(Linear, PreparesWhatOtherOperationsWouldWrite) {
  if (kernel().prepare_input == nullptr) GTEST_SKIP() << "reads plain rows";
  Random random(kSeed);
  const int64_t k = whole_blocks(dtype(), 96);
  for (const int64_t m : {1, 5, 40}) {
    if (kernel().input_row_bytes(k, m) == 0) continue;  // few rows may be read plain
    const std::vector<float> x = random.normals(m * 2 * k, 3), weight = random.normals(k);
    std::vector<float> normed(static_cast<std::size_t>(m * k)), gated(normed.size());
    table().rms_norm({x.data(), weight.data(), normed.data(), m, k, 1e-5f}, 0, m);
    table().silu_mul({x.data(), gated.data(), m, k}, 0, m);
    const auto prepared = [&](PrepareArgs args) {
      GuardedArray<std::byte> bytes(m * kernel().input_row_bytes(k, m));
      args.prepared = bytes.data();
      args.m = m;
      args.k = k;
      for (int64_t row = m; row-- > 0;) kernel().prepare_input(args, row, row + 1);
      EXPECT_TRUE(bytes.guards_intact());
      return bytes.values();
    };
    EXPECT_EQ(prepared({.x = x.data(), .norm_weight = weight.data(), .norm_epsilon = 1e-5f}),
              prepared({.x = normed.data()}));
    EXPECT_EQ(prepared({.x = x.data(), .gated = true}), prepared({.x = gated.data()}));
  }
}

TEST_P(Linear, AnEmptyRangeWritesNothing) {
  Random random(kSeed);
  const LinearCase test = random_case(random, dtype(), 2, 9, whole_blocks(dtype(), 32));
  const std::vector<float> untouched = PackedCase(kernel(), test).product({0, 0, 0});
  EXPECT_TRUE(same_bits(untouched, test.initial(), 18));
}

CHATGLM_FOR_EVERY_TABLE_AND_TYPE(Linear);

}  // namespace
}  // namespace chatglm::kernels
