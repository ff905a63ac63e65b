// One thread of the block that runs: its fiber, what it waits for, and its asynchronous copies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "emulation/fiber.h"

namespace cuda_emulation {

// A cp.async.
struct PendingCopy {
  std::byte* shared;
  const std::byte* global;
  std::size_t bytes;
};

struct Thread {
  unsigned index = 0;
  bool finished = false;
  bool before_wait = false;  // kernels in front of this one may still run
  const char* waits_for = "";
  uint32_t waits_mask = 0;  // 0: not for lanes
  Fiber fiber;
  std::vector<PendingCopy> copies;  // under way, the oldest first
  std::vector<std::size_t> groups;  // copies in each closed group, the oldest first
  std::size_t copies_in_open_group = 0;
};

Thread* running_thread();
// The running thread goes on once somebody wakes it. `what`: what it waits for.
void suspend_thread(const char* what);
void wake_thread(Thread& thread);
void finish_copies(Thread& thread);  // all of them

}  // namespace cuda_emulation
