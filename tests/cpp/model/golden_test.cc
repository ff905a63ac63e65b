// A converted checkpoint against the official code's logits.
#include "model/golden_model.h"

namespace chatglm::testing {
namespace {

constexpr double kTolerance = 5e-4;

TEST(Golden, LogitsAndGreedyIdsAreThoseOfTheOfficialCode) {
  GoldenModel golden;
  for (const std::size_t most_rows : {1, 16, 64}) {
    for (const char* part : {"short", "long"}) {
      Runner runner = golden.runner(test::exact_backend(2));
      const auto outcome = golden.compare(runner, part, most_rows);
      EXPECT_LT(outcome.worst, kTolerance) << part << ", " << most_rows;
      EXPECT_EQ(outcome.wrong_ids, 0) << part << ", " << most_rows;
    }
  }
}

TEST(Golden, PositionsThatAreNotDividedShow) {
  GoldenModel golden;
  golden.config.rope_position_scale = 1;
  Runner runner = golden.runner(test::exact_backend(2));
  const auto outcome = golden.compare(runner, "short", 16);
  EXPECT_GT(outcome.worst, 0.1);
  EXPECT_GT(outcome.wrong_ids, 0);
}

}  // namespace
}  // namespace chatglm::testing
