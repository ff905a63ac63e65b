// Which accesses to shared memory are ordered: by __syncthreads for the whole block, by __syncwarp
// for the lanes of its mask, what a bulk copy wrote for those who waited for its barrier, and by
// nothing else. Two that are not, by different threads, of which
// one writes, are a race and reported; so is what lies outside of the block's shared memory, and
// what an asynchronous copy is still writing.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cuda_emulation {

enum class Access : uint8_t { kRead, kWrite, kAtomic };

// An access of the running thread by the code that `code` returns to.
void check_shared_access(const std::byte* place, std::size_t bytes, Access access,
                         const void* code);

void order_blocks();  // what comes is ordered after everything before; also at __syncthreads
void order_lanes(unsigned warp_begin, uint32_t mask);

// A bulk copy has written these words, as landing number `landing` (ascending) of those that the
// barrier `barrier` tells of; the running thread has been told of all up to a number.
inline constexpr unsigned kMostBarriers = 16;
void stamp_landing(const std::byte* place, std::size_t bytes, unsigned barrier, uint32_t landing,
                   const void* code);
void learn_landings(unsigned barrier, uint32_t landing);

// "function (file:line)" as far as the program's symbols tell.
const char* name_of_code(const void* code);

}  // namespace cuda_emulation
