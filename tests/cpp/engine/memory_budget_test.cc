// The budget that is chosen where the caller names none.
#include "engine/memory_budget.h"

#include <gtest/gtest.h>

#include <limits>

#include "support/fake_backend.h"

namespace chatglm {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kGiB = int64_t{1} << 30;

TEST(MemoryBudget, HoldsOneSequenceOfFullLength) {
  EXPECT_EQ(default_kv_budget_bytes(kMiB, 16, 8192, 64 * kGiB), 512 * kMiB);
  EXPECT_EQ(default_kv_budget_bytes(kMiB, 16, 8193, 64 * kGiB), 513 * kMiB);
}

TEST(MemoryBudget, IsAtMostHalfOfTheFreeMemory) {
  EXPECT_EQ(default_kv_budget_bytes(kMiB, 16, 131072, 4 * kGiB), 2 * kGiB);
}

TEST(MemoryBudget, ButNeverTooSmallForAConversation) {
  EXPECT_EQ(default_kv_budget_bytes(kMiB, 16, 131072, 0), 128 * kMiB);
  EXPECT_EQ(default_kv_budget_bytes(kMiB, 16, 100, 0), 7 * kMiB);
}

TEST(MemoryBudget, SmallModelsGetRoomForSeveralSequences) {
  EXPECT_EQ(default_kv_budget_bytes(1024, 16, 1024, 4 * kGiB), 64 * kMiB);
}

TEST(MemoryBudget, OfADeviceItIsMostOfWhatIsFree) {
  EXPECT_EQ(device_kv_budget_bytes(kMiB, 16, 8192, 64 * kGiB), 32 * kGiB) << "64 sequences";
  EXPECT_EQ(device_kv_budget_bytes(kMiB, 16, 8192, 32 * kGiB), 24 * kGiB);
  EXPECT_EQ(device_kv_budget_bytes(kMiB, 16, 131072, 4 * kGiB), 3 * kGiB);
  EXPECT_EQ(device_kv_budget_bytes(kMiB, 16, 131072, 0), 128 * kMiB);
}

TEST(MemoryBudget, ComesFromTheBackendsMemory) {
  testing_support::FakeBackend backend;
  EXPECT_EQ(available_memory_bytes(backend) >> 50, 0) << "the host's";
  EXPECT_EQ(default_kv_budget_bytes(1024, 16, 1024, backend), 64 * kMiB);
  backend.set_own_memory_free(40 * kGiB);
  EXPECT_EQ(available_memory_bytes(backend), 40 * kGiB);
  EXPECT_EQ(default_kv_budget_bytes(kMiB, 16, 1 << 20, backend), 30 * kGiB);
}

TEST(MemoryBudget, HoldsThePagesThatFitOnEveryBackend) {
  testing_support::FakeBackend small, large;
  small.set_own_memory_free(4 * kGiB);
  large.set_own_memory_free(40 * kGiB);
  // 3 GiB of the small one, 30 of the large one.
  const PageShare shares[] = {{&small, 1 * kMiB}, {&large, 4 * kMiB}, {&large, 2 * kMiB}};
  EXPECT_EQ(default_kv_pages({shares, 1}, 16, 8192), 3 * 1024);
  EXPECT_EQ(default_kv_pages({shares + 1, 1}, 16, 8192), 30 * 1024 / 4);
  EXPECT_EQ(default_kv_pages({shares + 1, 2}, 16, 8192), 30 * 1024 / 6);
  EXPECT_EQ(default_kv_pages(shares, 16, 8192), 3 * 1024);
}

TEST(MemoryBudget, DoesNotOverflow) {
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(default_kv_budget_bytes(kGiB, 1, kMax, 8 * kGiB), 2048 * kGiB);
  EXPECT_GT(default_kv_budget_bytes(1, 16, kMax, kMax), 0);
}

TEST(MemoryBudget, TheSystemSaysHowMuchIsFree) {
  EXPECT_GT(available_memory_bytes(), 0);
  EXPECT_LT(available_memory_bytes(), int64_t{1} << 50);
}

}  // namespace
}  // namespace chatglm
