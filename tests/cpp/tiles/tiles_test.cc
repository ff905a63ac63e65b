// The tile instructions as machine code: natively where the CPU has them, else trapped (trap.cc).
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tiles/tile_code.h"

namespace chatglm::test {
namespace {

class Tiles : public testing::TestWithParam<const TileCode*> {};

std::vector<float> small_integers(std::mt19937& random, int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = static_cast<float>(random() % 17) - 8;
  return values;
}

// Of integers that bf16 holds, whose sums f32 holds: exact.
TEST_P(Tiles, MultiplyAsLoopsDo) {
  std::mt19937 random(16);
  for (const int64_t m : {1, 15, 16, 17, 32, 45}) {
    for (const int64_t n : {1, 16, 31, 50}) {
      for (const int64_t k : {2, 32, 34, 94}) {
        const std::vector<float> a = small_integers(random, m * k),
                                 b = small_integers(random, k * n);
        std::vector<float> c(static_cast<std::size_t>(m * n), -1);
        GetParam()->multiply(a.data(), b.data(), c.data(), m, n, k);
        for (int64_t i = 0; i < m; ++i) {
          for (int64_t j = 0; j < n; ++j) {
            float sum = 0;
            for (int64_t p = 0; p < k; ++p) {
              sum +=
                  a[static_cast<std::size_t>(i * k + p)] * b[static_cast<std::size_t>(p * n + j)];
            }
            ASSERT_EQ(c[static_cast<std::size_t>(i * n + j)], sum)
                << m << " x " << n << " x " << k << " at " << i << ", " << j;
          }
        }
      }
    }
  }
}

TEST_P(Tiles, EveryRegisterIsEveryOperand) {
  EXPECT_EQ(GetParam()->use_every_register(), 0);
}

// Otherwise the trap would pass what a CPU refuses.
TEST_P(Tiles, FaultsAreNotPassedOver) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  for (const Misuse what : {Misuse::kNotConfigured, Misuse::kTooManyRows, Misuse::kUnequalShapes,
                            Misuse::kOneTileTwice}) {
    EXPECT_DEATH(GetParam()->misuse(what), "") << static_cast<int>(what);
  }
}

INSTANTIATE_TEST_SUITE_P(Optimized, Tiles, testing::Values(&kTileCodeO2, &kTileCodeO3),
                         [](const auto& test) { return test.index == 0 ? "O2" : "O3"; });

}  // namespace
}  // namespace chatglm::test
