#include "backend/cuda_owned.h"

#include <cstdio>

#include "base/error.h"

namespace chatglm::cuda {
namespace {

// Whether the error has come to stay: then every call gives it again.
bool is_final() {
  std::size_t free_bytes = 0, total_bytes = 0;
  return cudaMemGetInfo(&free_bytes, &total_bytes) != cudaSuccess;
}

void check_size(int64_t size_bytes) {
  if (size_bytes >= 0) return;
  throw Error(ErrorKind::kInvalidArgument,
              "cannot allocate " + std::to_string(size_bytes) + " bytes of memory");
}

std::string needed(int64_t size_bytes) {
  return std::to_string(size_bytes) + " bytes (" + gibibytes(size_bytes) + ")";
}

[[noreturn]] void out_of_device_memory(int64_t size_bytes) {
  std::size_t free_bytes = 0, total_bytes = 0;
  int device = 0;
  check(cudaGetDevice(&device), "allocate");
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "allocate");
  throw Error(ErrorKind::kDevice, "out of memory on cuda:" + std::to_string(device) + ": " +
                                      needed(size_bytes) + " are needed, " +
                                      gibibytes(static_cast<int64_t>(free_bytes)) + " of " +
                                      gibibytes(static_cast<int64_t>(total_bytes)) + " are free");
}

}  // namespace

void check(cudaError_t result, const char* operation) {
  if (result == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // else the next launch would seem to have failed
  throw Error(ErrorKind::kDevice,
              std::string("CUDA says: ") + cudaGetErrorString(result) + " (" +
                  cudaGetErrorName(result) + ")" +
                  (is_final() ? "; this process can't use the GPU any more" : ""),
              operation);
}

CurrentDevice::CurrentDevice(int device) : device_(device) {
  check(cudaGetDevice(&previous_), "device");
  if (previous_ != device_) check(cudaSetDevice(device_), "device");
}

CurrentDevice::~CurrentDevice() {
  // It may be one that this process has never used and can't: no fault of the next launch.
  if (previous_ != device_ && cudaSetDevice(previous_) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
  }
}

Stream make_stream(int device) {
  const CurrentDevice current(device);
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  return Stream(stream);
}

Event make_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "event");
  return Event(event);
}

Event make_timing_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "event");
  return Event(event);
}

DeviceMemory::DeviceMemory(int64_t size_bytes) : size_bytes_(size_bytes) {
  check_size(size_bytes);
  if (size_bytes == 0) return;
  void* memory = nullptr;
  const cudaError_t result = cudaMalloc(&memory, static_cast<std::size_t>(size_bytes));
  if (result == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    out_of_device_memory(size_bytes);
  }
  check(result, "allocate");
  memory_ = Owned<void*, cudaFree>(memory);
}

PinnedMemory::PinnedMemory(int64_t size_bytes) : size_bytes_(size_bytes) {
  check_size(size_bytes);
  if (size_bytes == 0) return;
  void* memory = nullptr;
  const cudaError_t result =
      cudaHostAlloc(&memory, static_cast<std::size_t>(size_bytes), cudaHostAllocDefault);
  if (result == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    throw Error(ErrorKind::kDevice, "out of memory: the system refused to pin " +
                                        needed(size_bytes) + " of the host's memory");
  }
  check(result, "allocate");
  memory_ = Owned<void*, cudaFreeHost>(memory);
}

std::string gibibytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f GiB", static_cast<double>(bytes) / (1 << 30));
  return text;
}

}  // namespace chatglm::cuda
