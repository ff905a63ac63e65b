// silu_mul() and gelu() on the device against the reference.
#include "cuda_kernels/test_support.h"
#include "kernels/cuda/row_ops.h"
#include "kernels/reference/reference.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr uint64_t kSeed = 13;
constexpr int64_t kCols[] = {1, 2, 7, 255, 256, 257, 1024, 1025, 2100};  // slices are of 1024

using SiluMul = CudaKernelTest;

std::vector<float> run_silu_mul(const std::vector<float>& gate_up, int64_t rows) {
  const int64_t cols = static_cast<int64_t>(gate_up.size()) / rows / 2;
  const DeviceArray<float> input(gate_up, 1), y(rows * cols, 3);
  silu_mul({input.data(), y.data(), rows, cols}, nullptr);
  return y.values();
}

std::vector<double> silu_bound(const std::vector<float>& expected,
                               const std::vector<float>& gate_up, int64_t cols) {
  std::vector<double> result;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const std::size_t row = i / static_cast<std::size_t>(cols);
    const double up = gate_up[i + (row + 1) * static_cast<std::size_t>(cols)];
    // exp within a few units; where it nears the end of f32's range, silu is nothing anyway.
    result.push_back(12 * kUnit * std::fabs(double{expected[i]}) + 1e-33 * std::fabs(up) + 1e-37);
  }
  return result;
}

TEST_F(SiluMul, MatchesReference) {
  Random random(kSeed);
  for (const int64_t cols : kCols) {
    const int64_t rows = 3;
    const std::vector<float> gate_up = random.normals(rows * 2 * cols, 8);
    std::vector<float> expected(static_cast<std::size_t>(rows * cols));
    reference::silu_mul({gate_up.data(), expected.data(), rows, cols});
    ASSERT_TRUE(within(run_silu_mul(gate_up, rows), expected, silu_bound(expected, gate_up, cols)))
        << "cols=" << cols;
  }
}

TEST_F(SiluMul, HoldsOverTheWholeRange) {
  const int64_t cols = 20001;
  std::vector<float> gate_up(2 * cols, 1e5f);
  for (int64_t i = 0; i < cols; ++i) {
    gate_up[static_cast<std::size_t>(i)] = 0.011f * static_cast<float>(i - cols / 2);
  }
  std::vector<float> expected(static_cast<std::size_t>(cols));
  reference::silu_mul({gate_up.data(), expected.data(), 1, cols});
  EXPECT_TRUE(within(run_silu_mul(gate_up, 1), expected, silu_bound(expected, gate_up, cols)));
  EXPECT_FALSE(within(std::vector<float>(cols), expected, silu_bound(expected, gate_up, cols)));
}

TEST_F(SiluMul, NanStaysNan) {
  for (std::size_t i = 0; i < 19; ++i) {
    std::vector<float> gate_up(2 * 19, 1.0f);
    gate_up[i] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> y = run_silu_mul(gate_up, 1);
    for (std::size_t j = 0; j < 19; ++j) ASSERT_EQ(std::isnan(y[j]), j == i) << i << " " << j;
  }
}

using Gelu = CudaKernelTest;

std::vector<float> run_gelu(const std::vector<float>& x, int64_t rows) {
  const DeviceArray<float> y(x, 1);  // in place
  gelu({y.data(), y.data(), rows, y.size() / rows}, nullptr);
  return y.values();
}

std::vector<float> gelu_reference(const std::vector<float>& x) {
  std::vector<float> y(x.size());
  reference::gelu({x.data(), y.data(), 1, static_cast<int64_t>(x.size())});
  return y;
}

// The exponent is off by a few units of its own size, and so is the logarithm of what is small;
// where exp nears the end of f32's range, nothing is left of x anyway.
std::vector<double> gelu_bound(const std::vector<float>& expected, const std::vector<float>& x) {
  std::vector<double> result;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double value = x[i];
    const double exponent = std::min(200.0, std::fabs(1.6 * value * (1 + 0.045 * value * value)));
    const double relative = value < 0 ? std::expm1((6 * exponent + 12) * kUnit) : 12 * kUnit;
    result.push_back(relative * std::fabs(double{expected[i]}) + 1e-33);
  }
  return result;
}

TEST_F(Gelu, MatchesReference) {
  Random random(kSeed);
  for (const int64_t cols : kCols) {
    const std::vector<float> x = random.normals(3 * cols, 4);
    const std::vector<float> expected = gelu_reference(x);
    ASSERT_TRUE(within(run_gelu(x, 3), expected, gelu_bound(expected, x))) << "cols=" << cols;
  }
}

TEST_F(Gelu, HoldsOverTheWholeRange) {
  std::vector<float> x;
  for (int i = -10000; i <= 10000; ++i) x.push_back(0.0021f * static_cast<float>(i));
  for (const float value : {1e-30f, 1e-8f, 1e3f, 1e5f, 1e13f, 3e38f}) {
    x.push_back(value);
    x.push_back(-value);
  }
  const std::vector<float> expected = gelu_reference(x);
  EXPECT_TRUE(within(run_gelu(x, 1), expected, gelu_bound(expected, x)));
  EXPECT_FALSE(within(x, expected, gelu_bound(expected, x)));
}

TEST_F(Gelu, NanStaysNan) {
  for (std::size_t i = 0; i < 19; ++i) {
    std::vector<float> x(19, 1.0f);
    x[i] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> y = run_gelu(x, 1);
    for (std::size_t j = 0; j < 19; ++j) ASSERT_EQ(std::isnan(y[j]), j == i) << i << " " << j;
  }
}

}  // namespace
}  // namespace chatglm::kernels::cuda
