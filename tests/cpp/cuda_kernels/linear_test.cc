// linear() on the device for up to 16 rows, every storage type, against the reference.
#include "kernels/cuda/linear.h"

#include "cuda_kernels/test_support.h"
#include "kernels/cuda/product.h"
#include "kernels/linear_case.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr uint64_t kSeed = 20231027;
constexpr DeviceTraits kTraits{.compute_capability = 80, .multiprocessors = 4};

std::string describe(const LinearCase& test) {
  return "m=" + std::to_string(test.m) + " n=" + std::to_string(test.n) +
         " k=" + std::to_string(test.k) + (test.bias.empty() ? "" : " bias") +
         (test.y.empty() ? "" : " accumulate");
}

// The case as the device computes it; everything that is written lies between guards.
struct Inputs {
  const std::vector<float>* norm_weight = nullptr;
  float norm_epsilon = 0;
  bool gated = false;  // test.x is then (m, 2 k)
};

std::vector<float> product(const LinearCase& test, int64_t gap = 0, const Inputs& inputs = {},
                           int64_t misalign = 0) {
  constexpr float kUntouched = 12345.5F;
  const WeightLayout layout = weight_layout(test.dtype, test.n, test.k);
  std::vector<std::byte> packed(static_cast<std::size_t>(layout.size_bytes));
  pack_rows(test.weights.data(), test.n, layout, 0, packed.data());
  const std::vector<float> initial = test.initial();
  std::vector<float> spread;
  for (int64_t row = 0; row < test.m; ++row) {
    spread.insert(spread.end(), initial.begin() + row * test.n,
                  initial.begin() + (row + 1) * test.n);
    spread.insert(spread.end(), static_cast<std::size_t>(gap), kUntouched);
  }

  const DeviceArray<std::byte> weights(packed);
  const DeviceArray<float> x(test.x, misalign), bias(test.bias, 1), y(spread, 1);
  const DeviceArray<float> norm(inputs.norm_weight == nullptr ? std::vector<float>()
                                                              : *inputs.norm_weight);
  const DeviceArray<std::byte> prepared(prepared_bytes(test.m, test.k));
  linear({.weight = device_weight(layout, weights.data()),
          .input = {.x = x.data(),
                    .norm_weight = inputs.norm_weight == nullptr ? nullptr : norm.data(),
                    .norm_epsilon = inputs.norm_epsilon,
                    .gated = inputs.gated,
                    .prepared = prepared.data(),
                    .m = test.m,
                    .k = test.k},
          .bias = test.bias.empty() ? nullptr : bias.data(),
          .y = y.data(),
          .y_stride = test.n + gap,
          .accumulate = !test.y.empty()},
         kTraits, nullptr);
  const std::vector<float> written = y.values();
  static_cast<void>(prepared.values());  // its guards
  EXPECT_TRUE(same_bits(x.values(), test.x, x.size())) << "wrote to x";
  std::vector<float> result;
  for (int64_t row = 0; row < test.m; ++row) {
    const auto begin = written.begin() + row * (test.n + gap);
    result.insert(result.end(), begin, begin + test.n);
    EXPECT_EQ(std::count(begin + test.n, begin + test.n + gap, kUntouched), gap)
        << "wrote between the rows of y";
  }
  return result;
}

class CudaLinear : public CudaKernelTest, public ::testing::WithParamInterface<DType> {
 protected:
  DType dtype() const { return GetParam(); }
  bool is_quantized() const { return dtype_info(dtype()).is_quantized(); }
  // One block, a whole step of all lanes, and tails of either.
  std::vector<int64_t> input_lengths() const {
    if (dtype_info(dtype()).block_elements == 256) return {256, 1280};
    if (is_quantized()) return {32, 96, 1056, 1024};
    return {1, 5, 8, 31, 100, 256, 1056};
  }
  LinearCase random_case(Random& random, int64_t m, int64_t n, int64_t k, float x_scale = 1) const {
    LinearCase test{dtype(), m, n, k, {}, {}, {}, {}};
    test.weights = random_weights(random, dtype(), n * k, 0.05F);
    test.x = random.normals(m * k, x_scale);
    return test;
  }
};

