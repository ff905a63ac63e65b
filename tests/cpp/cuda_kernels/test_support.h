// What the tests of the CUDA kernels share: arrays in device memory, and a fixture that fails where
// a kernel broke a rule or memory was not given back. Compiled for the emulation and for a real
// GPU.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "emulation/control.h"
#include "kernels/test_support.h"

namespace chatglm::kernels::cuda {

// `size` elements in device memory, between two zones that are looked at; poisoned at first (NaN as
// a float).
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(int64_t size, int64_t misalign = 0) : size_(size), misalign_(misalign) {
    EXPECT_EQ(cudaMalloc(&memory_, total() * sizeof(T)), cudaSuccess);
    EXPECT_EQ(cudaMemset(memory_, 0xff, total() * sizeof(T)), cudaSuccess);
    EXPECT_EQ(cudaStreamSynchronize(nullptr), cudaSuccess);  // other streams don't wait for it
  }
  explicit DeviceArray(const std::vector<T>& values, int64_t misalign = 0)
      : DeviceArray(static_cast<int64_t>(values.size()), misalign) {
    EXPECT_EQ(cudaMemcpy(data(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
              cudaSuccess);
  }
  ~DeviceArray() { cudaFree(memory_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return memory_ + kGuard + misalign_; }
  int64_t size() const { return size_; }

  // What lies there now; the work enqueued on `stream` is waited for.
  std::vector<T> values(cudaStream_t stream = nullptr) const {
    EXPECT_EQ(cudaStreamSynchronize(stream), cudaSuccess)
        << cudaGetErrorString(cudaPeekAtLastError());
    std::vector<T> all(total());
    EXPECT_EQ(cudaMemcpy(all.data(), memory_, total() * sizeof(T), cudaMemcpyDeviceToHost),
              cudaSuccess);
    const auto begin = all.begin() + kGuard + misalign_;
    EXPECT_TRUE(poisoned(all.data(), kGuard + misalign_)) << "wrote in front of the array";
    EXPECT_TRUE(poisoned(all.data() + kGuard + misalign_ + size_, kGuard))
        << "wrote behind the array";
    return {begin, begin + size_};
  }

 private:
  static constexpr int64_t kGuard = 64;

  std::size_t total() const { return static_cast<std::size_t>(size_ + misalign_ + 2 * kGuard); }
  static bool poisoned(const T* values, int64_t count) {
    const auto* const bytes = reinterpret_cast<const unsigned char*>(values);
    for (std::size_t i = 0; i < static_cast<std::size_t>(count) * sizeof(T); ++i) {
      if (bytes[i] != 0xff) return false;
    }
    return true;
  }

  int64_t size_;
  int64_t misalign_;
  T* memory_ = nullptr;
};

class CudaKernelTest : public ::testing::Test {
 protected:
  void SetUp() override { before_ = cuda_emulation::live_counts(); }
  void TearDown() override {
    for (const std::string& report : cuda_emulation::take_reports()) ADD_FAILURE() << report;
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    EXPECT_EQ(cuda_emulation::live_counts(), before_) << "something was not given back";
  }

 private:
  cuda_emulation::Counts before_;
};

}  // namespace chatglm::kernels::cuda
