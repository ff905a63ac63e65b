// Allocations, copies and fills.
#include <cstring>
#include <memory>
#include <vector>

#include "emulation/device_memory.h"
#include "emulation/machine.h"

using namespace cuda_emulation;

namespace {

struct Copy {
  std::byte* to;
  std::size_t to_pitch;
  const std::byte* from;
  std::size_t from_pitch;
  std::size_t width;
  std::size_t height;

  std::size_t to_bytes() const { return height == 0 ? 0 : (height - 1) * to_pitch + width; }
  std::size_t from_bytes() const { return height == 0 ? 0 : (height - 1) * from_pitch + width; }
  void run() const {
    for (std::size_t row = 0; row < height; ++row) {
      std::memmove(to + row * to_pitch, from + row * from_pitch, width);
    }
  }
};

// Device memory must be allocated, and each side be what the direction says.
cudaError_t check_copy(const Copy& copy, cudaMemcpyKind kind) {
  const bool to_device = in_device_arena(copy.to), from_device = in_device_arena(copy.from);
  if (to_device && device_allocation(copy.to, copy.to_bytes()) == nullptr) {
    return cudaErrorInvalidValue;
  }
  if (from_device && device_allocation(copy.from, copy.from_bytes()) == nullptr) {
    return cudaErrorInvalidValue;
  }
  if (kind == cudaMemcpyDefault) return cudaSuccess;
  const bool says_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool says_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (says_to != to_device || says_from != from_device) return cudaErrorInvalidValue;
  return cudaSuccess;
}

bool is_pageable(const void* memory) {
  return !in_device_arena(memory) && !is_pinned(memory);
}

cudaError_t copy_async(const Copy& copy, cudaMemcpyKind kind, cudaStream_t stream) {
  if (const cudaError_t error = check_machine()) return error;
  if (const cudaError_t error = check_copy(copy, kind)) return fail(error);
  if (is_pageable(copy.from) && in_device_arena(copy.to) && !is_capturing(stream)) {
    // The caller may change pageable memory as soon as the call is back.
    auto staged =
        std::make_shared<std::vector<std::byte>>(copy.from, copy.from + copy.from_bytes());
    return enqueue(stream, [copy, staged] {
      Copy from_stage = copy;
      from_stage.from = staged->data();
      from_stage.run();
    });
  }
  if (const cudaError_t error = enqueue(stream, [copy] { copy.run(); })) return error;
  // Into pageable memory it is done when the call is back.
  if (is_pageable(copy.to) && stream != nullptr && !is_capturing(stream)) finish(*stream);
  return fail(host().sticky);
}

}  // namespace

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_machine()) return error;
  if (const cudaError_t error = check_captures()) return error;
  *memory = nullptr;
  if (bytes == 0) return cudaSuccess;
  std::size_t free_bytes = 0, total_bytes = 0;
  if (const cudaError_t error = cudaMemGetInfo(&free_bytes, &total_bytes)) return error;
  if (bytes > free_bytes) return fail(cudaErrorMemoryAllocation);
  *memory = allocate_device_memory(current_device(), bytes);
  return *memory == nullptr ? fail(cudaErrorMemoryAllocation) : cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  const Locked lock(host().mutex);
  if (memory == nullptr) return cudaSuccess;
  if (const cudaError_t error = check_machine()) return error;
  if (const cudaError_t error = check_captures()) return error;
  const Allocation* allocation = device_allocation(memory, 1);
  if (allocation == nullptr || allocation->begin != memory) return fail(cudaErrorInvalidValue);
  finish_device(allocation->device);
  free_device_memory(memory);
  return fail(host().sticky);
}

cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_machine()) return error;
  if (const cudaError_t error = check_captures()) return error;
  *memory = bytes == 0 ? nullptr : allocate_pinned(bytes);
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  const Locked lock(host().mutex);
  if (memory == nullptr) return cudaSuccess;
  if (const cudaError_t error = check_machine()) return error;
  for (int device = 0; device < static_cast<int>(host().devices.size()); ++device) {
    finish_device(device);
  }
  return free_pinned(memory) ? cudaSuccess : fail(cudaErrorInvalidValue);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  const Locked lock(host().mutex);
  return copy_async({static_cast<std::byte*>(to), bytes, static_cast<const std::byte*>(from), bytes,
                     bytes, bytes == 0 ? std::size_t{0} : std::size_t{1}},
                    kind, stream);
}

cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_captures()) return error;
  return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from,
                              std::size_t from_pitch, std::size_t width, std::size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream) {
  const Locked lock(host().mutex);
  if (width > to_pitch || width > from_pitch) return fail(cudaErrorInvalidValue);
  return copy_async({static_cast<std::byte*>(to), to_pitch, static_cast<const std::byte*>(from),
                     from_pitch, width, height},
                    kind, stream);
}

cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device,
                                std::size_t bytes, cudaStream_t stream) {
  const Locked lock(host().mutex);
  if (bytes == 0) return cudaSuccess;
  const Allocation* target = device_allocation(to, bytes);
  const Allocation* source = device_allocation(from, bytes);
  if (target == nullptr || source == nullptr || target->device != to_device ||
      source->device != from_device) {
    return fail(cudaErrorInvalidValue);
  }
  return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_machine()) return error;
  if (bytes == 0) return cudaSuccess;
  if (device_allocation(memory, bytes) == nullptr && !is_pinned(memory)) {
    return fail(cudaErrorInvalidValue);
  }
  return enqueue(stream, [=] { std::memset(memory, value, bytes); });
}

cudaError_t cudaMemset(void* memory, int value, std::size_t bytes) {
  const Locked lock(host().mutex);
  if (const cudaError_t error = check_captures()) return error;
  return cudaMemsetAsync(memory, value, bytes, nullptr);
}