TEST_P(CudaLinear, IsExactOnIntegers) {
  Random random(kSeed);
  for (const int64_t k : input_lengths()) {
    for (const int64_t n : {1, 7, 33, 40}) {
      for (const int64_t m : {1, 2, 3, 8, 13}) {
        LinearCase test = exact_case(random, dtype(), m, n, k);
        if (random.integer(0, 1) == 1) test.bias = integer_blocks(random, n, 100, 100);
        if (random.integer(0, 1) == 1) test.y = integer_blocks(random, m * n, 100, 100);
        const std::vector<float> magnitudes = test.magnitudes();
        ASSERT_LT(*std::max_element(magnitudes.begin(), magnitudes.end()), 1 << 24)
            << "the case itself is not exact: " << describe(test);
        const std::vector<double> exact(magnitudes.size(), 0.0);
        ASSERT_TRUE(within(product(test), test.expected(), exact)) << describe(test);
      }
    }
  }
}

// Inputs that int8 holds exactly, weights of any value: only f32 rounding is left.
TEST_P(CudaLinear, RoundsNoMoreThanItsOperations) {
  Random random(kSeed);
  int noticed = 0;
  for (const int64_t k : input_lengths()) {
    for (const int64_t m : {1, 4}) {
      LinearCase test = random_case(random, m, 33, k);
      test.x = integer_blocks(random, m * k, 127, 127.0F);
      test.bias = random.normals(test.n);
      test.y = random.normals(m * test.n);
      const std::vector<float> expected = test.expected();
      const std::vector<double> bound = test.rounding_bound();
      ASSERT_TRUE(within(product(test), expected, bound)) << describe(test);

      // The bound notices one wrong weight, the last one that counts.
      LinearCase wrong = test;
      wrong.weights.clear();
      for (int64_t i = 1; i <= k && wrong.weights.empty(); ++i) {
        if (*(test.x.end() - i) == 0) continue;
        wrong.weights = with_wrong_bit(dtype(), test.weights, test.n * k - i);
      }
      if (wrong.weights.empty()) continue;  // all zero, any weights are right
      ASSERT_FALSE(within(product(wrong), expected, bound))
          << "the bound has no teeth: " << describe(test);
      ++noticed;
    }
  }
  EXPECT_GT(noticed, 0);
}

// Inputs of any value, from tiny ones to those of a long residual stream, with outliers.
TEST_P(CudaLinear, KeepsTheStepOfItsInputs) {
  Random random(kSeed);
  for (const float scale : {1e-5F, 1.0F, 1e5F}) {
    for (const int64_t k : input_lengths()) {
      for (const int64_t m : {1, 3}) {
        LinearCase test = random_case(random, m, 33, k, scale);
        if (k > 1) test.x[static_cast<std::size_t>(k) / 2] = 1e5F;
        const std::vector<double> bound =
            is_quantized() ? test.quantized_input_bound() : test.rounding_bound();
        ASSERT_TRUE(within(product(test), test.expected(), bound))
            << describe(test) << " scale=" << scale;
      }
    }
  }
}

TEST_P(CudaLinear, RowsDoNotDependOnTheirNumber) {
  Random random(kSeed);
  const int64_t k = is_quantized() ? 1280 : 1060;
  LinearCase all = random_case(random, kGemvRows, 37, k);
  all.bias = random.normals(all.n);
  const std::vector<float> expected = product(all);
  for (int64_t m = 1; m < kGemvRows; ++m) {
    LinearCase part = all;
    part.m = m;
    part.x.assign(all.x.end() - static_cast<std::ptrdiff_t>(m * k), all.x.end());
    const std::vector<float> last(expected.end() - static_cast<std::ptrdiff_t>(m * all.n),
                                  expected.end());
    ASSERT_TRUE(same_bits(product(part), last, m * all.n)) << describe(part);
  }
}

