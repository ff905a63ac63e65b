#include "emulation/device_memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "emulation/block.h"
#include "emulation/races.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace cuda_emulation {

constinit DeviceAddresses device_addresses;

namespace {

constexpr std::size_t kArenaBytes = std::size_t{16} << 30;  // of addresses
constexpr std::size_t kAlignment = 512;
constexpr std::size_t kGap = 4096;  // between neighbours, belongs to nobody
constexpr int kPoison = 0xff;

std::size_t rounded(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

void forget_latest() {
  device_addresses.latest_begin = device_addresses.latest_end = nullptr;
}

// Addresses are handed out ascending, and again from the begin when the end is reached.
class Arena {
 public:
  Arena() {
    void* memory = mmap(nullptr, kArenaBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return;
    begin_ = static_cast<std::byte*>(memory);
    device_addresses.begin = begin_;
    device_addresses.end = begin_ + kArenaBytes;
  }
  std::byte* allocate(int device, std::size_t bytes) {
    const std::size_t needed = rounded(bytes) + kGap;
    if (begin_ == nullptr || needed > kArenaBytes) return nullptr;
    std::size_t at = find_room(next_, kArenaBytes, needed);
    if (at == kArenaBytes) at = find_room(0, kArenaBytes, needed);
    if (at == kArenaBytes) return nullptr;
    next_ = at + needed;
    std::byte* memory = begin_ + at;
    allocations_[memory] = {memory, bytes, device};
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(memory, bytes);
    __asan_poison_memory_region(memory + bytes, needed - bytes);
#endif
    std::memset(memory, kPoison, bytes);
    return memory;
  }
  bool free(std::byte* memory) {
    const auto found = allocations_.find(memory);
    if (found == allocations_.end()) return false;
    const std::size_t bytes = found->second.bytes;
    allocations_.erase(found);
    forget_latest();
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(memory, bytes);
#endif
    std::memset(memory, kPoison, bytes);
    const std::size_t page = 4096;
    const auto first = (reinterpret_cast<uintptr_t>(memory) + page - 1) / page * page;
    const auto last = (reinterpret_cast<uintptr_t>(memory) + bytes) / page * page;
    if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(memory, bytes);
#endif
    return true;
  }
  Allocation* find(const std::byte* memory, std::size_t bytes) {
    auto after = allocations_.upper_bound(const_cast<std::byte*>(memory));
    if (after == allocations_.begin()) return nullptr;
    Allocation& allocation = (--after)->second;
    return memory + bytes <= allocation.begin + allocation.bytes ? &allocation : nullptr;
  }
  const Allocation* last_before(const std::byte* memory) const {
    auto after = allocations_.upper_bound(const_cast<std::byte*>(memory));
    return after == allocations_.begin() ? nullptr : &(--after)->second;
  }
  std::size_t used(int device) const {
    std::size_t total = 0;
    for (const auto& [begin, allocation] : allocations_) {
      if (allocation.device == device) total += rounded(allocation.bytes);
    }
    return total;
  }
  std::size_t count() const { return allocations_.size(); }

 private:
  // The first hole of `needed` bytes at or behind `from`; `end` for none.
  std::size_t find_room(std::size_t from, std::size_t end, std::size_t needed) const {
    std::size_t at = from;
    auto next = allocations_.lower_bound(begin_ + from);
    if (next != allocations_.begin()) {
      auto before = next;
      --before;
      const std::size_t behind =
          static_cast<std::size_t>(before->first - begin_) + rounded(before->second.bytes) + kGap;
      if (behind > at) at = behind;
    }
    for (; next != allocations_.end(); ++next) {
      const auto start = static_cast<std::size_t>(next->first - begin_);
      if (start >= at + needed) return at;
      at = start + rounded(next->second.bytes) + kGap;
    }
    return at + needed <= end ? at : kArenaBytes;
  }

  std::byte* begin_ = nullptr;
  std::size_t next_ = 0;
  std::map<std::byte*, Allocation> allocations_;
};

constinit int kernel_device = 0;

Arena& arena() {
  static Arena the_arena;
  return the_arena;
}

std::map<const std::byte*, std::vector<std::byte>>& pinned() {
  static std::map<const std::byte*, std::vector<std::byte>> all;
  return all;
}

}  // namespace

std::byte* allocate_device_memory(int device, std::size_t bytes) {
  return arena().allocate(device, bytes);
}
bool free_device_memory(void* memory) {
  return arena().free(static_cast<std::byte*>(memory));
}
std::size_t device_bytes_used(int device) {
  return arena().used(device);
}
const Allocation* device_allocation(const void* memory, std::size_t bytes) {
  return arena().find(static_cast<const std::byte*>(memory), bytes);
}

void set_kernel_device(int device) {
  kernel_device = device;
  forget_latest();
}

bool is_valid_for_kernel_device(const std::byte* memory, std::size_t bytes) {
  Allocation* const found = arena().find(memory, bytes);
  if (found == nullptr || found->device != kernel_device) return false;
  device_addresses.latest_begin = found->begin;
  device_addresses.latest_end = found->begin + found->bytes;
  device_addresses.latest_is_written = &found->written_by_kernel;
  return true;
}

void report_invalid_access(const void* memory, std::size_t bytes, bool writes, const void* code) {
  const auto* const place = static_cast<const std::byte*>(memory);
  std::string sentence = std::string(writes ? "writes " : "reads ") + std::to_string(bytes) +
                         " bytes of device memory that ";
  if (const Allocation* const found = arena().find(place, bytes)) {
    sentence += "belongs to device " + std::to_string(found->device);
  } else if (const Allocation* const before = arena().last_before(place)) {
    sentence += "is not allocated (at byte " + std::to_string(place - before->begin) +
                " from the begin of an allocation of " + std::to_string(before->bytes) + ")";
  } else {
    sentence += "is not allocated";
  }
  report(sentence + ", in " + name_of_code(code));
}

std::byte* allocate_pinned(std::size_t bytes) {
  std::vector<std::byte> memory(bytes + kAlignment, std::byte{kPoison});
  std::byte* const begin =
      reinterpret_cast<std::byte*>(rounded(reinterpret_cast<std::size_t>(memory.data())));
  pinned().emplace(begin, std::move(memory));
  return begin;
}
bool free_pinned(void* memory) {
  return pinned().erase(static_cast<std::byte*>(memory)) != 0;
}
bool is_pinned(const void* memory) {
  const auto* const place = static_cast<const std::byte*>(memory);
  auto after = pinned().upper_bound(place);
  if (after == pinned().begin()) return false;
  const std::vector<std::byte>& block = (--after)->second;
  return place < block.data() + block.size();
}

std::size_t device_allocation_count() {
  return arena().count();
}
std::size_t pinned_allocation_count() {
  return pinned().size();
}

}  // namespace cuda_emulation
