// The CUDA runtime's host interface with owners and errors: what fails becomes an Error{kDevice} in
// a sentence, what is created is destroyed. Knows nothing of what is computed.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace chatglm::cuda {

// Throws Error{kDevice} saying what went wrong in `operation`, or before it: work on a GPU fails
// later than it was asked for.
void check(cudaError_t result, const char* operation);
// Of the launches since the last call.
inline void check_launch(const char* operation) {
  check(cudaGetLastError(), operation);
}

// Makes a device the calling thread's current one until the end of the block. Threads of one
// process may use different devices, and the caller's own choice is left as it was.
class CurrentDevice {
 public:
  explicit CurrentDevice(int device);
  ~CurrentDevice();
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;

 private:
  int previous_ = 0;
  const int device_;
};

// An owner of a T that `Destroy` takes back. Destroying never fails loudly: the process may be past
// the driver's end.
template <typename T, cudaError_t (*Destroy)(T)>
class Owned {
 public:
  Owned() = default;
  explicit Owned(T value) : value_(value) {}
  ~Owned() { reset(); }
  Owned(Owned&& other) noexcept : value_(other.release()) {}
  Owned& operator=(Owned&& other) noexcept {
    if (this != &other) {
      reset();
      value_ = other.release();
    }
    return *this;
  }

  T get() const { return value_; }
  T release() {
    T value = value_;
    value_ = T{};
    return value;
  }
  void reset() {
    if (value_ != T{}) static_cast<void>(Destroy(value_));
    value_ = T{};
  }

 private:
  T value_{};
};

using Stream = Owned<cudaStream_t, cudaStreamDestroy>;
using Event = Owned<cudaEvent_t, cudaEventDestroy>;
using Graph = Owned<cudaGraph_t, cudaGraphDestroy>;
using GraphExec = Owned<cudaGraphExec_t, cudaGraphExecDestroy>;

Stream make_stream(int device);
// On the current device.
Event make_event();         // for waiting
Event make_timing_event();  // for measuring

// Memory of the current device, 256-byte aligned, with whatever it holds. Freeing it waits for the
// device.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  // Throws Error{kInvalidArgument} for a negative size, Error{kDevice} with what is needed and what
  // is free.
  explicit DeviceMemory(int64_t size_bytes);

  std::byte* data() const { return static_cast<std::byte*>(memory_.get()); }
  int64_t size_bytes() const { return size_bytes_; }

 private:
  Owned<void*, cudaFree> memory_;
  int64_t size_bytes_ = 0;
};

// Memory of the host that the device copies from and to by itself.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  // Throws as DeviceMemory does.
  explicit PinnedMemory(int64_t size_bytes);

  std::byte* data() const { return static_cast<std::byte*>(memory_.get()); }
  int64_t size_bytes() const { return size_bytes_; }

 private:
  Owned<void*, cudaFreeHost> memory_;
  int64_t size_bytes_ = 0;
};

// "12.50 GiB"
std::string gibibytes(int64_t bytes);

}  // namespace chatglm::cuda
