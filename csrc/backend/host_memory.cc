#include "backend/host_memory.h"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "base/error.h"

#ifdef _WIN32
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace chatglm {
namespace {

// From here on memory comes straight from the system: zero pages that cost nothing until touched.
// Below, the heap: no page is wasted, and address sanitizer watches the ends.
constexpr int64_t kMappedBytes = int64_t{1} << 20;
constexpr int64_t kHugePageBytes = int64_t{2} << 20;

std::byte* map_zero_pages(int64_t size_bytes) {
  const auto size = static_cast<std::size_t>(size_bytes);
#ifdef _WIN32
  return static_cast<std::byte*>(
      VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
#else
  // The system makes huge pages only where both their ends lie inside: begin with one.
  const std::size_t room = size_bytes >= kHugePageBytes ? kHugePageBytes : 0;
  void* const mapped =
      mmap(nullptr, size + room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* memory = static_cast<std::byte*>(mapped);
  if (room == 0) return memory;
  const std::size_t before = room - 1 - (reinterpret_cast<std::uintptr_t>(mapped) - 1) % room;
  if (before > 0) munmap(memory, before);
  const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t used = (before + size + page - 1) / page * page;
  if (used < size + room) munmap(memory + used, size + room - used);
  memory += before;
#ifdef MADV_HUGEPAGE
  // Weights are streamed from end to end: large pages save TLB misses. Only a wish.
  madvise(memory, size, MADV_HUGEPAGE);
#endif
  return memory;
#endif
}

void unmap(std::byte* memory, int64_t size_bytes) {
#ifdef _WIN32
  static_cast<void>(size_bytes);
  VirtualFree(memory, 0, MEM_RELEASE);
#else
  munmap(memory, static_cast<std::size_t>(size_bytes));
#endif
}

std::byte* zeroed_heap_block(int64_t size_bytes) {
  const auto size = static_cast<std::size_t>(size_bytes);
  void* memory = ::operator new(size, std::align_val_t{HostMemory::kAlignment}, std::nothrow);
  if (memory != nullptr) std::memset(memory, 0, size);
  return static_cast<std::byte*>(memory);
}

}  // namespace

HostMemory::HostMemory(int64_t size_bytes) : size_bytes_(size_bytes) {
  if (size_bytes < 0) {
    throw Error(ErrorKind::kInvalidArgument,
                "cannot allocate " + std::to_string(size_bytes) + " bytes of memory");
  }
  if (size_bytes == 0) return;
  data_ = size_bytes >= kMappedBytes ? map_zero_pages(size_bytes) : zeroed_heap_block(size_bytes);
  if (data_ == nullptr) {
    char gib[32];
    std::snprintf(gib, sizeof(gib), "%.2f", static_cast<double>(size_bytes) / (1 << 30));
    throw Error(ErrorKind::kDevice, "out of memory: the system refused " +
                                        std::to_string(size_bytes) + " bytes (" + gib + " GiB)");
  }
}

HostMemory::~HostMemory() {
  if (data_ == nullptr) return;
  if (size_bytes_ >= kMappedBytes) {
    unmap(data_, size_bytes_);
  } else {
    ::operator delete(data_, std::align_val_t{kAlignment});
  }
}

HostMemory::HostMemory(HostMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)) {}

HostMemory& HostMemory::operator=(HostMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

}  // namespace chatglm
