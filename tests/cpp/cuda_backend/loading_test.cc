// How matrices come to the device: in pieces, from several parts, with their sources given back.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>

#include "backend/cuda_loader.h"
#include "base/float16.h"
#include "cuda_backend/test_support.h"
#include "kernels/cuda/product.h"

namespace chatglm {
namespace {

using namespace test;
using CudaLoading = CudaTest;

struct Stored {
  DType dtype;
  int64_t rows, cols;
  std::vector<std::byte> bytes;

  Stored(DType dtype_, int64_t rows_, int64_t cols_, uint32_t seed)
      : dtype(dtype_), rows(rows_), cols(cols_) {
    const DTypeInfo& info = dtype_info(dtype);
    const std::vector<float> values = random_floats(cols, seed);
    const auto row_bytes = static_cast<std::size_t>(info.row_bytes(cols));
    bytes.resize(row_bytes * static_cast<std::size_t>(rows));
    // A few different rows, again and again: quick to make, and neighbours differ.
    std::vector<float> row(values.size());
    for (int64_t i = 0; i < rows; ++i) {
      std::byte* const place = bytes.data() + static_cast<std::size_t>(i) * row_bytes;
      if (i >= kDifferent) {
        std::copy_n(place - kDifferent * static_cast<int64_t>(row_bytes), row_bytes, place);
        continue;
      }
      std::rotate_copy(values.begin(), values.begin() + i, values.end(), row.begin());
      row[0] = static_cast<float>(i);
      info.encode(row.data(), place, cols);
    }
  }
  static constexpr int64_t kDifferent = 7;
  TensorView view() const { return {dtype, 2, rows, cols, bytes.data()}; }
  TensorView slice(int64_t begin, int64_t end) const {
    TensorView part = view();
    part.data = part.row(begin);
    part.rows = end - begin;
    return part;
  }
};

// Which bytes of a matrix were given back.
struct Released {
  explicit Released(const Stored& stored)
      : begin(stored.bytes.data()), times(stored.bytes.size()) {}

  static void note(void* context, const TensorView& part) {
    auto& self = *static_cast<Released*>(context);
    const std::scoped_lock lock(self.mutex);
    const auto offset = static_cast<std::size_t>(part.data - self.begin);
    for (std::size_t i = 0; i < static_cast<std::size_t>(part.size_bytes()); ++i) {
      ++self.times[offset + i];
    }
  }
  bool all_once() const {
    return std::all_of(times.begin(), times.end(), [](uint8_t count) { return count == 1; });
  }

