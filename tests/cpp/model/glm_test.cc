// The forward pass against the plain one, and its independence of chunks and batch mates.
#include <gtest/gtest.h>

#include "base/error.h"
#include "glm_runner.h"

namespace chatglm {
namespace {

using namespace testing;

TEST(Glm, MatchesThePlainForwardPassInEveryFloatType) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    const ModelConfig config = tiny_config();
    MemorySource source = random_weights(config, dtype, kSeed);
    const auto tokens = random_tokens(45, config.vocab_size, kSeed);
    Runner runner(config, source);
    const Rows expected = PlainGlm(config, source).logits(tokens);
    EXPECT_LT(worst_difference(runner.run({{0, 0, tokens}}), expected), 5e-5)
        << dtype_info(dtype).name;
  }
}

TEST(Glm, RoundedInputsStayNearThePlainForwardPass) {
  // Inputs are rounded to int8 in blocks: about 0.4 % of a block's largest value per element,
  // averaged over each product. Logits here are of order 2.
  // Rounding many rows and their weights to bf16, as AMX does, costs about as much.
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0}) {
    const ModelConfig config = tiny_config();
    MemorySource source = random_weights(config, dtype, kSeed);
    const auto tokens = random_tokens(45, config.vocab_size, kSeed);
    Runner runner(config, source, DType::kF32, create_backend("cpu", {.num_threads = 2}));
    const double worst =
        worst_difference(runner.run({{0, 0, tokens}}), PlainGlm(config, source).logits(tokens));
    EXPECT_LT(worst, 0.25) << dtype_info(dtype).name;
  }
}

TEST(Glm, RopeVariants) {
  ModelConfig config = tiny_config();
  const auto check = [&](const char* what) {
    MemorySource source = random_weights(config, DType::kF32, kSeed + 1);
    const auto tokens = random_tokens(40, config.vocab_size, kSeed + 1);
    Runner runner(config, source);
    EXPECT_LT(
        worst_difference(runner.run({{1, 0, tokens}}), PlainGlm(config, source).logits(tokens)),
        5e-5)
        << what;
  };
  config.rope_theta = 10000.0f * 500.0f;
  check("rope_ratio 500");
  config.rope_theta = 10000.0f;
  config.rope_position_scale = 1.0f / 16.0f;
  check("position interpolation");
  config.rope_position_scale = 1.0f;
  config.yarn = YarnScaling{.factor = 4.0f, .trained_length = 64, .fast_turns = 8.0f};
  config.rope_magnitude = 1.138629f;
  check("YaRN");
}

TEST(Glm, QueriesAreScaledByTheLogarithmOfFarPositions) {
  ModelConfig config = tiny_config();
  config.num_layers = 1;
  MemorySource source = random_weights(config, DType::kF32, kSeed);
  constexpr std::size_t kTokens = 2100;  // the scale leaves 1 at position 1,984
  const auto tokens = random_tokens(kTokens, config.vocab_size, kSeed);
  std::vector<std::vector<float>> last_rows;
  for (const bool logn : {false, true}) {
    config.logn_attention = logn;
    Runner runner(config, source);
    std::vector<std::vector<float>> rows;
    for (std::size_t begin = 0; begin < kTokens; begin += Runner::kMaxRows) {
      const std::size_t end = std::min(kTokens, begin + Runner::kMaxRows);
      for (auto& row : runner.run({{0,
                                    static_cast<int32_t>(begin),
                                    {tokens.begin() + static_cast<int64_t>(begin),
                                     tokens.begin() + static_cast<int64_t>(end)}}})) {
        rows.push_back(std::move(row));
      }
    }
    EXPECT_LT(worst_difference(rows, PlainGlm(config, source).logits(tokens)), 2e-4);
    last_rows.push_back(rows.back());
  }
  EXPECT_NE(last_rows[0], last_rows[1]);
}

TEST(Glm, ChunksAndBatchMatesChangeNothing) {
  const ModelConfig config = tiny_config();
  for (const DType dtype : {DType::kF32, DType::kQ8_0, DType::kQ4_0}) {
    for (const DType kv_dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) {
      MemorySource source = random_weights(config, dtype, kSeed);
      expect_independent_of_batching(config, source, kv_dtype, std::string(dtype_info(dtype).name));
    }
  }
}

TEST(Glm, OutputMatrixFallsBackToTheEmbedding) {
  const ModelConfig config = tiny_config();
  MemorySource source = random_weights(config, DType::kF32, kSeed);
  const auto tokens = random_tokens(9, config.vocab_size, kSeed);
  MemorySource tied = source;
  tied.erase("output.weight");
  source.put("output.weight", DType::kF32, 2, config.vocab_size, config.hidden_size,
             source.values("token_embd.weight"));
  EXPECT_EQ(Runner(config, tied).run({{0, 0, tokens}}),
            Runner(config, source).run({{0, 0, tokens}}));
}

TEST(Glm, AllTensorsThatDoNotFitAreNamedAtOnce) {
  const ModelConfig config = tiny_config();
  MemorySource source = random_weights(config, DType::kF32, kSeed);
  source.erase("blk.1.attn_qkv.bias");
  source.put("blk.0.ffn_down.weight", DType::kF32, 2, 3, 32, std::vector<float>(96));
  const auto backend = create_backend("cpu", {.num_threads = 1});
  try {
    load_model(config, source, *backend);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kModelFile);
    const std::string what = error.what();
    EXPECT_NE(what.find("2 tensors"), std::string::npos) << what;
    EXPECT_NE(what.find("blk.1.attn_qkv.bias is missing"), std::string::npos) << what;
    EXPECT_NE(what.find("blk.0.ffn_down.weight has shape (3, 32), expected (128, 160)"),
              std::string::npos)
        << what;
  }
}

TEST(Glm, UnknownArchitectureIsNamed) {
  ModelConfig config = tiny_config();
  config.architecture = "gpt5";
  MemorySource source = random_weights(config, DType::kF32, kSeed);
  const auto backend = create_backend("cpu", {.num_threads = 1});
  try {
    load_model(config, source, *backend);
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUnsupportedModel);
    EXPECT_NE(std::string(error.what()).find("gpt5"), std::string::npos);
  }
}

}  // namespace
}  // namespace chatglm
