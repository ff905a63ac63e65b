// Which accesses to shared memory are ordered: by __syncthreads for the whole block, by __syncwarp
// for the lanes of its mask, and by nothing else. Two that are not, by different threads, of which
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

// "function (file:line)" as far as the program's symbols tell.
const char* name_of_code(const void* code);

}  // namespace cuda_emulation
