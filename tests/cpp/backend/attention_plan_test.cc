// AttentionPlan: that its tasks cover the work exactly once, are neither too large nor too few, and
// stand in the order of their cost.
#include "backend/attention_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <tuple>

namespace chatglm {
namespace {

using kernels::AttentionKernel;
using kernels::AttentionTask;
using kernels::kAttentionPartition;

constexpr int64_t kMostProductRows = 64;
constexpr int64_t kPartialBytesPerRow = 128;

constexpr AttentionKernel kKernel = {
    .most_product_rows = [](const kernels::PagedAttentionArgs&) { return kMostProductRows; },
    .scratch_bytes = [](int64_t head_dim) { return 64 * head_dim; },
    .partial_bytes = [](int64_t product_rows,
                        int64_t) { return product_rows * kPartialBytesPerRow; },
    .attend = nullptr,
    .merge = nullptr,
};

struct Chunk {
  int64_t first, rows;  // positions of one sequence
};

struct Batch {
  explicit Batch(const std::vector<Chunk>& chunks) {
    for (std::size_t s = 0; s < chunks.size(); ++s) {
      for (int64_t i = 0; i < chunks[s].rows; ++i) {
        sequence.push_back(static_cast<int32_t>(s));
        visible.push_back(static_cast<int32_t>(chunks[s].first + i + 1));
      }
    }
  }
  kernels::PagedAttentionArgs args(int64_t heads, int64_t kv_heads) const {
    kernels::PagedAttentionArgs result{};
    result.heads = heads;
    result.kv.kv_heads = kv_heads;
    result.kv.head_dim = 128;
    result.rows.sequence = sequence.data();
    result.rows.visible = visible.data();
    result.rows.rows = static_cast<int64_t>(visible.size());
    return result;
  }

  std::vector<int32_t> sequence, visible;
};

// How often each (row, head, partition) is in a task.
std::map<std::tuple<int64_t, int64_t, int64_t>, int> covered(std::span<const AttentionTask> tasks) {
  std::map<std::tuple<int64_t, int64_t, int64_t>, int> times;
  for (const AttentionTask& task : tasks) {
    for (int64_t row = 0; row < task.num_rows; ++row) {
      for (int64_t head = 0; head < task.num_heads; ++head) {
        for (int64_t p = 0; p < task.num_partitions; ++p) {
          ++times[{task.first_row + row, task.first_head + head, task.first_partition + p}];
        }
      }
    }
  }
  return times;
}

int64_t cost(const AttentionTask& task) {
  return task.num_rows * task.num_heads * task.num_partitions;
}

void check(const Batch& batch, int64_t heads, int64_t kv_heads, int threads) {
  SCOPED_TRACE(std::to_string(batch.visible.size()) + " rows, " + std::to_string(heads) +
               " heads, " + std::to_string(threads) + " threads");
  AttentionPlan plan(kKernel, threads);
  plan.make(batch.args(heads, kv_heads));
  const auto times = covered(plan.tasks());
  for (std::size_t row = 0; row < batch.visible.size(); ++row) {
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t p = 0; p * kAttentionPartition < batch.visible[row]; ++p) {
        const auto found = times.find({static_cast<int64_t>(row), head, p});
        ASSERT_NE(found, times.end()) << "row " << row << " head " << head << " partition " << p;
      }
    }
  }
  for (const auto& [key, count] : times) ASSERT_EQ(count, 1);

