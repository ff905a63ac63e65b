// The memory of all devices and pinned host memory: who has how much, and what an address belongs
// to.
#pragma once

#include <cstddef>

#include "emulation/runtime_api.h"

namespace cuda_emulation {

struct Allocation {
  std::byte* begin = nullptr;
  std::size_t bytes = 0;
  int device = 0;
};

// Poisoned; nullptr where the address space is used up.
std::byte* allocate_device_memory(int device, std::size_t bytes);
// Whether it was an allocation's begin.
bool free_device_memory(void* memory);
std::size_t device_bytes_used(int device);
// The allocation that holds all of [memory, memory + bytes); nullptr: none does.
const Allocation* device_allocation(const void* memory, std::size_t bytes);
// Whether the address is among those that device memory has, allocated or not.
bool in_device_arena(const void* memory);

// For the kernels that run next: whose memory they see.
void set_kernel_device(int device);
// Whether a kernel may touch this device memory: it is allocated, and its own device's.
bool is_valid_in_kernel(const void* memory, std::size_t bytes);
void report_invalid_access(const void* memory, std::size_t bytes, bool writes, const void* code);

std::byte* allocate_pinned(std::size_t bytes);
bool free_pinned(void* memory);
bool is_pinned(const void* memory);

std::size_t device_allocation_count();
std::size_t pinned_allocation_count();

}  // namespace cuda_emulation
