// layer_norm() on the device against the reference.
#include "cuda_kernels/test_support.h"
#include "kernels/cuda/row_ops.h"
#include "kernels/reference/reference.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr uint64_t kSeed = 32;
constexpr float kEpsilon = 1e-5f;
constexpr float kScale = 7.483f;

using LayerNorm = CudaKernelTest;

struct Result {
  std::vector<float> y, scaled;
};

struct Case {
  int64_t rows, cols;
  std::vector<float> x, weight, bias;

  Case(Random& random, int64_t num_rows, int64_t num_cols, float scale, float mean)
      : rows(num_rows),
        cols(num_cols),
        x(random.normals(num_rows * num_cols, scale)),
        weight(random.normals(num_cols)),
        bias(random.normals(num_cols)) {
    for (float& value : x) value += mean;
  }

  // The scaled output takes the place of x.
  Result run() const {
    const DeviceArray<float> scaled(x, 1), y(rows * cols, 5), w(weight, 3), b(bias, 7);
    layer_norm(
        {scaled.data(), w.data(), b.data(), y.data(), scaled.data(), rows, cols, kEpsilon, kScale},
        nullptr);
    return {y.values(), scaled.values()};
  }

  Result expected() const {
    Result result{x, x};
    reference::layer_norm({x.data(), weight.data(), bias.data(), result.y.data(),
                           result.scaled.data(), rows, cols, kEpsilon, kScale});
    return result;
  }

  // Mean and variance are as good as exact; then a few roundings of the product and of the sum with
  // the bias.
  std::vector<double> bound(double factor) const {
    std::vector<double> result;
    for (int64_t row = 0; row < rows; ++row) {
      const float* values = x.data() + row * cols;
      double mean = 0, variance = 0;
      for (int64_t i = 0; i < cols; ++i) mean += values[i] / static_cast<double>(cols);
      for (int64_t i = 0; i < cols; ++i) {
        variance += (values[i] - mean) * (values[i] - mean) / static_cast<double>(cols);
      }
      const double inverse = 1 / std::sqrt(variance + double{kEpsilon});
      for (int64_t i = 0; i < cols; ++i) {
        const auto column = static_cast<std::size_t>(i);
        const double w = std::fabs(double{weight[column]}), b = std::fabs(double{bias[column]});
        const double error = kUnit * (1e-6 * std::fabs(mean) + 6 * std::fabs(values[i] - mean));
        result.push_back(factor * (error * inverse * w + 3 * kUnit * b));
      }
    }
    return result;
  }
};

TEST_F(LayerNorm, MatchesReference) {
  Random random(kSeed);
  for (const int64_t cols : {1, 2, 7, 31, 33, 255, 256, 257, 1000, 4096}) {
    // Rows of one number alone, where only epsilon is left; rows far from zero.
    for (const auto& [scale, mean] : {std::pair{0.0f, 0.0f},
                                      {0.0f, 3.0f},
                                      {1e-6f, 0.0f},
                                      {1.0f, 0.5f},
                                      {1e5f, 10.0f},
                                      {1.0f, 1e3f}}) {
      const Case test(random, 3, cols, scale, mean);
      const Result actual = test.run(), expected = test.expected();
      ASSERT_TRUE(within(actual.y, expected.y, test.bound(1)))
          << "cols=" << cols << " scale=" << scale << " mean=" << mean;
      ASSERT_TRUE(within(actual.scaled, expected.scaled, test.bound(1.2 * kScale)))
          << "cols=" << cols << " scale=" << scale << " mean=" << mean;
    }
  }
}

TEST_F(LayerNorm, BoundHasTeeth) {
  Random random(kSeed);
  Case test(random, 1, 4096, 1, 0);
  const Result expected = test.expected();
  const std::vector<double> bound = test.bound(1);
  test.x[4095] += 2;
  EXPECT_FALSE(within(test.run().y, expected.y, bound));
}

TEST_F(LayerNorm, WithoutAScaledCopyAndAlone) {
  Random random(kSeed);
  const Case test(random, 5, 300, 1, 1);
  const std::vector<float> whole = test.run().y;
  const DeviceArray<float> w(test.weight), b(test.bias);
  for (int64_t row = 0; row < test.rows; ++row) {
    const auto begin = test.x.begin() + row * test.cols;
    const DeviceArray<float> y(std::vector<float>(begin, begin + test.cols), 1);
    layer_norm({y.data(), w.data(), b.data(), y.data(), nullptr, 1, test.cols, kEpsilon, 0},
               nullptr);
    const auto expected = whole.begin() + row * test.cols;
    EXPECT_TRUE(
        same_bits(y.values(), std::vector<float>(expected, expected + test.cols), test.cols));
  }
}

}  // namespace
}  // namespace chatglm::kernels::cuda
