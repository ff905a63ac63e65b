// The list of kernel tables itself: every sweep of this program walks it, so it must be whole.
#include "base/error.h"
#include "kernels/test_support.h"

namespace chatglm::kernels {
namespace {

TEST(KernelTables, OneRunsEverywhere) {
  ASSERT_FALSE(all_kernel_tables().empty());
  const KernelTable& last = *all_kernel_tables().back();
  EXPECT_EQ(last.name, "generic");
  EXPECT_TRUE(last.supported());
}

TEST(KernelTables, EachKnowsEveryStorageType) {
  for (const KernelTable* table : all_kernel_tables()) {
    ASSERT_EQ(table->linear.size(), all_dtypes().size()) << table->name;
    for (const DTypeInfo& type : all_dtypes()) {
      const LinearKernel& kernel = table->linear_kernel(type.dtype);
      EXPECT_EQ(kernel.dtype, type.dtype) << table->name << " " << type.name;
      EXPECT_GT(kernel.panel_rows, 0);
      for (int64_t blocks = 1; blocks <= 100; ++blocks) {
        const int64_t k = blocks * type.block_elements;
        EXPECT_EQ(kernel.panel_bytes(k) % 64, 0) << table->name << " " << type.name << " k=" << k;
        // A panel holds its rows' information, and is no needless copy of them in a wider type.
        // (Q2_K has 4-bit scales and minimums, which take a byte each: 100 bytes instead of 84.)
        EXPECT_GE(kernel.panel_bytes(k), kernel.panel_rows * type.row_bytes(k));
        if (k >= 512) {
          const int64_t percent = type.dtype == DType::kQ2_K ? 125 : 110;
          EXPECT_LE(kernel.panel_bytes(k) * 100, kernel.panel_rows * type.row_bytes(k) * percent)
              << table->name << " " << type.name << " k=" << k;
        }
        // What reserve() relies on: more inputs and more rows never need less room.
        const auto room = [&](int64_t inputs, int64_t rows) {
          return rows * kernel.input_row_bytes(inputs, rows);
        };
        for (const int64_t m : {1, 16, 17, 64}) {
          EXPECT_LE(room(k, m), room(k + type.block_elements, m));
          EXPECT_LE(room(k, m), room(k, m + 1));
          EXPECT_LE(kernel.scratch_bytes(k, m), kernel.scratch_bytes(k + type.block_elements, m));
          EXPECT_LE(kernel.scratch_bytes(k, m), kernel.scratch_bytes(k, m + 1));
        }
      }
    }
  }
}

// The benchmark's loops end, count what they did, and read all that they are given.
TEST(KernelTables, LoopsForTheCeilingsCountTheirWork) {
  const std::vector<float> ones(4096, 1.0F);
  for (const KernelTable* table : all_kernel_tables()) {
    if (!table->supported()) continue;
    for (const PeakLoop loop : {table->peak_f32, table->peak_int8}) {
      EXPECT_GT(loop(3), 0) << table->name;
      EXPECT_EQ(loop(6), 2 * loop(3)) << table->name;
    }
    for (const int streams : {1, 2, 4}) {
      EXPECT_EQ(table->peak_read(ones.data(), 4096, streams), 4096.0F) << table->name;
    }
  }
}

}  // namespace
}  // namespace chatglm::kernels
