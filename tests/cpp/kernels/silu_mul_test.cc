// silu_mul() of every ISA against the reference.
#include "kernels/reference/reference.h"
#include "kernels/test_support.h"

namespace chatglm::kernels {
namespace {

constexpr uint64_t kSeed = 13;

class SiluMul : public KernelTest {
 protected:
  std::vector<float> run(const std::vector<float>& gate_up, int64_t rows) const {
    const int64_t cols = static_cast<int64_t>(gate_up.size()) / rows / 2;
    const GuardedArray<float> input(gate_up, 1);
    GuardedArray<float> y(rows * cols, 3);
    const SiluMulArgs args{input.data(), y.data(), rows, cols};
    table().silu_mul(args, 1, rows);
    table().silu_mul(args, 0, 1);
    EXPECT_TRUE(y.guards_intact());
    return y.values();
  }
};

std::vector<double> bound(const std::vector<float>& expected, const std::vector<float>& gate_up,
                          int64_t cols) {
  std::vector<double> result;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const std::size_t row = i / static_cast<std::size_t>(cols);
    const double up = gate_up[i + (row + 1) * static_cast<std::size_t>(cols)];
    // exp within a few units; where it nears the end of f32's range, silu is nothing anyway.
    result.push_back(12 * kUnit * std::fabs(double{expected[i]}) + 1e-33 * std::fabs(up) + 1e-37);
  }
  return result;
}

TEST_P(SiluMul, MatchesReference) {
  Random random(kSeed);
  const std::vector<float> special = {0.0f,  1e-8f, -1e-8f, 0.5f,   -0.5f, 1.0f,   -1.0f,
                                      10.0f, -10.f, 20.0f,  -20.0f, 86.0f, -86.0f, 88.0f,
                                      -88.0, 89.0f, -89.0f, 100.0f, -100., 1.0e4f, -1.0e4f};
  for (const int64_t cols : {1, 2, 7, 8, 9, 15, 16, 17, 33, 100, 448}) {
    const int64_t rows = 3;
    std::vector<float> gate_up = random.normals(rows * 2 * cols, 8);
    for (float& value : gate_up) {
      if (random.integer(0, 3) != 0) continue;
      value = special[static_cast<std::size_t>(
          random.integer(0, static_cast<int>(special.size()) - 1))];
    }
    std::vector<float> expected(static_cast<std::size_t>(rows * cols));
    reference::silu_mul({gate_up.data(), expected.data(), rows, cols});
    ASSERT_TRUE(within(run(gate_up, rows), expected, bound(expected, gate_up, cols)))
        << "cols=" << cols;
  }
}

TEST_P(SiluMul, HoldsOverTheWholeRange) {
  const int64_t cols = 20001;
  std::vector<float> gate_up(2 * cols, 1e5f);
  for (int64_t i = 0; i < cols; ++i) {
    gate_up[static_cast<std::size_t>(i)] = 0.011f * static_cast<float>(i - cols / 2);
  }
  std::vector<float> expected(static_cast<std::size_t>(cols));
  reference::silu_mul({gate_up.data(), expected.data(), 1, cols});
  EXPECT_TRUE(within(run(gate_up, 1), expected, bound(expected, gate_up, cols)));
}

TEST_P(SiluMul, ElementsDoNotDependOnTheirPlace) {
  Random random(kSeed);
  const int64_t cols = 33;
  const std::vector<float> gate_up = random.normals(2 * cols, 8);
  const std::vector<float> whole = run(gate_up, 1);
  for (std::size_t i = 0; i < cols; ++i) {
    const std::vector<float> alone = run({gate_up[i], gate_up[i + cols]}, 1);
    ASSERT_TRUE(same_bits(alone, std::vector<float>{whole[i]}, 1)) << "element " << i;
  }
}

TEST_P(SiluMul, NanStaysNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (std::size_t i = 0; i < 19; ++i) {
    std::vector<float> gate_up(2 * 19, 1.0f);
    gate_up[i] = nan;
    const std::vector<float> y = run(gate_up, 1);
    for (std::size_t j = 0; j < 19; ++j) ASSERT_EQ(std::isnan(y[j]), j == i) << i << " " << j;
  }
}

CHATGLM_FOR_EVERY_TABLE(SiluMul);

}  // namespace
}  // namespace chatglm::kernels
