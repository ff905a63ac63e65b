// What only the emulated machine can show: several devices of several kinds, memory that runs out,
// and that nothing is left behind.
#include <algorithm>

#include "backend/registry.h"
#include "base/float16.h"
#include "cuda_backend/test_support.h"
#include "model/glm_runner.h"

namespace chatglm {
namespace {

using namespace test;
using cuda_emulation::DeviceSpec;

class CudaEmulated : public CudaTest {
 protected:
  void TearDown() override {
    cuda_emulation::set_devices({DeviceSpec{}});
    cuda_emulation::set_driver(13000);
    CudaTest::TearDown();
  }
};

TEST_F(CudaEmulated, SeveralDevices) {
  cuda_emulation::set_devices({{.memory_bytes = std::size_t{64} << 20},
                               {.memory_bytes = std::size_t{96} << 20, .major = 8, .minor = 6},
                               {.major = 7, .minor = 5}});
  EXPECT_EQ(create_backend("auto", {})->device(), "cuda");
  const auto second = create_backend("cuda:1", {});
  EXPECT_EQ(second->device(), "cuda:1");
  EXPECT_EQ(second->isa(), "sm_86");
  EXPECT_NE(second->description().find("sm_86, 0.09 GiB"), std::string::npos)
      << second->description();
  int current = -1;
  ASSERT_EQ(cudaGetDevice(&current), cudaSuccess);
  EXPECT_EQ(current, 0) << "the caller's device was changed";
  const int64_t before = second->free_memory_bytes().value();
  const auto buffer = second->allocate(1 << 20);
  EXPECT_EQ(before - second->free_memory_bytes().value(), 1 << 20);
  ASSERT_EQ(cudaGetDevice(&current), cudaSuccess);
  EXPECT_EQ(current, 0);

  // Both compute, each in its own memory.
  const auto first = create_backend("cuda:0", {});
  for (Backend* backend : {first.get(), second.get()}) {
    const auto x = uploaded(*backend, {3, 4}), weight = uploaded(*backend, {1, 1});
    const auto y = backend->allocate(8);
    backend->rms_norm({.x = x->as<float>(),
                       .weight = weight->as<float>(),
                       .y = y->as<float>(),
                       .rows = 1,
                       .cols = 2,
                       .epsilon = 0});
    EXPECT_NEAR(downloaded(*backend, *y)[1], 4 / 3.5355339f, 1e-5);
  }

  const Error old = error_of(ErrorKind::kDevice, [] { create_backend("cuda:2", {}); });
  EXPECT_NE(old.message().find("compute capability 7.5, at least 8.0"), std::string::npos)
      << old.what();
  const Error missing = error_of(ErrorKind::kDevice, [] { create_backend("cuda:3", {}); });
  EXPECT_EQ(missing.message(), "there are 3 NVIDIA GPUs here, cuda:0 to cuda:2");
}

TEST_F(CudaEmulated, WithoutAGpuTheCpuIsTaken) {
  cuda_emulation::set_devices({});
  EXPECT_EQ(create_backend("auto", {})->device(), "cpu");
  const Error error = error_of(ErrorKind::kDevice, [] { create_backend("cuda", {}); });
  EXPECT_STREQ(error.what(), "device 'cuda': there is no NVIDIA GPU here");
}

TEST_F(CudaEmulated, ADriverThatIsTooOldIsToldFromNone) {
  cuda_emulation::set_driver(12040);
  EXPECT_EQ(create_backend("auto", {})->device(), "cpu");
  EXPECT_EQ(why_no_cuda(0),
            "the NVIDIA driver is too old: it is for CUDA 12.4, this program is for CUDA 13.0");
  cuda_emulation::set_driver(0);
  EXPECT_EQ(why_no_cuda(0), "there is no NVIDIA driver here");
  cuda_emulation::set_driver(13010);
  EXPECT_EQ(why_no_cuda(0), "");
}

TEST_F(CudaEmulated, AnOldGpuIsNoGpu) {
  cuda_emulation::set_devices({{.major = 7, .minor = 0}});
  EXPECT_EQ(create_backend("auto", {})->device(), "cpu");
}

using testing::MemorySource;
using testing::random_weights;
using testing::Runner;

std::unique_ptr<Model> load_tiny(Backend& backend, MemorySource& source) {
  auto model = load_model(small_config(), source, backend);
  model->reserve(32, 4);
  return model;
}

TEST_F(CudaEmulated, AThousandModelsLeaveNothing) {
  cuda_emulation::set_devices({{.major = 8}});  // one that is not checked at start
  MemorySource source = random_weights(small_config(), DType::kQ4_0, 3);
  const cuda_emulation::Counts before = cuda_emulation::live_counts();
  const auto backend = cuda_backend();
  load_tiny(*backend, source);
  const cuda_emulation::Counts one = cuda_emulation::live_counts();
  for (int i = 0; i < 500; ++i) load_tiny(*backend, source);
  EXPECT_EQ(cuda_emulation::live_counts(), one);
  for (int i = 0; i < 500; ++i) {
    const auto own = cuda_backend();
    load_tiny(*own, source);
  }
  EXPECT_EQ(cuda_emulation::live_counts(), one);
  EXPECT_NE(one, before);
}

TEST_F(CudaEmulated, WhereMemoryRunsOutNothingIsLost) {
  MemorySource source = random_weights(small_config(), DType::kF16, 3);
  const cuda_emulation::Counts before = cuda_emulation::live_counts();
  int failures = 0;
  // Every place where it can run out, until it suffices.
  for (std::size_t kibibytes = 4;; kibibytes += kibibytes / 8 + 4) {
    cuda_emulation::set_devices({{.memory_bytes = kibibytes << 10}});
    const auto backend = cuda_backend();
    try {
      load_tiny(*backend, source);
      break;
    } catch (const Error& error) {
      ++failures;
      EXPECT_EQ(error.kind(), ErrorKind::kDevice);
      EXPECT_NE(error.message().find("out of memory on cuda:0"), std::string::npos) << error.what();
    }
    ASSERT_LT(kibibytes, std::size_t{1} << 20);
  }
  EXPECT_GT(failures, 10);
  EXPECT_EQ(cuda_emulation::live_counts(), before);
}

TEST_F(CudaEmulated, StepsAreRecordedOnceAndRepeated) {
  const ModelConfig config = small_config();
  MemorySource source = random_weights(config, DType::kQ4_0, 3);
  const auto launched_by = [&](Runner& runner, const std::vector<Runner::Part>& parts) {
    const std::size_t before = cuda_emulation::graphs_launched();
    runner.run(parts);
    return cuda_emulation::graphs_launched() - before;
  };
  Runner plain(config, source, DType::kF16, cuda_backend(0));
  for (int32_t i = 0; i < 3; ++i) EXPECT_EQ(launched_by(plain, {{0, i, {5}}}), 0u);
  Runner runner(config, source, DType::kF16, cuda_backend(8));
  // The first of a shape is run as it is; a longer context is another shape now and then.
  for (int32_t i = 0; i < 5; ++i) EXPECT_EQ(launched_by(runner, {{0, i, {5}}}), i > 0 ? 1u : 0u);
  EXPECT_EQ(launched_by(runner, {{0, 5, {5}}, {1, 0, {7}}}), 0u);
  EXPECT_EQ(launched_by(runner, {{0, 6, {5}}, {2, 0, {7}}}), 1u);
  EXPECT_EQ(launched_by(runner, {{0, 7, {5}}}), 1u);
  const std::vector<int32_t> nine(9, 5);
  EXPECT_EQ(launched_by(runner, {{0, 8, nine}}), 0u);
  EXPECT_EQ(launched_by(runner, {{0, 8, nine}}), 0u) << "more rows than are recorded";
}

// y = x W^T of small integers, and whether that is what the device gave.
void expect_exact_product(Backend& backend) {
  constexpr int64_t kRows = 40, kWidth = 96;
  std::vector<float> x, w;
  for (int i = 0; i < kRows * kWidth; ++i) x.push_back(static_cast<float>(i * 7 % 13 - 6));
  for (int i = 0; i < kWidth * kWidth; ++i) w.push_back(static_cast<float>(i * 5 % 11 - 5));
  std::vector<BFloat16> stored;
  for (const float weight : w) stored.push_back(float_to_bfloat16(weight));
  const TensorView view{DType::kBF16, 2, kWidth, kWidth,
                        reinterpret_cast<const std::byte*>(stored.data())};
  const auto matrix = backend.load_matrix({&view, 1});
  backend.reserve(kRows, kWidth);
  const auto input = uploaded(backend, x), y = backend.allocate(kRows * kWidth * 4);
  backend.linear(*matrix, nullptr, input->as<float>(), kRows, y->as<float>());
  const std::vector<float> found = downloaded(backend, *y);
  for (int64_t i = 0; i < kRows * kWidth; ++i) {
    float sum = 0;
    for (int64_t j = 0; j < kWidth; ++j) {
      sum += x[static_cast<std::size_t>(i / kWidth * kWidth + j)] *
             w[static_cast<std::size_t>(i % kWidth * kWidth + j)];
    }
    ASSERT_EQ(found[static_cast<std::size_t>(i)], sum) << i;
  }
}

TEST_F(CudaEmulated, WarpgroupsThatAreWrongAreNotUsed) {
  const std::string refusal = "; wgmma products gave other results than mma.sync here; not used";
  for (const DeviceSpec& wrong : {DeviceSpec{.wrong_wgmma = true}, DeviceSpec{.old_driver = true},
                                  DeviceSpec{.missing_code = "WgmmaShape"}}) {
    cuda_emulation::set_devices({wrong});
    const auto backend = cuda_backend();
    backend->reserve(16, 64);
    EXPECT_FALSE(backend->description().ends_with(refusal)) << "nothing was looked at yet";
    expect_exact_product(*backend);
    EXPECT_TRUE(backend->description().ends_with(refusal)) << backend->description();
    const std::size_t before = cuda_emulation::kernels_run();
    backend->reserve(40, 96);
    EXPECT_EQ(cuda_emulation::kernels_run(), before) << "was looked at again";
  }
  // Those that are right, and those that other devices never had.
  for (const DeviceSpec& right : {DeviceSpec{}, DeviceSpec{.major = 8, .wrong_wgmma = true},
                                  DeviceSpec{.major = 10, .missing_code = "WgmmaShape"}}) {
    cuda_emulation::set_devices({right});
    const auto backend = cuda_backend();
    expect_exact_product(*backend);
    EXPECT_TRUE(backend->description().ends_with(" GiB")) << backend->description();
  }
}

TEST_F(CudaEmulated, QueriesKeysAndValuesTakeOneKernel) {
  const ModelConfig config = small_config();
  MemorySource source = random_weights(config, DType::kQ4_0, 3);
  const auto run_by = [&](DType kv_dtype, std::size_t rows) {
    Runner runner(config, source, kv_dtype, cuda_backend(0));
    const std::size_t before = cuda_emulation::kernels_run();
    runner.run({{0, 0, std::vector<int32_t>(rows, 5)}});
    return cuda_emulation::kernels_run() - before;
  };
  const auto layers = static_cast<std::size_t>(config.num_layers);
  for (const std::size_t rows : {1, 3, 16, 17}) {
    // Caches of blocks take one more.
    EXPECT_EQ(run_by(DType::kQ8_0, rows) - run_by(DType::kF16, rows), rows > 16 ? 0 : layers)
        << rows;
  }
}

TEST_F(CudaEmulated, WarpgroupsCanBeTurnedOff) {
  cuda_emulation::set_devices({{.missing_code = "WgmmaShape"}});
  setenv("CHATGLM_WGMMA", "0", 1);
  const auto backend = cuda_backend();
  expect_exact_product(*backend);
  EXPECT_TRUE(backend->description().ends_with("; wgmma is turned off (CHATGLM_WGMMA=0)"))
      << backend->description();
  setenv("CHATGLM_WGMMA", "off", 1);
  const Error error =
      error_of(ErrorKind::kInvalidArgument, [] { cuda_backend()->reserve(17, 64); });
  EXPECT_EQ(error.message(), "expected 0 or 1, found 'off'");
  unsetenv("CHATGLM_WGMMA");
}

TEST_F(CudaEmulated, AFaultStaysAndIsTold) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the address sanitizer ends the program at the fault";
#endif
  const auto backend = cuda_backend();
  const auto x = backend->allocate(64);
  // Rows that are not there.
  backend->gelu({.x = x->as<float>(), .y = x->as<float>(), .rows = 1'000'000, .cols = 1024});
  for (int i = 0; i < 2; ++i) {
    const Error error = error_of(ErrorKind::kDevice, [&] { downloaded(*backend, *x); });
    EXPECT_NE(error.message().find("can't use the GPU any more"), std::string::npos)
        << error.what();
  }
  error_of(ErrorKind::kDevice, [&] { backend->allocate(64); });
  EXPECT_FALSE(cuda_emulation::take_reports().empty());
}

}  // namespace
}  // namespace chatglm
