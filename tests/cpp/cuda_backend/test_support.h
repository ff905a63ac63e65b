// What the tests of the CUDA backend share: a fixture that fails where a kernel broke a rule or
// something of the device was not given back. The same files are compiled for the emulation and for
// a real GPU; what only the emulation can tell stands in emulated_*_test.cc.
#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backend/cpu_backend.h"
#include "backend/cuda_backend.h"
#include "base/error.h"
#include "emulation/control.h"
#include "model/config.h"
#include "support/exact_backend.h"

namespace chatglm::test {

class CudaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string problem = why_no_cuda(0);
    ASSERT_EQ(problem, "");
    before_ = cuda_emulation::live_counts();
  }
  void TearDown() override {
    for (const std::string& report : cuda_emulation::take_reports()) ADD_FAILURE() << report;
    EXPECT_EQ(cudaGetLastError(), cudaSuccess);
    EXPECT_EQ(cuda_emulation::live_counts(), before_) << "something was not given back";
  }

 private:
  cuda_emulation::Counts before_;
};

// As small as a model with all its parts can be: an emulated device takes its time.
inline ModelConfig small_config() {
  ModelConfig config;
  config.architecture = "chatglm";
  config.vocab_size = 40;
  config.hidden_size = 64;
  config.num_layers = 2;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 32;
  config.ffn_size = 64;
  config.max_length = 8192;
  config.rotary_dim = 16;
  return config;
}

constexpr int64_t kRecordAll = 64;

inline std::unique_ptr<Backend> cuda_backend(int64_t most_recorded_rows = kRecordAll) {
  return make_cuda_backend({.num_threads = 2}, most_recorded_rows);
}

inline std::vector<float> random_floats(int64_t count, uint32_t seed, float spread = 1.0f) {
  std::mt19937 generator(seed);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) {
    value = spread * (static_cast<float>(generator() >> 8) * 0x1p-23f - 1.0f);
  }
  return values;
}

inline int64_t bytes_of(const std::vector<float>& values) {
  return static_cast<int64_t>(values.size() * sizeof(float));
}

inline std::unique_ptr<Buffer> uploaded(Backend& backend, const std::vector<float>& values) {
  auto buffer = backend.allocate(bytes_of(values));
  backend.upload(buffer->data(), values.data(), bytes_of(values));
  return buffer;
}

inline std::vector<float> downloaded(Backend& backend, const Buffer& buffer) {
  std::vector<float> values(static_cast<std::size_t>(buffer.size_bytes()) / sizeof(float));
  backend.download(values.data(), buffer.data(), buffer.size_bytes());
  return values;
}

// Calls `action`, which must throw an Error of this kind, and returns it.
template <typename Action>
Error error_of(ErrorKind kind, const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(kind, "nothing was thrown");
}

}  // namespace chatglm::test
