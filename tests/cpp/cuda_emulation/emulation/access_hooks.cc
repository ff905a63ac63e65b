// What the compiler calls at every access to memory in code compiled with -fsanitize=thread. That
// sanitizer's own library is not linked: these hooks look at the running block's shared memory, at
// device memory, and at nothing else.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "emulation/block.h"
#include "emulation/device_memory.h"
#include "emulation/races.h"
#include "emulation/shared_arena.h"
#include "emulation/thread_state.h"

namespace cuda_emulation {
namespace {

inline void check(const void* place, std::size_t bytes, Access access, const void* code) {
  const auto* const address = static_cast<const std::byte*>(place);
  const std::byte* const shared = shared_arena();
  const bool in_shared = address >= shared - kSharedGuardBytes &&
                         address < shared + kMaxSharedBytes + kSharedGuardBytes;
  if (!in_shared && !in_device_arena(address)) return;
  const Thread* const thread = running_thread();
  if (thread == nullptr || bytes == 0) return;
  if (in_shared) {
    check_shared_access(address, bytes, access, code);
  } else if (!is_valid_in_kernel(address, bytes)) {
    report_invalid_access(address, bytes, access != Access::kRead, code);
  } else {
    bool& is_written = *device_addresses.latest_is_written;
    if (thread->before_wait && (access != Access::kRead || is_written)) {
      report(std::string(access == Access::kRead ? "reads what kernels write" : "writes") +
             " before grid_dependency_wait(), in " + name_of_code(code));
    }
    if (access != Access::kRead) is_written = true;
  }
}

}  // namespace
}  // namespace cuda_emulation

using cuda_emulation::Access;
using cuda_emulation::check;

#define CODE __builtin_return_address(0)

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_read(void**) {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_read_range(void* place, std::size_t bytes) {
  check(place, bytes, Access::kRead, CODE);
}
void __tsan_write_range(void* place, std::size_t bytes) {
  check(place, bytes, Access::kWrite, CODE);
}
void* __tsan_memcpy(void* to, const void* from, std::size_t bytes) {
  check(from, bytes, Access::kRead, CODE);
  check(to, bytes, Access::kWrite, CODE);
  return std::memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, std::size_t bytes) {
  check(from, bytes, Access::kRead, CODE);
  check(to, bytes, Access::kWrite, CODE);
  return std::memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int value, std::size_t bytes) {
  check(to, bytes, Access::kWrite, CODE);
  return std::memset(to, value, bytes);
}
void __tsan_atomic_thread_fence(int) {}
void __tsan_atomic_signal_fence(int) {}

#define PLAIN(BYTES)                               \
  void __tsan_read##BYTES(void* place) {           \
    check(place, BYTES, Access::kRead, CODE);      \
  }                                                \
  void __tsan_write##BYTES(void* place) {          \
    check(place, BYTES, Access::kWrite, CODE);     \
  }                                                \
  void __tsan_volatile_read##BYTES(void* place) {  \
    check(place, BYTES, Access::kRead, CODE);      \
  }                                                \
  void __tsan_volatile_write##BYTES(void* place) { \
    check(place, BYTES, Access::kWrite, CODE);     \
  }
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

#define UNALIGNED(BYTES)                            \
  void __tsan_unaligned_read##BYTES(void* place) {  \
    check(place, BYTES, Access::kRead, CODE);       \
  }                                                 \
  void __tsan_unaligned_write##BYTES(void* place) { \
    check(place, BYTES, Access::kWrite, CODE);      \
  }
UNALIGNED(2)
UNALIGNED(4)
UNALIGNED(8)
UNALIGNED(16)

// Those that the emulated atomics are made of, and what the standard library's headers need.
#define ATOMIC_FETCH(BITS, NAME)                                                    \
  uint##BITS##_t __tsan_atomic##BITS##_fetch_##NAME(volatile uint##BITS##_t* place, \
                                                    uint##BITS##_t value, int) {    \
    check(const_cast<uint##BITS##_t*>(place), BITS / 8, Access::kAtomic, CODE);     \
    return __atomic_fetch_##NAME(place, value, __ATOMIC_SEQ_CST);                   \
  }
#define ATOMIC(BITS)                                                                              \
  ATOMIC_FETCH(BITS, add)                                                                         \
  ATOMIC_FETCH(BITS, sub)                                                                         \
  ATOMIC_FETCH(BITS, and)                                                                         \
  ATOMIC_FETCH(BITS, or)                                                                          \
  ATOMIC_FETCH(BITS, xor)                                                                         \
  uint##BITS##_t __tsan_atomic##BITS##_load(const volatile uint##BITS##_t* place, int) {          \
    check(const_cast<const uint##BITS##_t*>(place), BITS / 8, Access::kAtomic, CODE);             \
    return __atomic_load_n(place, __ATOMIC_SEQ_CST);                                              \
  }                                                                                               \
  void __tsan_atomic##BITS##_store(volatile uint##BITS##_t* place, uint##BITS##_t value, int) {   \
    check(const_cast<uint##BITS##_t*>(place), BITS / 8, Access::kAtomic, CODE);                   \
    __atomic_store_n(place, value, __ATOMIC_SEQ_CST);                                             \
  }                                                                                               \
  uint##BITS##_t __tsan_atomic##BITS##_exchange(volatile uint##BITS##_t* place,                   \
                                                uint##BITS##_t value, int) {                      \
    check(const_cast<uint##BITS##_t*>(place), BITS / 8, Access::kAtomic, CODE);                   \
    return __atomic_exchange_n(place, value, __ATOMIC_SEQ_CST);                                   \
  }                                                                                               \
  int __tsan_atomic##BITS##_compare_exchange_strong(                                              \
      volatile uint##BITS##_t* place, uint##BITS##_t* expected, uint##BITS##_t value, int, int) { \
    check(const_cast<uint##BITS##_t*>(place), BITS / 8, Access::kAtomic, CODE);                   \
    return __atomic_compare_exchange_n(place, expected, value, false, __ATOMIC_SEQ_CST,           \
                                       __ATOMIC_SEQ_CST);                                         \
  }                                                                                               \
  int __tsan_atomic##BITS##_compare_exchange_weak(                                                \
      volatile uint##BITS##_t* place, uint##BITS##_t* expected, uint##BITS##_t value, int, int) { \
    check(const_cast<uint##BITS##_t*>(place), BITS / 8, Access::kAtomic, CODE);                   \
    return __atomic_compare_exchange_n(place, expected, value, false, __ATOMIC_SEQ_CST,           \
                                       __ATOMIC_SEQ_CST);                                         \
  }                                                                                               \
  uint##BITS##_t __tsan_atomic##BITS##_compare_exchange_val(                                      \
      volatile uint##BITS##_t* place, uint##BITS##_t expected, uint##BITS##_t value, int, int) {  \
    check(const_cast<uint##BITS##_t*>(place), BITS / 8, Access::kAtomic, CODE);                   \
    __atomic_compare_exchange_n(place, &expected, value, false, __ATOMIC_SEQ_CST,                 \
                                __ATOMIC_SEQ_CST);                                                \
    return expected;                                                                              \
  }
ATOMIC(8)
ATOMIC(16)
ATOMIC(32)
ATOMIC(64)

}  // extern "C"
