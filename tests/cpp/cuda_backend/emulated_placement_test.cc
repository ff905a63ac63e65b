// A model on several emulated GPUs, and how a pipeline divides layers among what it is told of.
#include "cuda_backend/test_support.h"
#include "model/glm_runner.h"
#include "pipeline/devices.h"

namespace chatglm {
namespace {

using namespace test;
using cuda_emulation::DeviceSpec;
using testing::kSeed;
using testing::MemorySource;
using testing::random_tokens;
using testing::random_weights;
using testing::Runner;

class CudaSeveral : public CudaTest {
 protected:
  void SetUp() override {
    cuda_emulation::set_devices({{.memory_bytes = std::size_t{64} << 20},
                                 {.memory_bytes = std::size_t{192} << 20, .major = 8, .minor = 6}});
    CudaTest::SetUp();
  }
  void TearDown() override {
    cuda_emulation::set_devices({DeviceSpec{}});
    CudaTest::TearDown();
  }
};

TEST_F(CudaSeveral, ComputeWhatOneDoes) {
  ModelConfig config = small_config();
  config.num_layers = 3;
  MemorySource source = random_weights(config, DType::kQ4_0, kSeed);
  const auto tokens = random_tokens(20, config.vocab_size, kSeed);
  const std::vector<Runner::Part> prompt = {{0, 0, tokens}};
  const auto expected = Runner(config, source, DType::kF16, cuda_backend()).run(prompt);
  std::vector<Runner::OnBackend> backends;
  backends.push_back({create_cuda_backend({.num_threads = 1, .device_index = 1}), 1});
  backends.push_back({create_cuda_backend({.num_threads = 1, .device_index = 0}), 2});
  EXPECT_EQ(Runner(config, source, DType::kF16, std::move(backends)).run(prompt), expected);
}

struct Expected {
  const char* device;
  int64_t layers;
};

void expect_placed(const char* device, std::optional<int64_t> gpu_layers,
                   const std::vector<Expected>& expected) {
  const Devices devices(device, gpu_layers, 1, 28);
  const std::vector<PlacedLayers> parts = devices.placement().of(28);
  ASSERT_EQ(parts.size(), expected.size()) << device;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    EXPECT_EQ(parts[i].backend->device(), expected[i].device) << device;
    EXPECT_EQ(parts[i].count(), expected[i].layers) << device << ", part " << i;
  }
}

TEST_F(CudaSeveral, HaveLayersByTheirFreeMemory) {
  expect_placed("auto", {}, {{"cuda", 28}});
  expect_placed("cuda:1", {}, {{"cuda:1", 28}});
  expect_placed("cuda:0,1", {}, {{"cuda", 7}, {"cuda:1", 21}});
  expect_placed("cuda:1,0", {}, {{"cuda:1", 21}, {"cuda", 7}});
  expect_placed("cuda:0,1", 8, {{"cpu", 20}, {"cuda", 2}, {"cuda:1", 6}});
  expect_placed("cuda:0,1", 1, {{"cpu", 27}, {"cuda", 1}});
  expect_placed("auto", 20, {{"cpu", 8}, {"cuda", 20}});
  expect_placed("cuda", 28, {{"cuda", 28}});
  expect_placed("cuda", 99, {{"cuda", 28}});
  expect_placed("cuda", 0, {{"cpu", 28}});
  const Devices devices("auto", 20, 1, 28);
  EXPECT_EQ(devices.description().rfind("layers 0 to 7: ", 0), 0u);
  EXPECT_NE(devices.description().find("; layers 8 to 27: "), std::string::npos);
}

TEST_F(CudaSeveral, InputsAreRecordedOnOne) {
  Devices devices("cuda:0,1", {}, 1, 28);
  error_of(ErrorKind::kInvalidArgument, [&] { devices.record_inputs(); });
}

}  // namespace
}  // namespace chatglm
