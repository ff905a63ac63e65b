#include "emulation/shared_arena.h"

#include <algorithm>
#include <cstring>

#include "emulation/races.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace cuda_emulation {

constexpr std::size_t kWithGuards = 2 * kSharedGuardBytes + kMaxSharedBytes;
alignas(1024) std::byte shared_arena_with_guards[kWithGuards];

namespace {

constexpr int kPoison = 0xff;

struct Arena {
  std::size_t bytes = 0;
  bool copied[kMaxSharedBytes / kCopyBytes] = {};  // a copy is under way, by aligned place
};
Arena arena;

std::size_t copy_index(const std::byte* place) {
  return static_cast<std::size_t>(place - shared_arena()) / kCopyBytes;
}

}  // namespace

std::size_t shared_arena_bytes() {
  return arena.bytes;
}

void open_shared_arena(std::size_t bytes) {
  std::fill_n(arena.copied, (arena.bytes + kCopyBytes - 1) / kCopyBytes, false);
  arena.bytes = bytes;
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(shared_arena_with_guards, kWithGuards);
  __asan_unpoison_memory_region(shared_arena(), bytes);
#endif
  std::memset(shared_arena(), kPoison, bytes);
  order_blocks();
}

void poison_for_copy(std::byte* place, const void* code) {
  check_shared_access(place, kCopyBytes, Access::kWrite, code);
  std::memset(place, kPoison, kCopyBytes);
  arena.copied[copy_index(place)] = true;
}

void finish_copy(std::byte* place, const std::byte* global, std::size_t bytes, const void* code) {
  arena.copied[copy_index(place)] = false;
  check_shared_access(place, kCopyBytes, Access::kWrite, code);
  std::memcpy(place, global, bytes);
  std::memset(place + bytes, 0, kCopyBytes - bytes);
}

void finish_bulk_copy(std::byte* place, const std::byte* global, std::size_t bytes) {
  arena.copied[copy_index(place)] = false;
  if (bytes > 0) std::memcpy(place, global, bytes);
  std::memset(place + bytes, 0, kCopyBytes - bytes);
}

bool is_being_copied(const std::byte* place, std::size_t bytes) {
  const std::size_t last = copy_index(place + bytes - 1);
  for (std::size_t i = copy_index(place); i <= last; ++i) {
    if (arena.copied[i]) return true;
  }
  return false;
}

}  // namespace cuda_emulation
