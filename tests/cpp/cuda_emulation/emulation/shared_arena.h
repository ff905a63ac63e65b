// The memory that is the running block's shared memory, between zones that nobody may touch.
#pragma once

#include <cstddef>

namespace cuda_emulation {

inline constexpr std::size_t kMaxSharedBytes = 232448;  // 227 KiB
inline constexpr std::size_t kSharedGuardBytes = 64 * 1024;

// Two zones of kSharedGuardBytes around (kMaxSharedBytes).
extern std::byte shared_arena_with_guards[];
inline std::byte* shared_arena() {
  return shared_arena_with_guards + kSharedGuardBytes;
}
std::size_t shared_arena_bytes();  // of the running block
// For the next block: poisoned (a NaN in every format).
void open_shared_arena(std::size_t bytes);

// An asynchronous copy of kCopyBytes by the running thread, of which `bytes` are read and the
// others become zero: nobody may touch the place until it is finished. `code`: where it was asked
// for.
inline constexpr std::size_t kCopyBytes = 16;
void poison_for_copy(std::byte* place, const void* code);
void finish_copy(std::byte* place, const std::byte* global, std::size_t bytes, const void* code);
// The same where the copy is no thread's: the place is nobody's yet.
void finish_bulk_copy(std::byte* place, const std::byte* global, std::size_t bytes);
// Whether a copy into one of these bytes is under way.
bool is_being_copied(const std::byte* place, std::size_t bytes);

}  // namespace cuda_emulation
