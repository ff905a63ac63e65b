// The execution model as the emulated words see it: the thread that runs now, barriers, the
// meetings of a warp's lanes, shared memory, and reports of what no kernel may do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "emulation/vector_types.h"

// What kernels read. Only the running thread's are valid: every switch of fibers sets them.
extern constinit thread_local uint3 threadIdx;
extern constinit thread_local uint3 blockIdx;
extern constinit thread_local dim3 blockDim;
extern constinit thread_local dim3 gridDim;
inline constexpr int warpSize = 32;

namespace cuda_emulation {

inline constexpr unsigned kLanes = 32;
inline constexpr unsigned kMaxThreads = 1024;

// Runs every block of a grid, one after the other; `kernel` is called once for each thread. What is
// wrong is reported; a block whose threads can't go on is abandoned. Only one grid runs at a time.
// `early`: as if kernels in front of it still ran until a thread has waited for them.
void run_grid(const dim3& grid, unsigned threads, std::size_t shared_bytes, bool early,
              const std::function<void()>& kernel);

// Something that no kernel may do: the launch fails with this sentence. Where and by which thread
// is added to it.
void report(const std::string& sentence);

// Index in the block and in the warp of the running thread.
unsigned thread_index();
inline unsigned lane_index() {
  return thread_index() % kLanes;
}

// The block's shared memory. Reports where it is smaller than `bytes`.
std::byte* block_shared_memory(std::size_t bytes);

// __syncthreads()
void block_barrier();

void wait_for_earlier_kernels();

// Lanes that do something together: each deposits up to kDepositBytes, and when all that the mask
// names have come, each may read what all deposited until it leaves.
inline constexpr std::size_t kDepositBytes = 48;
enum class Gathering : uint8_t { kSync, kShuffle, kVote, kReduce, kMatch, kMma, kLoadMatrix };

struct Meeting {
  struct alignas(16) Deposit {
    std::byte bytes[kDepositBytes];
  };
  uint32_t mask;
  uint32_t arrived;
  uint32_t left;
  Gathering kind;
  Deposit of[kLanes];
};

// `complete` is called once, by the lane that comes last, before any lane goes on.
Meeting& meet(uint32_t mask, Gathering kind, const void* deposit, std::size_t bytes,
              void (*complete)(Meeting&) = nullptr);
void leave(Meeting& meeting);

}  // namespace cuda_emulation
