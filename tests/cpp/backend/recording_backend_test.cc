// A recording backend computes exactly what the one inside does, and sums up the squares of what
// each matrix was multiplied with.
#include "backend/recording_backend.h"

#include <gtest/gtest.h>

#include <vector>

#include "backend/cpu_backend.h"
#include "kernels/cpu/kernel_table.h"

namespace chatglm {
namespace {

class RecordingBackendTest : public testing::Test {
 protected:
  static TensorView matrix(const std::vector<float>& values, int64_t rows, int64_t cols) {
    return {DType::kF32, 2, rows, cols, reinterpret_cast<const std::byte*>(values.data())};
  }

  RecordingBackend backend_{create_cpu_backend({.num_threads = 1})};
};

TEST_F(RecordingBackendTest, ComputesTheSameAndSumsSquares) {
  const std::vector<float> first = {1, 2, 3, 4, 5, 6};  // (2, 3)
  const std::vector<float> second = {1, -1};            // (1, 2)
  const auto first_weight = backend_.load_matrix(matrix(first, 2, 3));
  const auto second_weight = backend_.load_matrix(matrix(second, 1, 2));
  EXPECT_EQ(first_weight->rows(), 2);
  EXPECT_EQ(first_weight->cols(), 3);
  EXPECT_EQ(first_weight->dtype(), DType::kF32);
  EXPECT_GT(first_weight->size_bytes(), 0);
  backend_.reserve(2, 3);

  const std::vector<float> x = {1, 2, 0, -3, 4, 0.5f};  // (2, 3)
  std::vector<float> y(4);
  backend_.linear(*first_weight, nullptr, x.data(), 2, y.data(), false, 0);
  EXPECT_EQ(y, (std::vector<float>{5, 14, 6.5f, 11}));
  backend_.linear(*first_weight, nullptr, x.data(), 1, y.data(), true, 0);
  EXPECT_EQ(y[0], 10);

  const std::vector<RecordedInputs> recorded = backend_.recorded();
  ASSERT_EQ(recorded.size(), 2u);
  EXPECT_EQ(recorded[0].sources, std::vector{reinterpret_cast<const std::byte*>(first.data())});
  EXPECT_EQ(recorded[0].rows, 3);
  EXPECT_EQ(recorded[0].sum_squares, (std::vector<double>{11, 24, 0.25}));
  EXPECT_EQ(recorded[1].rows, 0);
  EXPECT_EQ(recorded[1].sum_squares, (std::vector<double>{0, 0}));
}

TEST_F(RecordingBackendTest, APartOfAMatrixSeesWhatTheMatrixSees) {
  const std::vector<float> first = {1, 2, 3, 4}, second = {5, 6};
  const std::vector<TensorView> parts = {matrix(first, 2, 2), matrix(second, 1, 2)};
  const auto weight = backend_.load_matrix(parts, nullptr, nullptr);
  backend_.reserve(1, 2);
  const std::vector<float> x = {2, 1};
  std::vector<float> y(3);
  backend_.linear(*weight, nullptr, x.data(), 1, y.data(), false, 0);
  EXPECT_EQ(y, (std::vector<float>{4, 10, 16}));
  const std::vector<RecordedInputs> recorded = backend_.recorded();
  ASSERT_EQ(recorded.size(), 1u);
  EXPECT_EQ(recorded[0].sources, (std::vector{parts[0].data, parts[1].data}));
  EXPECT_EQ(recorded[0].sum_squares, (std::vector<double>{4, 1}));
}

TEST_F(RecordingBackendTest, QueriesKeysAndValuesAreRecorded) {
  const std::vector<float> values = {1, 0, 0, 1, 2, 0, 0, 2, 3, 0, 0, 3};  // (6, 2)
  const auto weight = backend_.load_matrix(matrix(values, 6, 2), nullptr, nullptr);
  backend_.reserve(1, 2);
  const std::vector<float> x = {4, -5}, cos_sin = {0, 1};
  std::vector<float> y(6), page(4);
  auto* const page_start = reinterpret_cast<std::byte*>(page.data());
  const int32_t zero = 0, one = 1;
  kernels::RopeArgs queries{.x = y.data(),
                            .cos_sin = cos_sin.data(),
                            .row_scale = nullptr,
                            .rows = 1,
                            .row_stride = 6,
                            .heads = 1,
                            .head_dim = 2,
                            .rotary_dim = 2};
  kernels::RopeArgs keys = queries;
  keys.x = y.data() + 2;
  backend_.linear_rotate_store(*weight, nullptr, x.data(), 1, y.data(),
                               {.queries = queries,
                                .keys = keys,
                                .store = {.keys = keys.x,
                                          .values = y.data() + 4,
                                          .row_stride = 6,
                                          .layer = 0,
                                          .kv = {.pages = &page_start,
                                                 .dtype = DType::kF32,
                                                 .page_tokens = 1,
                                                 .kv_heads = 1,
                                                 .head_dim = 2,
                                                 .num_layers = 1},
                                          .rows = {.slots = &zero,
                                                   .visible = &one,
                                                   .sequence = &zero,
                                                   .block_table = &zero,
                                                   .block_table_stride = 1,
                                                   .rows = 1}}});
  // A quarter of a turn.
  EXPECT_EQ(std::vector<float>(y.begin(), y.begin() + 2), (std::vector<float>{5, 4}));
  EXPECT_EQ(page, (std::vector<float>{10, 8, 12, -15}));
  EXPECT_EQ(backend_.recorded()[0].sum_squares, (std::vector<double>{16, 25}));
}

TEST_F(RecordingBackendTest, TablesAreNotRecorded) {
  const std::vector<float> values = {1, 2, 3, 4};
  const auto table = backend_.load_table(matrix(values, 2, 2), nullptr, nullptr);
  const std::vector<int32_t> ids = {1};
  std::vector<float> row(2);
  backend_.embed(*table, ids.data(), 1, row.data());
  EXPECT_EQ(row, (std::vector<float>{3, 4}));
  EXPECT_TRUE(backend_.recorded().empty());
}

TEST_F(RecordingBackendTest, IsTheDeviceInside) {
  EXPECT_EQ(backend_.device(), "cpu");
  EXPECT_EQ(backend_.num_threads(), 1);
  EXPECT_FALSE(backend_.description().empty());
}

}  // namespace
}  // namespace chatglm
