// Which matrices f16 can hold.
#include "kernels/cuda/half_range.h"

#include "base/float16.h"
#include "kernels/test_support.h"
#include "tensor/q4_0.h"
#include "tensor/q4_1.h"

namespace chatglm::kernels::cuda {
namespace {

// Whether a matrix of one block a row fits whose last row has another block than the others.
template <typename Block>
bool fits(DType dtype, const Block& usual, const Block& last) {
  constexpr int64_t kRows = 5;
  std::vector<Block> blocks(kRows, usual);
  blocks.back() = last;
  const WeightLayout layout = weight_layout(dtype, kRows, Block::kElements);
  std::vector<std::byte> packed(static_cast<std::size_t>(layout.size_bytes));
  pack_rows(reinterpret_cast<const std::byte*>(blocks.data()), kRows, layout, 0, packed.data());
  EXPECT_TRUE(fits_half(layout, 0, kRows - 1, packed.data()));
  EXPECT_EQ(fits_half(layout, 0, kRows, packed.data()),
            fits_half(layout, kRows - 1, 1, packed.data()));
  return fits_half(layout, 0, kRows, packed.data());
}

TEST(HalfRange, OfScalesTimesCodes) {
  const BlockQ4_0 usual{.scale = float_to_half(0.5f), .quants = {}};
  for (const auto& [scale, expected] : {std::pair{4094.0f, true},
                                        {-4094.0f, true},
                                        {4096.0f, false},
                                        {-4096.0f, false},
                                        {std::numeric_limits<float>::infinity(), false},
                                        {std::numeric_limits<float>::quiet_NaN(), false}}) {
    const BlockQ4_0 last{.scale = float_to_half(scale), .quants = {}};
    EXPECT_EQ(fits(DType::kQ4_0, usual, last), expected) << scale;
  }
}

TEST(HalfRange, OfMinimumsToo) {
  const BlockQ4_1 usual{
      .scale = float_to_half(0.5f), .minimum = float_to_half(-1.0f), .quants = {}};
  for (const auto& [minimum, expected] : {std::pair{65472.0f, true}, {-65504.0f, false}}) {
    const BlockQ4_1 last{
        .scale = float_to_half(1.0f), .minimum = float_to_half(minimum), .quants = {}};
    EXPECT_EQ(fits(DType::kQ4_1, usual, last), expected) << minimum;
  }
}

TEST(HalfRange, PlainWeightsStayAsTheyAre) {
  const std::vector<float> row(8, 1e30f);
  const WeightLayout layout = weight_layout(DType::kF32, 1, 8);
  std::vector<std::byte> packed(static_cast<std::size_t>(layout.size_bytes));
  pack_rows(reinterpret_cast<const std::byte*>(row.data()), 1, layout, 0, packed.data());
  EXPECT_TRUE(fits_half(layout, 0, 1, packed.data()));
}

}  // namespace
}  // namespace chatglm::kernels::cuda