  const std::byte* const begin;
  std::vector<uint8_t> times;
  std::mutex mutex;
};

TEST_F(CudaLoading, PiecesOfPartsAreTheWholeMatrix) {
  ThreadPool threads(2);
  const cuda::Stream stream = cuda::make_stream(0);
  cuda::Loader loader(threads, stream.get());
  constexpr int64_t kCols = 65'536;
  // Three pieces of 64 rows and two of about 340, whose borders lie inside parts; then few rows.
  for (const auto& [dtype, rows] :
       {std::pair{DType::kF32, int64_t{140}}, {DType::kQ4_K, 400}, {DType::kQ8_0, 58}}) {
    const Stored stored(dtype, rows, kCols, 5);
    Released released(stored);
    const TensorView parts[] = {stored.slice(0, 3), stored.slice(3, 57), stored.slice(57, rows)};
    const auto layout = kernels::cuda::weight_layout(dtype, rows, kCols);
    const cuda::DeviceMemory memory(layout.size_bytes);
    loader.load(parts, layout, memory.data(), Released::note, &released);
    EXPECT_TRUE(released.all_once());

    std::vector<std::byte> found(static_cast<std::size_t>(layout.size_bytes)), expected = found;
    kernels::cuda::pack_rows(stored.bytes.data(), rows, layout, 0, expected.data());
    ASSERT_EQ(cudaStreamSynchronize(stream.get()), cudaSuccess);
    ASSERT_EQ(cudaMemcpy(found.data(), memory.data(), found.size(), cudaMemcpyDeviceToHost),
              cudaSuccess);
    for (const auto& [offset, row_bytes] : layout.streams) {
      EXPECT_TRUE(std::equal(found.begin() + offset, found.begin() + offset + rows * row_bytes,
                             expected.begin() + offset))
          << dtype_info(dtype).name << ", stream at " << offset;
    }
  }
  loader.release();
}

TEST_F(CudaLoading, ProductsTakeTheRowsInOrder) {
  const auto backend = cuda_backend();
  backend->reserve(1, 64);
  const Stored stored(DType::kF32, 20, 64, 5);
  const TensorView parts[] = {stored.slice(0, 3), stored.slice(3, 20)};
  const auto matrix = backend->load_matrix(parts);
  EXPECT_EQ(matrix->rows(), 20);
  EXPECT_EQ(matrix->cols(), 64);
  EXPECT_EQ(matrix->dtype(), DType::kF32);
  std::vector<float> x(64);
  x[0] = 1;  // the first column is the number of the row
  const auto input = uploaded(*backend, x);
  const auto output = backend->allocate(20 * 4);
  backend->linear(*matrix, nullptr, input->as<float>(), 1, output->as<float>());
  const std::vector<float> y = downloaded(*backend, *output);
  for (std::size_t row = 0; row < y.size(); ++row) EXPECT_EQ(y[row], static_cast<float>(row % 7));
}

// Blocks may hold what f16 can't: products of many rows must not make it infinite.
TEST_F(CudaLoading, WeightsBeyondHalfAreMultiplied) {
  constexpr int64_t kRows = 21, kWidth = 256;
  const auto backend = cuda_backend();
  backend->reserve(kRows, kWidth);
  const std::vector<float> x = random_floats(kRows * kWidth, 3);
  const auto input = uploaded(*backend, x), y = backend->allocate(kRows * kWidth * 4);
  for (const auto& [dtype, scale_at] : {std::pair{DType::kQ8_0, 0}, {DType::kQ6_K, 208}}) {
    // Codes are random; the scale is that of every block.
    std::vector<std::byte> stored(
        static_cast<std::size_t>(kWidth * dtype_info(dtype).row_bytes(kWidth)));
    std::mt19937 random(5);
    for (std::byte& byte : stored) byte = static_cast<std::byte>(random() >> 8);
    const auto block_bytes =
        static_cast<std::size_t>(dtype_info(dtype).row_bytes(dtype_info(dtype).block_elements));
    const Half scale = float_to_half(60000.0F);
    for (std::size_t at = 0; at < stored.size(); at += block_bytes) {
      std::memcpy(stored.data() + at + scale_at, &scale, sizeof(scale));
    }
    const TensorView view{dtype, 2, kWidth, kWidth, stored.data()};
    const auto matrix = backend->load_matrix({&view, 1});
    backend->linear(*matrix, nullptr, input->as<float>(), kRows, y->as<float>());
    const std::vector<float> together = downloaded(*backend, *y);
    for (const int64_t first : {int64_t{0}, kernels::cuda::kGemvRows}) {
      backend->linear(*matrix, nullptr, input->as<float>() + first * kWidth,
                      std::min(kRows - first, kernels::cuda::kGemvRows),
                      y->as<float>() + first * kWidth);
    }
    EXPECT_EQ(downloaded(*backend, *y), together) << dtype_info(dtype).name;
    for (const float value : together) ASSERT_TRUE(std::isfinite(value)) << dtype_info(dtype).name;
  }
}

TEST_F(CudaLoading, TablesHaveTheValuesOfTheirType) {
  const auto backend = cuda_backend();
  for (const DType dtype : {DType::kF32, DType::kQ8_0, DType::kQ4_K}) {
    const Stored stored(dtype, 210, 256, 7);
    Released released(stored);
    const auto table = backend->load_table(stored.view(), Released::note, &released);
    EXPECT_TRUE(released.all_once());
    const std::vector<int32_t> ids = {209, 0, 63, 64, 17};
    const std::vector<int32_t> zeros(ids.size());
    const PromptLayout layout;
    const StagedBatch staged = backend->stage({.token_ids = ids,
                                               .positions = zeros,
                                               .slots = zeros,
                                               .visible = zeros,
                                               .sequence = zeros,
                                               .layouts = {&layout, 1},
                                               .block_table = {},
                                               .logit_rows = {}});
    const auto output = backend->allocate(static_cast<int64_t>(ids.size() * 256 * sizeof(float)));
    backend->embed(*table, staged.token_ids, staged.rows.rows, output->as<float>());
    std::vector<float> expected(ids.size() * 256);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      dtype_info(dtype).decode(stored.view().row(ids[i]), &expected[i * 256], 256);
    }
    EXPECT_EQ(downloaded(*backend, *output), expected) << dtype_info(dtype).name;
  }
}

TEST_F(CudaLoading, RefusesWhatTheCpuRefuses) {
  const auto cuda = cuda_backend();
  const auto cpu = exact_backend(1);
  const Stored a(DType::kF32, 4, 32, 1), wider(DType::kF32, 4, 64, 1), other(DType::kF16, 4, 32, 1);
  const TensorView empty{DType::kF32, 2, 0, 32, a.bytes.data()};
  const TensorView odd{DType::kQ8_0, 2, 4, 33, a.bytes.data()};
  const TensorView missing{DType::kF32, 2, 4, 32, nullptr};
  const TensorView wrong_width[] = {a.view(), wider.view()},
                   wrong_type[] = {a.view(), other.view()};
  const auto same_error = [&](const auto& action) {
    const Error found = error_of(ErrorKind::kInvalidArgument, [&] { action(*cuda); });
    const Error expected = error_of(ErrorKind::kInvalidArgument, [&] { action(*cpu); });
    EXPECT_STREQ(found.what(), expected.what());
  };
  same_error([&](Backend& backend) { backend.load_matrix(std::span<const TensorView>()); });
  same_error([&](Backend& backend) { backend.load_matrix(wrong_width); });
  same_error([&](Backend& backend) { backend.load_matrix(wrong_type); });
  for (const TensorView& view : {empty, odd, missing}) {
    same_error([&](Backend& backend) { backend.load_matrix(view); });
    same_error([&](Backend& backend) { backend.load_table(view); });
  }
}

}  // namespace
}  // namespace chatglm
