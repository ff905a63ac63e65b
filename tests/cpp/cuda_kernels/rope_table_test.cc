// rope_table() on the device: the reference's bits, also where angles are large.
#include "cuda_kernels/test_support.h"
#include "kernels/cuda/row_ops.h"
#include "kernels/reference/reference.h"

namespace chatglm::kernels::cuda {
namespace {

using RopeTable = CudaKernelTest;

TEST_F(RopeTable, MatchesReferenceBitForBit) {
  const std::vector<int32_t> positions = {0, 1, 2, 1000, 32767, 131071, 1048575};
  const auto rows = static_cast<int64_t>(positions.size());
  const DeviceArray<int32_t> on_positions(positions);
  for (const int64_t rotary_dim : {2, 6, 64, 128, 600}) {
    std::vector<float> frequencies;
    for (int64_t i = 0; i < rotary_dim / 2; ++i) {
      frequencies.push_back(static_cast<float>(
          std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim))));
    }
    for (const auto& [position_scale, magnitude] : {std::pair{1.0f, 1.0f}, {1 / 7.0f, 1.3f}}) {
      std::vector<float> expected(static_cast<std::size_t>(rows * rotary_dim));
      reference::rope_table({positions.data(), frequencies.data(), expected.data(), rows,
                             rotary_dim, position_scale, magnitude});
      const DeviceArray<float> on_frequencies(frequencies, 1), table(rows * rotary_dim, 1);
      rope_table({on_positions.data(), on_frequencies.data(), table.data(), rows, rotary_dim,
                  position_scale, magnitude},
                 nullptr);
      EXPECT_TRUE(same_bits(table.values(), expected, rows * rotary_dim))
          << "rotary_dim=" << rotary_dim;
    }
  }
}

}  // namespace
}  // namespace chatglm::kernels::cuda
