// Packing of weights for a GPU: every type's rows, brought back, are the stored ones.
#include "kernels/cuda/weight_layout.h"

#include "kernels/test_support.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr uint64_t kSeed = 5;

class WeightLayoutTest : public ::testing::TestWithParam<DType> {
 protected:
  DType dtype() const { return GetParam(); }
  std::vector<int64_t> lengths() const {
    if (dtype_info(dtype()).block_elements == 256) return {256, 768};
    if (dtype_info(dtype()).is_quantized()) return {32, 96, 1056};
    return {1, 5, 8, 33, 100};
  }
};

template <typename T>
T read(const std::byte* place) {
  T value;
  std::memcpy(&value, place, sizeof(T));
  return value;
}

// One weight, as weight_layout.h says it is to be read.
float value_of(const DeviceWeight& weight, int64_t row, int64_t i) {
  const std::byte* codes = weight.codes + row * weight.codes_row_bytes;
  if (weight.form.codes == Codes::kF32) return read<float>(codes + 4 * i);
  if (weight.form.codes == Codes::kF16) return half_to_float(read<Half>(codes + 2 * i));
  if (weight.form.codes == Codes::kBF16) return bfloat16_to_float(read<BFloat16>(codes + 2 * i));
  int code;
  if (weight.form.codes == Codes::kBytes) {
    code = read<int8_t>(codes + i);
  } else {
    const auto both = read<uint8_t>(codes + i / 32 * 16 + i % 16);
    code = i % 32 < 16 ? both & 15 : both >> 4;
    if (!weight.form.minimums) code -= 8;
  }
  const int64_t part = i / weight.form.part;
  const std::byte* scales = weight.scales + row * weight.scales_row_bytes;
  const float scale = weight.form.half_scales ? half_to_float(read<Half>(scales + 2 * part))
                                              : read<float>(scales + 4 * part);
  const float value = scale * static_cast<float>(code);
  if (!weight.form.minimums) return value;
  return value + read<float>(weight.minimums + row * weight.minimums_row_bytes + 4 * part);
}

// Whole or row by row from the back into pieces, as a backend may load a matrix.
std::vector<std::byte> packed(DType dtype, const std::vector<std::byte>& stored, int64_t n,
                              int64_t k, int64_t piece_rows) {
  const WeightLayout whole = weight_layout(dtype, n, k);
  std::vector<std::byte> all(static_cast<std::size_t>(whole.size_bytes), std::byte{0xee});
  const int64_t row_bytes = dtype_info(dtype).row_bytes(k);
  for (int64_t first = 0; first < n; first += piece_rows) {
    const int64_t count = std::min(piece_rows, n - first);
    const WeightLayout piece = weight_layout(dtype, count, k);
    std::vector<std::byte> staging(static_cast<std::size_t>(piece.size_bytes), std::byte{0xee});
    for (int64_t row = count; row-- > 0;) {
      pack_rows(stored.data() + (first + row) * row_bytes, 1, piece, row, staging.data());
    }
    for (int i = 0; i < kWeightStreams; ++i) {
      const WeightStream& to = whole.streams[i];
      EXPECT_EQ(piece.streams[i].row_bytes, to.row_bytes);
      if (to.row_bytes == 0) continue;
      std::memcpy(all.data() + to.offset + first * to.row_bytes,
                  staging.data() + piece.streams[i].offset,
                  static_cast<std::size_t>(count * to.row_bytes));
    }
  }
  return all;
}

TEST_P(WeightLayoutTest, HoldsEveryWeight) {
  Random random(kSeed);
  for (const int64_t k : lengths()) {
    const int64_t n = 7;
    const std::vector<std::byte> stored = random_weights(random, dtype(), n * k);
    const std::vector<float> expected = decoded(dtype(), stored, n * k);
    const WeightLayout layout = weight_layout(dtype(), n, k);
    std::vector<std::byte> whole(static_cast<std::size_t>(layout.size_bytes), std::byte{0xee});
    pack_rows(stored.data(), n, layout, 0, whole.data());
    const DeviceWeight weight = device_weight(layout, whole.data());
    for (int64_t i = 0; i < n * k; ++i) {
      ASSERT_EQ(value_of(weight, i / k, i % k), expected[static_cast<std::size_t>(i)])
          << "k=" << k << " row " << i / k << " column " << i % k;
    }
    for (const int64_t piece_rows : {1, 3, 7}) {
      const std::vector<std::byte> pieces = packed(dtype(), stored, n, k, piece_rows);
      EXPECT_EQ(pieces, whole) << "in pieces of " << piece_rows << " rows";
    }
  }
}

TEST_P(WeightLayoutTest, RowsAreFilledUpWithZerosAndStreamsAligned) {
  Random random(kSeed);
  for (const int64_t k : lengths()) {
    const int64_t n = 3;
    const WeightLayout layout = weight_layout(dtype(), n, k);
    std::vector<std::byte> all(static_cast<std::size_t>(layout.size_bytes), std::byte{0xee});
    pack_rows(random_weights(random, dtype(), n * k).data(), n, layout, 0, all.data());
    const int64_t parts = layout.form.is_quantized() ? k / layout.form.part : 0;
    const int64_t bits[] = {32, 16, 16, 4, 8};
    const int64_t used[] = {k * bits[static_cast<int>(layout.form.codes)] / 8,
                            parts * (layout.form.half_scales ? 2 : 4), parts * 4};
    for (int i = 0; i < kWeightStreams; ++i) {
      const WeightStream& stream = layout.streams[i];
      EXPECT_EQ(stream.offset % kStreamAlignment, 0);
      EXPECT_EQ(stream.row_bytes % (i == 0 ? 16 : 32), 0);
      if (stream.row_bytes == 0) continue;
      EXPECT_LT(stream.row_bytes - used[i], i == 0 ? 16 : 32);
      for (int64_t row = 0; row < n; ++row) {
        const auto begin = all.begin() + stream.offset + row * stream.row_bytes;
        EXPECT_TRUE(std::all_of(begin + used[i], begin + stream.row_bytes,
                                [](std::byte byte) { return byte == std::byte{0}; }));
      }
    }
  }
}

// What the kernels read of a token's matrices: 4.5 bits a weight for Q4_0.
TEST(WeightLayoutSizes, AreWhatTheTypeStores) {
  EXPECT_EQ(weight_layout(DType::kQ4_0, 4096, 4096).size_bytes, 4096 * 4096 / 32 * 18);
  EXPECT_EQ(weight_layout(DType::kQ8_0, 4096, 4096).size_bytes, 4096 * 4096 / 32 * 34);
  EXPECT_EQ(weight_layout(DType::kF16, 4096, 4096).size_bytes, 4096 * 4096 * 2);
}

std::vector<DType> every_dtype() {
  std::vector<DType> all;
  for (const DTypeInfo& type : all_dtypes()) all.push_back(type.dtype);
  return all;
}
INSTANTIATE_TEST_SUITE_P(Type, WeightLayoutTest, ::testing::ValuesIn(every_dtype()),
                         [](const auto& param) {
                           return std::string(dtype_info(param.param).name);
                         });

}  // namespace
}  // namespace chatglm::kernels::cuda
