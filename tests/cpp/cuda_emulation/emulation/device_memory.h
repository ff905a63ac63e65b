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
  bool written_by_kernel = false;  // ever
};

// Poisoned; nullptr where the address space is used up.
std::byte* allocate_device_memory(int device, std::size_t bytes);
// Whether it was an allocation's begin.
bool free_device_memory(void* memory);
std::size_t device_bytes_used(int device);
// The allocation that holds all of [memory, memory + bytes); nullptr: none does.
const Allocation* device_allocation(const void* memory, std::size_t bytes);
// The addresses that device memory has, allocated or not, and those of the allocation that a kernel
// touched last.
struct DeviceAddresses {
  const std::byte* begin = nullptr;
  const std::byte* end = nullptr;
  const std::byte* latest_begin = nullptr;
  const std::byte* latest_end = nullptr;
  bool* latest_is_written = nullptr;  // its Allocation::written_by_kernel
};
extern constinit DeviceAddresses device_addresses;
inline bool in_device_arena(const void* memory) {
  return memory >= device_addresses.begin && memory < device_addresses.end;
}

// For the kernels that run next: whose memory they see.
void set_kernel_device(int device);
// Whether a kernel may touch this device memory: it is allocated, and its own device's.
bool is_valid_for_kernel_device(const std::byte* memory, std::size_t bytes);
inline bool is_valid_in_kernel(const void* memory, std::size_t bytes) {
  const auto* const place = static_cast<const std::byte*>(memory);
  if (place >= device_addresses.latest_begin && place + bytes <= device_addresses.latest_end) {
    return true;
  }
  return is_valid_for_kernel_device(place, bytes);
}
void report_invalid_access(const void* memory, std::size_t bytes, bool writes, const void* code);

std::byte* allocate_pinned(std::size_t bytes);
bool free_pinned(void* memory);
bool is_pinned(const void* memory);

std::size_t device_allocation_count();
std::size_t pinned_allocation_count();

}  // namespace cuda_emulation
