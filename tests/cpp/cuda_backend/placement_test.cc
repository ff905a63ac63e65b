// A model of which the GPU has only a part of the layers.
#include "cuda_backend/test_support.h"
#include "model/glm_runner.h"

namespace chatglm {
namespace {

using namespace test;
using testing::kSeed;
using testing::MemorySource;
using testing::PlainGlm;
using testing::random_tokens;
using testing::random_weights;
using testing::Runner;
using testing::worst_difference;

using CudaPlacement = CudaTest;

TEST_F(CudaPlacement, TheLastLayersComputeWhatTheCpuBegan) {
  ModelConfig config = small_config();
  config.num_layers = 3;
  MemorySource source = random_weights(config, DType::kF32, kSeed);
  const auto tokens = random_tokens(20, config.vocab_size, kSeed);
  const auto expected = PlainGlm(config, source).logits(tokens);
  for (const int64_t on_gpu : {1, 2}) {
    std::vector<Runner::OnBackend> backends;
    backends.push_back({exact_backend(1), config.num_layers - on_gpu});
    backends.push_back({cuda_backend(), on_gpu});
    Runner runner(config, source, DType::kF32, std::move(backends));
    // A prompt, and steps of one row that are recorded and repeated.
    auto found = runner.run({{1, 0, {tokens.begin(), tokens.begin() + 16}}});
    for (int32_t position = 16; position < 20; ++position) {
      found.push_back(runner.run({{1, position, {tokens[static_cast<std::size_t>(position)]}}})[0]);
    }
    EXPECT_LT(worst_difference(found, expected), 1e-4) << on_gpu << " layers";
  }
}

}  // namespace
}  // namespace chatglm
