// embed() and gather_rows() on the device: decoding is exact, so the bits are the reference's.
#include "cuda_kernels/test_support.h"
#include "kernels/cuda/row_ops.h"
#include "kernels/reference/reference.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr uint64_t kSeed = 14;

class Embed : public CudaKernelTest, public ::testing::WithParamInterface<DType> {};

TEST_P(Embed, MatchesReferenceBitForBit) {
  Random random(kSeed);
  const DTypeInfo& type = dtype_info(GetParam());
  const int64_t vocab = 19;
  // Less and more than a slice of 1024 elements.
  for (const int64_t wanted : {1, 33, 256, 1000, 1025, 2100}) {
    const int64_t cols = whole_blocks(GetParam(), wanted);
    const std::vector<std::byte> stored = random_weights(random, GetParam(), vocab * cols, 3);
    const std::vector<int32_t> ids = {18, 0, 7, 7, 1};
    const auto count = static_cast<int64_t>(ids.size());
    std::vector<float> expected(ids.size() * static_cast<std::size_t>(cols));
    reference::embed({stored.data(), type.dtype, ids.data(), expected.data(), count, cols});

    const WeightLayout layout = weight_layout(type.dtype, vocab, cols);
    std::vector<std::byte> packed(static_cast<std::size_t>(layout.size_bytes));
    pack_rows(stored.data(), vocab, layout, 0, packed.data());
    const DeviceArray<std::byte> table(packed);
    const DeviceArray<int32_t> on_ids(ids);
    const DeviceArray<float> output(count * cols, 1);
    embed(device_weight(layout, table.data()), on_ids.data(), count, output.data(), nullptr);
    ASSERT_TRUE(same_bits(output.values(), expected, count * cols)) << "cols=" << cols;
  }
}

std::vector<DType> every_type() {
  std::vector<DType> types;
  for (const DTypeInfo& type : all_dtypes()) types.push_back(type.dtype);
  return types;
}

INSTANTIATE_TEST_SUITE_P(Type, Embed, ::testing::ValuesIn(every_type()), [](const auto& param) {
  return std::string(dtype_info(param.param).name);
});

using GatherRows = CudaKernelTest;

TEST_F(GatherRows, CopiesTheNamedRows) {
  Random random(kSeed);
  for (const int64_t cols : {1, 7, 1024, 1025}) {
    const std::vector<float> x = random.normals(9 * cols);
    const std::vector<int32_t> ids = {8, 0, 3, 3};
    std::vector<float> expected;
    for (const int32_t id : ids) {
      expected.insert(expected.end(), x.begin() + id * cols, x.begin() + (id + 1) * cols);
    }
    const DeviceArray<float> on_x(x, 1), output(static_cast<int64_t>(expected.size()), 3);
    const DeviceArray<int32_t> on_ids(ids);
    gather_rows(on_x.data(), cols, on_ids.data(), 4, output.data(), nullptr);
    EXPECT_EQ(output.values(), expected) << "cols=" << cols;
  }
  gather_rows(nullptr, 8, nullptr, 0, nullptr, nullptr);
}

}  // namespace
}  // namespace chatglm::kernels::cuda
