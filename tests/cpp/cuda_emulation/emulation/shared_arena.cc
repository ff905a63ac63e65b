#include "emulation/shared_arena.h"

#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace cuda_emulation {
namespace {

constexpr std::size_t kGuardBytes = 64 * 1024;
constexpr int kPoison = 0xff;

struct Arena {
  alignas(1024) std::byte before[kGuardBytes];
  std::byte memory[kMaxSharedBytes];
  std::byte behind[kGuardBytes];
};
Arena arena;

}  // namespace

std::byte* shared_arena() {
  return arena.memory;
}

void open_shared_arena(std::size_t bytes, [[maybe_unused]] unsigned threads) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(&arena, sizeof(arena));
  __asan_unpoison_memory_region(arena.memory, bytes);
#endif
  std::memset(arena.memory, kPoison, bytes);
}

void poison_for_copy(std::byte* place) {
  std::memset(place, kPoison, kCopyBytes);
}

void finish_copy(std::byte* place, const std::byte* global, std::size_t bytes) {
  std::memcpy(place, global, bytes);
  std::memset(place + bytes, 0, kCopyBytes - bytes);
}

void order_at_barrier_arrival(const Thread&, unsigned) {}
void order_at_barrier(unsigned, bool) {}
void order_lanes(unsigned, uint32_t) {}

}  // namespace cuda_emulation
