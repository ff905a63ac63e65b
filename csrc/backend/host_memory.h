// A block of zero-filled, 64-byte aligned host memory with an owner. Untouched pages of a large
// block cost nothing. Knows nothing of its content.
#pragma once

#include <cstddef>
#include <cstdint>

namespace chatglm {

class HostMemory {
 public:
  static constexpr int64_t kAlignment = 64;  // a cache line, and the widest vector register

  HostMemory() = default;
  // Throws Error{kInvalidArgument} for a negative size, Error{kDevice} naming the size where the
  // system has no such memory.
  explicit HostMemory(int64_t size_bytes);
  ~HostMemory();
  HostMemory(HostMemory&& other) noexcept;
  HostMemory& operator=(HostMemory&& other) noexcept;

  std::byte* data() const { return data_; }
  int64_t size_bytes() const { return size_bytes_; }

 private:
  std::byte* data_ = nullptr;
  int64_t size_bytes_ = 0;
};

}  // namespace chatglm