  int64_t total = 0, before = INT64_MAX;
  std::vector<std::pair<std::byte*, std::byte*>> partials;
  for (const AttentionTask& task : plan.tasks()) {
    const int64_t product_rows = task.num_rows * task.num_heads;
    EXPECT_LE(product_rows, kMostProductRows);
    EXPECT_EQ(task.first_head / (heads / kv_heads),
              (task.first_head + task.num_heads - 1) / (heads / kv_heads))
        << "heads of two KV heads";
    for (int64_t row = 0; row < task.num_rows; ++row) {
      EXPECT_EQ(batch.sequence[static_cast<std::size_t>(task.first_row + row)],
                batch.sequence[static_cast<std::size_t>(task.first_row)]);
    }
    EXPECT_LE(cost(task), before) << "not the costly ones first";
    before = cost(task);
    total += cost(task);
    if (task.partials == nullptr) {
      EXPECT_EQ(task.first_partition, 0);
      continue;
    }
    partials.push_back(
        {task.partials, task.partials + task.num_partitions * product_rows * kPartialBytesPerRow});
    const auto merge = std::find_if(
        plan.merges().begin(), plan.merges().end(), [&](const AttentionTask& candidate) {
          return candidate.first_row == task.first_row && candidate.first_head == task.first_head;
        });
    ASSERT_NE(merge, plan.merges().end());
    EXPECT_EQ(task.partials,
              merge->partials + task.first_partition * product_rows * kPartialBytesPerRow);
  }
  std::sort(partials.begin(), partials.end());
  for (std::size_t i = 1; i < partials.size(); ++i) {
    EXPECT_LE(partials[i - 1].second, partials[i].first) << "partials overlap";
  }
  // No thread is left with much more than its share at the end, as far as rows can be cut.
  if (threads > 1) {
    EXPECT_LE(cost(plan.tasks().front()), std::max(total / threads / 4 + 1, kMostProductRows));
  }
}

TEST(AttentionPlan, CoversTheWorkOnce) {
  for (const int threads : {1, 2, 7}) {
    for (const auto& [heads, kv_heads] : {std::pair{32, 2}, {4, 4}, {96, 1}, {12, 2}}) {
      check(Batch({{0, 1}}), heads, kv_heads, threads);
      check(Batch({{4095, 1}}), heads, kv_heads, threads);
      check(Batch({{0, 130}}), heads, kv_heads, threads);
      check(Batch({{10, 1}, {3000, 1}, {700, 1}, {255, 1}, {256, 1}}), heads, kv_heads, threads);
      check(Batch({{5000, 1}, {0, 33}, {2000, 7}}), heads, kv_heads, threads);
    }
  }
}

// A kernel that takes many product rows gets them while all threads have several tasks.
TEST(AttentionPlan, TasksAreAsLargeAsTheThreadsAllow) {
  AttentionKernel kernel = kKernel;
  kernel.most_product_rows = [](const kernels::PagedAttentionArgs&) { return int64_t{512}; };
  const Batch batch({{7680, 512}});
  for (const auto& [threads, expected] : {std::pair{1, 512}, {2, 512}, {8, 128}, {64, 64}}) {
    AttentionPlan plan(kernel, threads);
    plan.make(batch.args(32, 2));
    int64_t most = 0;
    for (const AttentionTask& task : plan.tasks()) {
      most = std::max(most, task.num_rows * task.num_heads);
    }
    EXPECT_EQ(most, expected) << threads << " threads";
    if (threads <= 8) {
      EXPECT_TRUE(plan.merges().empty()) << threads << " threads";
    }
  }
}

TEST(AttentionPlan, LongContextOfOneRowIsForAllThreads) {
  AttentionPlan plan(kKernel, 4);
  const Batch batch({{4095, 1}});
  plan.make(batch.args(32, 2));
  EXPECT_EQ(plan.tasks().size(), 32U);
  EXPECT_EQ(plan.merges().size(), 2U);
}

TEST(AttentionPlan, OneThreadNeedsNoMerge) {
  AttentionPlan plan(kKernel, 1);
  const Batch batch({{4095, 1}});
  plan.make(batch.args(32, 2));
  EXPECT_EQ(plan.tasks().size(), 2U);
  EXPECT_TRUE(plan.merges().empty());
}

TEST(AttentionPlan, NoRowsAreNoTasks) {
  AttentionPlan plan(kKernel, 2);
  plan.make(Batch({}).args(32, 2));
  EXPECT_TRUE(plan.tasks().empty());
  EXPECT_TRUE(plan.merges().empty());
}

}  // namespace
}  // namespace chatglm
