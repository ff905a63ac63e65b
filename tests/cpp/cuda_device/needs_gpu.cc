// Before all tests on a device: says which GPU they run on, or that there is none, once, in place
// of a failure of every test.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "backend/cuda_backend.h"

namespace {

class NeedsGpu final : public ::testing::Environment {
 public:
  void SetUp() override {
    ASSERT_EQ(chatglm::why_no_cuda(0), "") << "these tests need a GPU";
    cudaDeviceProp properties{};
    int driver = 0, runtime = 0;
    ASSERT_EQ(cudaGetDeviceProperties(&properties, 0), cudaSuccess);
    ASSERT_EQ(cudaDriverGetVersion(&driver), cudaSuccess);
    ASSERT_EQ(cudaRuntimeGetVersion(&runtime), cudaSuccess);
    std::printf("%s, compute capability %d.%d, driver for CUDA %d.%d, runtime %d.%d\n",
                properties.name, properties.major, properties.minor, driver / 1000,
                driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    // It may be there and taken: the first call that needs a context tells.
    const cudaError_t opened = cudaFree(nullptr);
    ASSERT_EQ(opened, cudaSuccess) << cudaGetErrorString(opened);
  }
};

const ::testing::Environment* const registered =
    ::testing::AddGlobalTestEnvironment(new NeedsGpu);  // which owns it

}  // namespace
