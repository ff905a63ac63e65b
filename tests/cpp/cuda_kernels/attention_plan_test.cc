// How the rows of a step are cut into tiles and tiles into splits.
#include "kernels/cuda/attention.h"

#include <gtest/gtest.h>

#include <numeric>

#include "kernels/cuda/attention_tiles.h"

namespace chatglm::kernels::cuda {
namespace {

constexpr AttentionShape kShape{DType::kF16, 32, 2, 128, 16};
constexpr int kMultiprocessors = 132;

// Rows of sequences 0, 1, ...: rows[s] rows, the last of which sees visible[s] slots.
AttentionPlan plan_of(const AttentionShape& shape, const std::vector<int32_t>& rows,
                      const std::vector<int32_t>& visible, int multiprocessors = kMultiprocessors) {
  std::vector<int32_t> of_row, seen;
  for (std::size_t s = 0; s < rows.size(); ++s) {
    for (int32_t row = 0; row < rows[s]; ++row) {
      of_row.push_back(static_cast<int32_t>(s));
      seen.push_back(visible[s] - rows[s] + row + 1);
    }
  }
  AttentionPlan plan;
  plan.make(shape, of_row, seen, multiprocessors);
  return plan;
}

// Every row is in one tile, of one sequence, and no tile sees less than its rows.
void check_tiles(const AttentionPlan& plan, const std::vector<int32_t>& rows,
                 const std::vector<int32_t>& visible) {
  std::vector<int> found(static_cast<std::size_t>(std::accumulate(rows.begin(), rows.end(), 0)));
  for (const RowTile& tile : plan.tiles()) {
    const auto s = static_cast<std::size_t>(tile.sequence);
    const int first_of_sequence = std::accumulate(rows.begin(), rows.begin() + tile.sequence, 0);
    ASSERT_GE(tile.first_row, first_of_sequence);
    ASSERT_LE(tile.first_row + tile.num_rows, first_of_sequence + rows[s]);
    ASSERT_EQ(tile.visible,
              visible[s] - rows[s] + tile.first_row - first_of_sequence + tile.num_rows);
    for (int row = 0; row < tile.num_rows; ++row) {
      ++found[static_cast<std::size_t>(tile.first_row + row)];
    }
  }
  for (const int times : found) ASSERT_EQ(times, 1);
  const auto tiles = static_cast<std::size_t>(plan.grid().narrow.tiles + plan.grid().wide.tiles);
  ASSERT_EQ(plan.tiles().size(), tiles);
}

TEST(AttentionPlan, DecodeOfOneSequenceFillsTheDevice) {
  const AttentionPlan plan = plan_of(kShape, {1}, {32768});
  check_tiles(plan, {1}, {32768});
  EXPECT_EQ(plan.grid().narrow, (TileGrid{.tiles = 1, .splits = 128, .partitions_per_split = 1}));
  EXPECT_EQ(plan.grid().wide, TileGrid{});
  EXPECT_EQ(plan.workspace_bytes(), 128 * 32 * (128 + 2) * 4);
}

TEST(AttentionPlan, ManySequencesAreNotSplit) {
  const std::vector<int32_t> rows(256, 1), visible(256, 4096);
  const AttentionPlan plan = plan_of(kShape, rows, visible);
  check_tiles(plan, rows, visible);
  EXPECT_EQ(plan.grid().narrow.splits, 1);
  EXPECT_EQ(plan.workspace_bytes(), 0);
}

// So that a graph of a step can be replayed while the sequences grow.
TEST(AttentionPlan, GridChangesAtPowersOfTwoOnly) {
  for (const int32_t length : {513, 700, 1024}) {
    EXPECT_EQ(plan_of(kShape, {1, 1}, {length, 3}).grid(),
              plan_of(kShape, {1, 1}, {1000, 600}).grid());
  }
  EXPECT_NE(plan_of(kShape, {1}, {1025}).grid(), plan_of(kShape, {1}, {1024}).grid());
}

TEST(AttentionPlan, MixesNarrowAndWideTiles) {
  const std::vector<int32_t> rows = {1, 40, 1, 2, 9}, visible = {900, 700, 20, 8, 9};
  const AttentionPlan plan = plan_of(kShape, rows, visible);
  check_tiles(plan, rows, visible);
  EXPECT_EQ(plan.grid().narrow.tiles, 2);
  EXPECT_EQ(plan.grid().wide.tiles, 5 + 1 + 2);
}

TEST(AttentionPlan, PartialsOfSplitTilesLieSideBySide) {
  for (const AttentionShape& shape :
       {kShape, AttentionShape{DType::kF32, 3, 3, 5, 7}, AttentionShape{DType::kF16, 40, 1, 64, 16},
        AttentionShape{DType::kQ8_0, 8, 8, 256, 16}}) {
    const std::vector<int32_t> rows = {1, 40, 1, 2}, visible = {900, 1700, 20, 8};
    const AttentionPlan plan = plan_of(shape, rows, visible);
    check_tiles(plan, rows, visible);
    int64_t next = 0;
    for (std::size_t i = 0; i < plan.tiles().size(); ++i) {
      const RowTile& tile = plan.tiles()[i];
      const bool is_narrow = static_cast<int>(i) < plan.grid().narrow.tiles;
      if ((is_narrow ? plan.grid().narrow : plan.grid().wide).splits == 1) continue;
      ASSERT_EQ(tile.first_partial, next);
      next += int64_t{tile.num_rows} * ((tile.visible + 255) / 256);
    }
    ASSERT_GT(next, 0);
    EXPECT_EQ(plan.workspace_bytes(), next * shape.heads * partial_floats(shape.head_dim) * 4);
  }
}

TEST(AttentionPlan, WhatDoesNotFitIsNotSplit) {
  const std::vector<int32_t> rows(40, 1), visible(40, 131072);
  const AttentionPlan plan = plan_of(kShape, rows, visible);
  EXPECT_EQ(plan.grid().narrow, (TileGrid{.tiles = 40, .splits = 1, .partitions_per_split = 512}));
  EXPECT_EQ(plan.workspace_bytes(), 0);
  EXPECT_GT(plan_of(kShape, {1}, {131072}).grid().narrow.splits, 1);
  const std::vector<int32_t> fewer(20, 1), as_long(20, 131072);
  EXPECT_GT(plan_of(kShape, fewer, as_long).grid().narrow.splits, 1);
}

TEST(AttentionPlan, NoRows) {
  const AttentionPlan plan = plan_of(kShape, {}, {});
  EXPECT_TRUE(plan.tiles().empty());
  EXPECT_EQ(plan.grid(), AttentionGrid{});
}

}  // namespace
}  // namespace chatglm::kernels::cuda
