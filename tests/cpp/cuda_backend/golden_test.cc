// The device against the official code's logits.
#include "model/golden_model.h"

#include "cuda_backend/test_support.h"

namespace chatglm {
namespace {

using namespace test;
using testing::GoldenModel;

using CudaGolden = CudaTest;

// Steps of up to 16 rows compute in f32 what the weights are.
TEST_F(CudaGolden, FewRowsGiveTheOfficialLogits) {
  GoldenModel golden;
  auto runner = golden.runner(cuda_backend());
  const auto outcome = golden.compare(runner, "short", 16);
  EXPECT_LT(outcome.worst, 5e-4);
  EXPECT_EQ(outcome.wrong_ids, 0);
}

// Those of more round their inputs to f16.
TEST_F(CudaGolden, ManyRowsGiveTheOfficialIds) {
  GoldenModel golden;
  auto runner = golden.runner(cuda_backend());
  const auto outcome = golden.compare(runner, "long", 64);
  EXPECT_LT(outcome.worst, 0.02);
  EXPECT_EQ(outcome.wrong_ids, 0);
}

}  // namespace
}  // namespace chatglm
