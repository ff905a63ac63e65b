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

// The GPU has the first layers: its steps are the same with and without logits, which the CPU
// computes, but not where the index arrays lie.
TEST_F(CudaPlacement, StepsWithAndWithoutLogitsAreNotTakenForEachOther) {
  const ModelConfig config = small_config();
  MemorySource source = random_weights(config, DType::kF32, kSeed);
  const auto tokens = random_tokens(12, config.vocab_size, kSeed);
  const auto expected = PlainGlm(config, source).logits(tokens);
  std::vector<Runner::OnBackend> backends;
  backends.push_back({cuda_backend(), 1});
  backends.push_back({exact_backend(1), config.num_layers - 1});
  Runner runner(config, source, DType::kF32, std::move(backends));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const bool with_logits = i % 5 < 3;
    const auto found = runner.run({{1, static_cast<int32_t>(i), {tokens[i]}}}, with_logits);
    if (!with_logits) continue;
    EXPECT_LT(worst_difference(found, {expected[i]}), 1e-4) << "row " << i;
  }
}

}  // namespace
}  // namespace chatglm
