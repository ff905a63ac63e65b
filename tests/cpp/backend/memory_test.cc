// The memory a CPU backend hands out.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "backend/registry.h"
#include "base/error.h"

namespace chatglm {
namespace {

class CpuMemory : public ::testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = create_backend("cpu", {1});
};

TEST_F(CpuMemory, IsZeroedAndAligned) {
  for (const int64_t size : {int64_t{1}, int64_t{63}, int64_t{4097}, (int64_t{1} << 20) - 1,
                             int64_t{1} << 20, (int64_t{5} << 20) + 3}) {
    const auto buffer = backend_->allocate(size);
    ASSERT_EQ(buffer->size_bytes(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->data()) % 64, 0u) << size;
    EXPECT_TRUE(std::all_of(buffer->data(), buffer->data() + size, [](std::byte byte) {
      return byte == std::byte{0};
    })) << size;
    std::fill_n(buffer->data(), size, std::byte{1});  // all of it is ours
  }
  EXPECT_EQ(backend_->allocate(0)->size_bytes(), 0);
}

TEST_F(CpuMemory, SaysHowMuchTheSystemRefused) {
  try {
    backend_->allocate(int64_t{1} << 60);
    FAIL() << "an exbibyte was granted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
    EXPECT_NE(error.message().find("1152921504606846976"), std::string::npos) << error.what();
    EXPECT_NE(error.message().find("1073741824.00 GiB"), std::string::npos) << error.what();
  }
  try {
    backend_->allocate(-1);
    FAIL() << "a negative size was granted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
  }
  EXPECT_EQ(backend_->allocate(64)->size_bytes(), 64) << "unusable after a refusal";
}

TEST_F(CpuMemory, UploadAndDownloadCopy) {
  const auto buffer = backend_->allocate(1000);
  std::vector<uint8_t> sent(1000), received(1000);
  std::iota(sent.begin(), sent.end(), uint8_t{3});
  backend_->upload(buffer->data(), sent.data(), 1000);
  backend_->download(received.data(), buffer->data(), 1000);
  EXPECT_EQ(received, sent);
}

#ifdef __linux__
constexpr int64_t kHugePage = int64_t{2} << 20;

int64_t huge_bytes_of_this_process() {
  std::ifstream lines("/proc/self/smaps_rollup");
  for (std::string name; lines >> name;) {
    int64_t kibibytes = 0;
    if (name == "AnonHugePages:" && lines >> kibibytes) return kibibytes * 1024;
  }
  return -1;
}

// Whether this system gives huge pages to who asks for them just now.
bool huge_pages_are_given() {
  constexpr std::size_t kSize = 8 * kHugePage;
  void* const memory =
      mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  const int64_t before = huge_bytes_of_this_process();
  madvise(memory, kSize, MADV_HUGEPAGE);
  std::memset(memory, 1, kSize);
  const int64_t gained = huge_bytes_of_this_process() - before;
  munmap(memory, kSize);
  return before >= 0 && gained >= 7 * kHugePage;  // one is lost where the mapping begins inside
}

TEST_F(CpuMemory, LargeBlocksBeginWithAHugePage) {
  for (const int64_t size : {kHugePage, kHugePage + 1, 5 * kHugePage - 1}) {
    const auto buffer = backend_->allocate(size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer->data()) % kHugePage, 0u) << size;
    buffer->data()[0] = buffer->data()[size - 1] = std::byte{1};
  }
}

TEST_F(CpuMemory, PackedWeightsLieOnHugePages) {
  if (!huge_pages_are_given()) GTEST_SKIP() << "this system gives no huge pages just now";
  constexpr int64_t kRows = 4096, kCols = 1056, kSize = kRows * kCols * 4;  // 8.25 huge pages
  const std::vector<float> values(static_cast<std::size_t>(kRows * kCols), 1.0f);
  const int64_t before = huge_bytes_of_this_process();
  const auto matrix = backend_->load_matrix(
      {DType::kF32, 2, kRows, kCols, reinterpret_cast<const std::byte*>(values.data())});
  EXPECT_GE(huge_bytes_of_this_process() - before, kSize / kHugePage * kHugePage);
}

TEST_F(CpuMemory, UntouchedPagesCostNothing) {
  const auto resident_pages = [] {
    int64_t total = 0, resident = 0;
    std::ifstream("/proc/self/statm") >> total >> resident;
    return resident;
  };
  const int64_t before = resident_pages();
  ASSERT_GT(before, 0);
  const auto buffer = backend_->allocate(int64_t{1} << 30);
  buffer->data()[int64_t{1} << 29] = std::byte{1};
  EXPECT_LT(resident_pages() - before, (int64_t{16} << 20) / 4096);
}
#endif

}  // namespace
}  // namespace chatglm
