// rms_norm() on the device against the reference.
#include "cuda_kernels/test_support.h"
#include "kernels/cuda/row_ops.h"
#include "kernels/reference/reference.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr uint64_t kSeed = 11;
constexpr float kEpsilon = 1e-5f;

using RmsNorm = CudaKernelTest;

// Around the block's 256 threads, and odd.
constexpr int64_t kCols[] = {1, 2, 7, 31, 32, 33, 100, 255, 256, 257, 1000, 4096};

std::vector<float> run(const std::vector<float>& x, const std::vector<float>& weight,
                       const std::vector<float>* before = nullptr) {
  const auto cols = static_cast<int64_t>(weight.size());
  const int64_t rows = static_cast<int64_t>(x.size()) / cols;
  const DeviceArray<float> in(x, 1), w(weight, 3);
  if (before == nullptr) {
    rms_norm({in.data(), w.data(), in.data(), rows, cols, kEpsilon}, nullptr);  // in place
    return in.values();
  }
  const DeviceArray<float> out(*before, 2);
  rms_norm({in.data(), w.data(), out.data(), rows, cols, kEpsilon, true}, nullptr);
  return out.values();
}

// The squares are of one sign: the sum is off by cols units at most, its root by half of it.
double relative_bound(int64_t cols) {
  return (static_cast<double>(cols) / 2 + 6) * kUnit;
}

TEST_F(RmsNorm, MatchesReference) {
  Random random(kSeed);
  for (const int64_t cols : kCols) {
    for (const float scale : {0.0f, 1e-6f, 1.0f, 1e5f}) {
      const int64_t rows = 3;
      std::vector<float> x = random.normals(rows * cols, scale);
      x[0] = scale == 0 ? 0 : 1e5f;
      const std::vector<float> weight = random.normals(cols);
      std::vector<float> expected(x.size());
      reference::rms_norm({x.data(), weight.data(), expected.data(), rows, cols, kEpsilon});
      std::vector<double> bound;
      for (const float value : expected) bound.push_back(relative_bound(cols) * std::fabs(value));
      ASSERT_TRUE(within(run(x, weight), expected, bound)) << "cols=" << cols << " scale=" << scale;
    }
  }
}

TEST_F(RmsNorm, AddsToWhatIsThere) {
  Random random(kSeed);
  for (const int64_t cols : kCols) {
    const int64_t rows = 3;
    const std::vector<float> x = random.normals(rows * cols), weight = random.normals(cols),
                             before = random.normals(rows * cols);
    std::vector<float> expected = before, normed(before.size());
    reference::rms_norm({x.data(), weight.data(), expected.data(), rows, cols, kEpsilon, true});
    reference::rms_norm({x.data(), weight.data(), normed.data(), rows, cols, kEpsilon});
    std::vector<double> bound;
    for (std::size_t i = 0; i < normed.size(); ++i) {
      bound.push_back(relative_bound(cols) * std::fabs(normed[i]) + kUnit * std::fabs(expected[i]));
    }
    ASSERT_TRUE(within(run(x, weight, &before), expected, bound)) << "cols=" << cols;
    ASSERT_FALSE(within(before, expected, bound)) << "nothing was added";
  }
}

TEST_F(RmsNorm, ARowDependsOnItselfOnly) {
  Random random(kSeed);
  const int64_t cols = 300, rows = 4;
  const std::vector<float> x = random.normals(rows * cols), weight = random.normals(cols);
  const std::vector<float> together = run(x, weight);
  for (int64_t row = 0; row < rows; ++row) {
    const auto begin = x.begin() + row * cols;
    const std::vector<float> alone = run({begin, begin + cols}, weight);
    const std::vector<float> expected(together.begin() + row * cols,
                                      together.begin() + (row + 1) * cols);
    EXPECT_TRUE(same_bits(alone, expected, cols)) << "row " << row;
  }
}

TEST_F(RmsNorm, NanStaysInItsRow) {
  std::vector<float> x(2 * 19, 1.0f);
  x[18] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> y = run(x, std::vector<float>(19, 1.0f));
  for (std::size_t i = 0; i < y.size(); ++i) ASSERT_EQ(std::isnan(y[i]), i < 19) << i;
}

TEST_F(RmsNorm, NoRowsIsNothing) {
  rms_norm({nullptr, nullptr, nullptr, 0, 8, 0}, nullptr);
}

}  // namespace
}  // namespace chatglm::kernels::cuda
