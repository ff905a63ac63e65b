// The cache's memory: sizes, growth within the budget, page contents that stay where they are.
#include "kv/paged_kv.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <set>
#include <vector>

#include "base/error.h"
#include "support/fake_backend.h"

namespace chatglm {
namespace {

using testing_support::FakeBackend;

constexpr KvShape kShape{.num_layers = 3, .kv_heads = 2, .head_dim = 64, .dtype = DType::kF16};

TEST(PagedKv, PageHoldsKeysAndValuesOfAllLayers) {
  EXPECT_EQ(PagedKv::page_bytes(kShape), 3 * 2 * 2 * 16 * 64 * 2);
  KvShape shape = kShape;
  shape.dtype = DType::kF32;
  EXPECT_EQ(PagedKv::page_bytes(shape), 3 * 2 * 2 * 16 * 64 * 4);
  shape.dtype = DType::kQ8_0;
  EXPECT_EQ(PagedKv::page_bytes(shape), 3 * 2 * 2 * 16 * 2 * 34);
  FakeBackend backend;
  for (DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) {
    shape.dtype = dtype;
    EXPECT_EQ(PagedKv(backend, shape, 1 << 20).view().page_bytes(), PagedKv::page_bytes(shape));
  }
}

TEST(PagedKv, RejectsWhatIsNotPossible) {
  FakeBackend backend;
  auto kind_of = [&](const KvShape& shape, int64_t budget_bytes) {
    try {
      PagedKv(backend, shape, budget_bytes);
    } catch (const Error& error) {
      return static_cast<int>(error.kind());
    }
    return -1;
  };
  const auto invalid = static_cast<int>(ErrorKind::kInvalidArgument);
  EXPECT_EQ(kind_of(kShape, PagedKv::page_bytes(kShape)), -1);
  EXPECT_EQ(kind_of(kShape, PagedKv::page_bytes(kShape) - 1), invalid);
  EXPECT_EQ(kind_of(kShape, -1), invalid);
  KvShape shape = kShape;
  shape.dtype = DType::kQ4_0;
  EXPECT_EQ(kind_of(shape, 1 << 30), invalid);
  shape = kShape;
  shape.dtype = DType::kQ8_0;
  shape.head_dim = 48;
  EXPECT_EQ(kind_of(shape, 1 << 30), invalid);
  shape = kShape;
  shape.num_layers = 0;
  EXPECT_EQ(kind_of(shape, 1 << 30), invalid);
  shape.num_layers = std::numeric_limits<int64_t>::max() / 1000;
  EXPECT_EQ(kind_of(shape, std::numeric_limits<int64_t>::max()), invalid);
}

TEST(PagedKv, GrowsWithUseAndNotBeyondTheBudget) {
  FakeBackend backend;
  const int64_t page_bytes = PagedKv::page_bytes(kShape);
  const int64_t budget_bytes = 1000 * page_bytes + page_bytes / 2;
  PagedKv kv(backend, kShape, budget_bytes);
  EXPECT_EQ(kv.max_pages(), 1000);
  EXPECT_EQ(kv.allocated_bytes(), 0);
  EXPECT_EQ(backend.allocated_bytes(), 0);

  kv.grow(1);
  EXPECT_LE(kv.allocated_bytes(), 64 * page_bytes);
  kv.grow(1000);
  EXPECT_EQ(kv.allocated_bytes(), 1000 * page_bytes);
  EXPECT_THROW(kv.grow(1001), Error);
}

TEST(PagedKv, SlabsOfLargePagesStaySmall) {
  FakeBackend backend;
  const KvShape shape{.num_layers = 64, .kv_heads = 32, .head_dim = 128, .dtype = DType::kF32};
  PagedKv kv(backend, shape, int64_t{1} << 40);
  kv.grow(1);
  EXPECT_EQ(kv.allocated_bytes(), kv.page_bytes());  // 32 MiB each
}

TEST(PagedKv, PagesKeepTheirContentWhileTheCacheGrows) {
  FakeBackend backend;
  PagedKv kv(backend, kShape, 300 * PagedKv::page_bytes(kShape));
  std::set<std::byte*> starts;
  for (int64_t count = 1; count <= 300; ++count) {
    kv.grow(count);
    std::byte* page = kv.view().pages[count - 1];
    EXPECT_TRUE(starts.insert(page).second);
    std::memset(page, static_cast<int>(count % 251), static_cast<std::size_t>(kv.page_bytes()));
  }
  for (int64_t count = 1; count <= 300; ++count) {
    const std::byte* page = kv.view().pages[count - 1];
    const auto expected = static_cast<std::byte>(count % 251);
    EXPECT_EQ(page[0], expected);
    EXPECT_EQ(page[kv.page_bytes() - 1], expected);
  }
}

TEST(PagedKv, APageHasItsPartOnEveryBackend) {
  const int64_t page_bytes = PagedKv::page_bytes(kShape);
  FakeBackend first, second;
  PagedKv kv(Placement({{&first, 0, 1}, {&second, 1, 3}}), kShape, 300 * page_bytes);
  EXPECT_EQ(kv.max_pages(), 300);
  kv.grow(70);
  ASSERT_EQ(kv.views().size(), 2u);
  EXPECT_EQ(kv.views()[0].page_bytes(), page_bytes / 3);
  EXPECT_EQ(kv.views()[1].page_bytes(), page_bytes / 3 * 2);
  std::vector<std::byte> bytes(static_cast<std::size_t>(page_bytes));
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 % 251);
  kv.write_page(66, bytes);
  EXPECT_EQ(kv.read_page(66), bytes);
  // Layers lie one behind the other in a page.
  EXPECT_EQ(kv.views()[0].pages[66][5], bytes[5]);
  EXPECT_EQ(kv.views()[1].pages[66][5], bytes[static_cast<std::size_t>(page_bytes / 3) + 5]);
}

TEST(PagedKv, GrowsOnWhereOneOfItsBackendsHadNoMemory) {
  const int64_t page_bytes = PagedKv::page_bytes(kShape);
  FakeBackend roomy, full(30 * page_bytes);
  PagedKv kv(Placement({{&roomy, 0, 1}, {&full, 1, 3}}), kShape, 1000 * page_bytes);
  EXPECT_THROW(kv.grow(64), Error);
  EXPECT_EQ(kv.allocated_bytes(), 0);
  full.set_memory_left(std::numeric_limits<int64_t>::max());
  kv.grow(100);
  EXPECT_GE(kv.allocated_bytes(), 100 * page_bytes);
  std::set<std::byte*> starts;
  for (const kernels::PagedKvView& view : kv.views()) {
    for (int64_t page = 0; page < 100; ++page) starts.insert(view.pages[page]);
  }
  EXPECT_EQ(starts.size(), 200u);
}

TEST(PagedKv, StaysUsableWhereTheDeviceHasNoMoreMemory) {
  const int64_t page_bytes = PagedKv::page_bytes(kShape);
  FakeBackend backend(100 * page_bytes);
  PagedKv kv(backend, kShape, 1000 * page_bytes);
  EXPECT_THROW(kv.grow(1000), Error);
  EXPECT_EQ(kv.allocated_bytes(), 64 * page_bytes);
  std::memset(kv.view().pages[63], 1, static_cast<std::size_t>(page_bytes));
  backend.set_memory_left(std::numeric_limits<int64_t>::max());
  kv.grow(1000);
  EXPECT_EQ(kv.view().pages[63][0], std::byte{1});
  EXPECT_EQ(kv.allocated_bytes(), 1000 * page_bytes);
}

}  // namespace
}  // namespace chatglm
