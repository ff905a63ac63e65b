// The memory that is the running block's shared memory, between zones that nobody may touch, and
// the order between the accesses of its threads.
#pragma once

#include <cstddef>
#include <cstdint>

#include "emulation/thread_state.h"

namespace cuda_emulation {

inline constexpr std::size_t kMaxSharedBytes = 232448;  // 227 KiB

std::byte* shared_arena();
// For the next block: poisoned (a NaN in every format), nothing before it counts.
void open_shared_arena(std::size_t bytes, unsigned threads);
// An asynchronous copy of kCopyBytes, of which `bytes` are read and the others become zero: nobody
// may read the place until it is finished.
void poison_for_copy(std::byte* place);
void finish_copy(std::byte* place, const std::byte* global, std::size_t bytes);

// What the words of a block say about the order of accesses.
void order_at_barrier_arrival(const Thread& thread, unsigned barrier);
void order_at_barrier(unsigned barrier, bool whole_block);
void order_lanes(unsigned warp_begin, uint32_t mask);

}  // namespace cuda_emulation