TEST_P(CudaLinear, RowsMayLieInWiderOnes) {
  Random random(kSeed);
  for (const int64_t m : {1, 2, 7}) {
    LinearCase test = random_case(random, m, 37, whole_blocks(dtype(), 96));
    test.bias = random.normals(test.n);
    for (const bool accumulate : {false, true}) {
      if (accumulate) test.y = random.normals(m * test.n);
      const std::vector<float> expected = product(test);
      ASSERT_TRUE(same_bits(product(test, 91), expected, m * test.n)) << describe(test);
      // Rows of x that can't be read 16 bytes at a time.
      ASSERT_TRUE(same_bits(product(test, 1, {}, 1), expected, m * test.n)) << describe(test);
    }
  }
}

// A NaN or an infinity must be seen at the end, not be quantized away.
TEST_P(CudaLinear, NonFiniteInputsStayNonFinite) {
  Random random(kSeed);
  const int64_t k = whole_blocks(dtype(), 96);
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const int64_t m : {2, 9}) {
      LinearCase test = random_case(random, m, 17, k);
      test.x[static_cast<std::size_t>((m - 1) * k) + 40] = poison;
      const std::vector<float> y = product(test);
      for (std::size_t i = 0; i < y.size(); ++i) {
        ASSERT_EQ(std::isfinite(y[i]), i / 17 != static_cast<std::size_t>(m - 1))
            << "row " << i / 17 << " output " << i % 17;
      }
    }
  }
}

// A norm or a gate on the way in gives the same bits as written out in f32 before.
TEST_P(CudaLinear, TakesInputsThroughNormsAndGates) {
  Random random(kSeed);
  for (const int64_t k : {whole_blocks(dtype(), 96), whole_blocks(dtype(), 1056)}) {
    for (const int64_t m : {1, 2, 5}) {
      LinearCase test = random_case(random, m, 19, k);
      const std::vector<float> weight = random.normals(k), wide = random.normals(m * 2 * k, 3);
      for (const bool gated : {false, true}) {
        LinearCase raw = test;
        if (gated) raw.x = wide;
        const DeviceArray<float> x(raw.x), norm(weight);
        const DeviceArray<std::byte> rows(prepared_bytes(m, k));
        prepare_input({.x = x.data(),
                       .norm_weight = gated ? nullptr : norm.data(),
                       .norm_epsilon = 1e-5F,
                       .gated = gated,
                       .prepared = rows.data(),
                       .m = m,
                       .k = k},
                      InputForm::kF32, nullptr);
        const std::vector<std::byte> bytes = rows.values();
        for (int64_t row = 0; row < m; ++row) {
          std::memcpy(test.x.data() + row * k,
                      bytes.data() + row * input_cols(InputForm::kF32, k) * 4,
                      static_cast<std::size_t>(k) * 4);
        }
        const Inputs inputs{
            .norm_weight = gated ? nullptr : &weight, .norm_epsilon = 1e-5F, .gated = gated};
        ASSERT_TRUE(same_bits(product(raw, 0, inputs), product(test), m * test.n))
            << describe(test) << (gated ? " gated" : " normed");
      }
    }
  }
}

std::vector<DType> every_dtype() {
  std::vector<DType> all;
  for (const DTypeInfo& type : all_dtypes()) all.push_back(type.dtype);
  return all;
}
INSTANTIATE_TEST_SUITE_P(Type, CudaLinear, ::testing::ValuesIn(every_dtype()),
                         [](const auto& param) {
                           return std::string(dtype_info(param.param).name);
                         });

TEST(CudaLinearShapes, NoRowsIsNothing) {
  linear({}, kTraits, nullptr);
}

}  // namespace
}  // namespace chatglm::kernels::cuda
