// A model whose layers lie on several backends computes what it does on one.
#include "kv/placement.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "glm_runner.h"
#include "plain_chatglm_6b.h"

namespace chatglm {
namespace {

using namespace testing;

Runner on_several(const ModelConfig& config, MemorySource& source, DType kv_dtype,
                  const std::vector<int64_t>& layers_each) {
  std::vector<Runner::OnBackend> backends;
  for (const int64_t layers : layers_each) backends.push_back({test::exact_backend(1), layers});
  return Runner(config, source, kv_dtype, std::move(backends));
}

void expect_same_as_on_one(const ModelConfig& config, MemorySource& source, DType kv_dtype,
                           const PromptLayout& layout) {
  ASSERT_EQ(config.num_layers, 3);
  const auto prompt = random_tokens(37, config.vocab_size, kSeed);
  const auto other = random_tokens(1, config.vocab_size, kSeed + 1);
  Runner one(config, source, kv_dtype);
  const auto first = one.run({{0, 0, prompt, layout}, {2, 0, other}});
  const auto next = one.run({{0, 37, other, layout}, {2, 1, other}});
  for (const std::vector<int64_t>& layers : {std::vector<int64_t>{1, 2}, {2, 1}, {1, 1, 1}}) {
    Runner several = on_several(config, source, kv_dtype, layers);
    EXPECT_EQ(several.run({{0, 0, prompt, layout}, {2, 0, other}}), first);
    EXPECT_EQ(several.run({{0, 37, other, layout}, {2, 1, other}}), next);
  }
}

TEST(Placement, LayersOnSeveralBackendsComputeWhatTheyDoOnOne) {
  ModelConfig config = tiny_config();
  config.num_layers = 3;
  for (const DType kv_dtype : {DType::kF32, DType::kF16}) {
    MemorySource source = random_weights(config, DType::kQ8_0, kSeed);
    expect_same_as_on_one(config, source, kv_dtype, {});
  }
}

TEST(Placement, SoDoThoseOfChatGlm6b) {
  ModelConfig config = tiny_chatglm_6b();
  config.num_layers = 3;
  MemorySource source = random_chatglm_6b_weights(config, DType::kF16, kSeed);
  expect_same_as_on_one(config, source, DType::kF32, {20, 19});
}

TEST(Placement, TheOutputMatrixMayBeTheEmbeddingOfAnotherBackend) {
  ModelConfig config = tiny_config();
  config.num_layers = 3;
  MemorySource source = random_weights(config, DType::kF32, kSeed);
  source.erase("output.weight");
  expect_same_as_on_one(config, source, DType::kF32, {});
}

TEST(Placement, MustCoverAllLayersInOrder) {
  const auto backend = test::exact_backend(1);
  Backend* const b = backend.get();
  const auto refused = [](const auto& action) {
    try {
      action();
    } catch (const Error& error) {
      return error.message();
    }
    return std::string("accepted");
  };
  EXPECT_NE(refused([&] { Placement({{b, 0, 2}, {b, 3, 4}}); }).find("from 2 on, found 3 to 4"),
            std::string::npos);
  EXPECT_NE(refused([&] { Placement({{b, 0, 0}}); }).find("found 0 to 0"), std::string::npos);
  EXPECT_NE(refused([&] { Placement({}); }).find("no backend"), std::string::npos);
  const Placement four({{b, 0, 2}, {b, 2, 4}});
  EXPECT_EQ(four.of(4)[1].count(), 2);
  EXPECT_NE(refused([&] { (void)four.of(5); }).find("5 layers, found one for 4"),
            std::string::npos);
  EXPECT_EQ(Placement(*b).of(28)[0].end, 28);
}

}  // namespace
}  // namespace chatglm
