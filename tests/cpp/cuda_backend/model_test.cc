// Whole models on the device: against the plain forward pass and the CPU, in every type, however
// rows are batched, and step by step as recorded.
#include <cmath>

#include "cuda_backend/test_support.h"
#include "model/glm_runner.h"
#include "model/plain_chatglm_6b.h"

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

using CudaModel = CudaTest;

// Where weights are quantized, products of few rows round their inputs to int8 (0.4 % of a block's
// largest value) and those of many to f16; bf16 has 8 bits. Logits here are of order 2.
double bound(DType dtype, std::size_t rows) {
  if (dtype == DType::kF32 || (rows <= 16 && !dtype_info(dtype).is_quantized())) return 1e-4;
  return dtype == DType::kBF16 || rows <= 16 ? 0.25 : 0.02;
}

TEST_F(CudaModel, IsNearThePlainForwardPass) {
  const ModelConfig config = small_config();
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0}) {
    MemorySource source = random_weights(config, dtype, kSeed);
    for (const std::size_t count : {std::size_t{5}, std::size_t{19}}) {
      const auto tokens = random_tokens(static_cast<int64_t>(count), config.vocab_size, kSeed);
      Runner runner(config, source, DType::kF32, cuda_backend());
      EXPECT_LT(
          worst_difference(runner.run({{0, 0, tokens}}), PlainGlm(config, source).logits(tokens)),
          bound(dtype, count))
          << dtype_info(dtype).name << ", " << count << " tokens";
    }
  }
}

double worst_difference_of(const std::vector<std::vector<float>>& a,
                           const std::vector<std::vector<float>>& b) {
  double worst = 0;
  for (std::size_t row = 0; row < a.size(); ++row) {
    for (std::size_t i = 0; i < a[row].size(); ++i) {
      worst = std::max(worst, static_cast<double>(std::abs(a[row][i] - b[row][i])));
    }
  }
  return worst;
}

TEST_F(CudaModel, AgreesWithTheCpuInEveryCacheType) {
  ModelConfig config = small_config();
  config.head_dim = 64;  // with kernels of the matrix units
  config.logn_attention = true;
  MemorySource source = random_weights(config, DType::kF16, kSeed);
  const auto tokens = random_tokens(20, config.vocab_size, kSeed);
  for (const DType kv_dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) {
    Runner cpu(config, source, kv_dtype), cuda(config, source, kv_dtype, cuda_backend());
    for (const auto& part : {Runner::Part{0, 0, tokens}, {0, 20, {5}}, {0, 21, {6, 7, 8}}}) {
      EXPECT_LT(worst_difference_of(cuda.run({part}), cpu.run({part})),
                kv_dtype == DType::kQ8_0 ? 0.1 : 0.02)
          << dtype_info(kv_dtype).name;
    }
  }
}

TEST_F(CudaModel, TheFirstGenerationAgreesWithTheCpu) {
  const ModelConfig config = testing::tiny_chatglm_6b();
  MemorySource source = testing::random_chatglm_6b_weights(config, DType::kF32, kSeed);
  const auto tokens = random_tokens(30, 90, kSeed);
  Runner cpu(config, source), cuda(config, source, DType::kF32, cuda_backend());
  const Runner::Part prompt{1, 0, tokens, {.bidirectional_tokens = 25, .answer_position = 24}};
  EXPECT_LT(worst_difference_of(cuda.run({prompt}), cpu.run({prompt})), 1e-4);
  Runner::Part next{1, 30, {7}, prompt.layout};
  for (int i = 0; i < 2; ++i, ++next.position) {
    EXPECT_LT(worst_difference_of(cuda.run({next}), cpu.run({next})), 1e-4);
  }
}

// The rows of a sequence, one after the other, with a neighbour's in the same steps.
std::vector<std::vector<float>> decoded(const ModelConfig& config, MemorySource& source,
                                        DType kv_dtype, int64_t recorded_rows,
                                        std::size_t guesses) {
  Runner runner(config, source, kv_dtype, cuda_backend(recorded_rows));
  const auto tokens = random_tokens(8, config.vocab_size, kSeed);
  runner.run({{0, 0, random_tokens(9, config.vocab_size, 1)}});
  std::vector<std::vector<float>> rows;
  for (std::size_t i = 0; i < tokens.size(); i += 1 + guesses) {
    const auto position = static_cast<int32_t>(i);
    const std::vector<int32_t> own(tokens.begin() + position,
                                   tokens.begin() + position + 1 + static_cast<int32_t>(guesses));
    const auto step = runner.run({{0, 9 + position, {5}}, {2, position, own}});
    rows.insert(rows.end(), step.begin() + 1, step.end());
  }
  return rows;
}

TEST_F(CudaModel, RecordedStepsGiveTheSameBits) {
  ModelConfig config = small_config();
  config.logn_attention = true;
  for (const DType dtype : {DType::kF16, DType::kQ4_0}) {
    MemorySource source = random_weights(config, dtype, kSeed);
    const auto plain = decoded(config, source, DType::kF16, 0, 0);
    EXPECT_EQ(decoded(config, source, DType::kF16, kRecordAll, 0), plain);
    // Guesses that are verified together have the bits of steps of their own.
    EXPECT_EQ(decoded(config, source, DType::kF16, kRecordAll, 3), plain);
  }
}

TEST_F(CudaModel, ChunksAndBatchMatesChangeNothing) {
  const ModelConfig config = small_config();
  const auto tokens = random_tokens(16, config.vocab_size, kSeed);
  for (const auto& [dtype, kv_dtype] :
       {std::pair{DType::kF32, DType::kQ8_0}, {DType::kQ4_0, DType::kF16}}) {
    MemorySource source = random_weights(config, dtype, kSeed);
    const auto whole = Runner(config, source, kv_dtype, cuda_backend()).run({{0, 0, tokens}});
    for (const std::size_t chunk : {3, 7}) {
      Runner runner(config, source, kv_dtype, cuda_backend());
      runner.run({{0, 0, random_tokens(14, config.vocab_size, 2)}});
      int32_t neighbour = 14;
      for (std::size_t begin = 0; begin < tokens.size(); begin += chunk) {
        const std::size_t end = std::min(tokens.size(), begin + chunk);
        const std::vector<int32_t> part(tokens.begin() + static_cast<int64_t>(begin),
                                        tokens.begin() + static_cast<int64_t>(end));
        const auto rows =
            runner.run({{0, neighbour++, {5}}, {2, static_cast<int32_t>(begin), part}});
        for (std::size_t row = begin; row < end; ++row) {
          ASSERT_EQ(rows[1 + row - begin], whole[row])
              << "row " << row << ", chunk " << chunk << ", " << dtype_info(dtype).name;
        }
      }
    }
  }
}

TEST_F(CudaModel, ARepeatedStepLooksAtItsTokens) {
  const ModelConfig config = small_config();
  MemorySource source = random_weights(config, DType::kQ4_0, kSeed);
  Runner runner(config, source, DType::kF16, cuda_backend());
  for (int32_t i = 0; i < 3; ++i) runner.run({{0, i, {5}}});
  for (const int32_t wrong : {-1, 40}) {
    const Error error =
        error_of(ErrorKind::kInvalidArgument, [&] { runner.run({{0, 3, {wrong}}}); });
    EXPECT_NE(error.message().find("row " + std::to_string(wrong)), std::string::npos);
  }
  EXPECT_EQ(runner.run({{0, 3, {5}}}).size(), 1u);
}

}  // namespace
}  // namespace chatglm
