// Which NVIDIA GPUs are here and what they are.
#pragma once

#include <cstdint>
#include <string>

namespace chatglm::cuda {

// The kernels need the matrix and copy instructions of Ampere.
inline constexpr int kLeastComputeCapability = 80;

struct Device {
  int index;
  std::string name;        // "NVIDIA H200"
  int compute_capability;  // 90
  int multiprocessors;
  int64_t memory_bytes;

  std::string isa() const;          // "sm_90"
  std::string description() const;  // "NVIDIA H200, sm_90, 139.72 GiB"
};

// Throws Error{kDevice} with what why_no_cuda says.
Device open_device(int index);

}  // namespace chatglm::cuda
