// What a model promises of its steps: between stage() and download() nothing but operations, and
// for steps of equal shape the very same ones, so that a backend may repeat them.
#include <cstring>
#include <optional>
#include <utility>

#include <gtest/gtest.h>

#include "backend/forwarding_backend.h"
#include "glm_runner.h"
#include "plain_chatglm_6b.h"

namespace chatglm {
namespace {

using namespace testing;

// Notes the bytes of all arguments of the operations of a step.
class Witness final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

  const std::string& operations() const { return operations_; }
  bool was_repeatable() const { return was_repeatable_; }

  void run_step(const StepShape& shape, const std::function<void()>& step) override {
    operations_.clear();
    was_repeatable_ = shape.is_repeatable;
    EXPECT_NE(shape.owner, nullptr);
    EXPECT_NE(shape.kv.pages, nullptr);
    is_in_step_ = true;
    step();
    is_in_step_ = false;
  }
  std::unique_ptr<Buffer> allocate(int64_t size_bytes) override {
    EXPECT_FALSE(is_in_step_);
    return ForwardingBackend::allocate(size_bytes);
  }
  void upload(void* destination, const void* source, int64_t size_bytes) override {
    EXPECT_FALSE(is_in_step_);
    ForwardingBackend::upload(destination, source, size_bytes);
  }
  void download(void* destination, const void* source, int64_t size_bytes) override {
    EXPECT_FALSE(is_in_step_);
    ForwardingBackend::download(destination, source, size_bytes);
  }
  // Where a batch lies is the same every time on a device that repeats steps: told by number here.
  StagedBatch stage(const Batch& batch) override {
    EXPECT_FALSE(is_in_step_);
    return ForwardingBackend::stage(batch);
  }

  void embed(const Weight& table, const int32_t* row_ids, int64_t rows, float* output) override {
    note("embed", &table, rows, output);
    ForwardingBackend::embed(table, row_ids, rows, output);
  }
  void rms_norm(const kernels::RmsNormArgs& args) override {
    note("rms_norm", args.x, args.weight, args.y, args.rows, args.cols, args.accumulate);
    ForwardingBackend::rms_norm(args);
  }
  void layer_norm(const kernels::LayerNormArgs& args) override {
    note("layer_norm", args.x, args.weight, args.y, args.scaled, args.rows, args.cols);
    ForwardingBackend::layer_norm(args);
  }
  void linear(const Weight& weight, const float* bias, const LinearInput& input, int64_t rows,
              float* y, bool accumulate, int64_t y_stride) override {
    note("linear", &weight, bias, input.x, input.norm_weight, input.gated, rows, y, accumulate,
         y_stride);
    ForwardingBackend::linear(weight, bias, input, rows, y, accumulate, y_stride);
  }
  void rope_table(const kernels::RopeTableArgs& args) override {
    note("rope_table", args.frequencies, args.cos_sin, args.rows, args.rotary_dim,
         args.position_scale, args.magnitude);
    ForwardingBackend::rope_table(args);
  }
  void rotate_and_store(const RotateAndStore& args) override {
    note("rotate_and_store", args.queries.x, args.queries.cos_sin, args.queries.row_scale,
         args.queries.rows, args.keys.x, args.store.keys, args.store.values, args.store.layer,
         args.store.kv.pages, args.store.rows.rows);
    ForwardingBackend::rotate_and_store(args);
  }
  void linear_rotate_store(const Weight& weight, const float* bias, const LinearInput& input,
                           int64_t rows, float* y, const RotateAndStore& heads) override {
    Backend::linear_rotate_store(weight, bias, input, rows, y, heads);  // which are noted
  }
  void paged_attention(const kernels::PagedAttentionArgs& args) override {
    note("paged_attention", args.query, args.output, args.heads, args.layer, args.scale,
         args.kv.pages, args.rows.rows);
    ForwardingBackend::paged_attention(args);
  }
  void gelu(const kernels::GeluArgs& args) override {
    note("gelu", args.x, args.y, args.rows, args.cols);
    ForwardingBackend::gelu(args);
  }
  void gather_rows(const float* x, int64_t cols, const int32_t* row_ids, int64_t num_row_ids,
                   float* output) override {
    note("gather_rows", x, cols, num_row_ids, output);
    ForwardingBackend::gather_rows(x, cols, row_ids, num_row_ids, output);
  }

 private:
  template <typename... Values>
  void note(const char* operation, const Values&... values) {
    EXPECT_TRUE(is_in_step_) << operation;
    operations_ += operation;
    (operations_.append(reinterpret_cast<const char*>(&values), sizeof(values)), ...);
  }

  bool is_in_step_ = false;
  bool was_repeatable_ = false;
  std::string operations_;
};

void expect_repeatable(const ModelConfig& config, MemorySource& source) {
  auto witness = std::make_unique<Witness>(test::exact_backend(1));
  const Witness& seen = *witness;
  Runner runner(config, source, DType::kF16, std::move(witness));
  const PromptLayout layout{.bidirectional_tokens = config.bidirectional_context ? 4 : 0,
                            .answer_position = 3};
  runner.run({{0, 0, {1, 2, 3, 4, 5}, layout}});
  const std::string prompt = seen.operations();
  runner.run({{0, 5, {6}, layout}});
  const std::string first = seen.operations();
  EXPECT_TRUE(seen.was_repeatable());
  EXPECT_NE(first, prompt);
  runner.run({{0, 6, {7}, layout}});
  EXPECT_EQ(seen.operations(), first) << "another token of the same sequence";
  runner.run({{2, 40, {8}, layout}});
  EXPECT_EQ(seen.operations(), first) << "another sequence";
  runner.run({{1, 0, {5, 4, 3, 2, 1}, layout}});
  EXPECT_EQ(seen.operations(), prompt);
}

TEST(Step, IsTheSameForEveryTokenOfGlm) {
  ModelConfig config = tiny_config();
  config.logn_attention = true;
  MemorySource source = random_weights(config, DType::kQ4_0, kSeed);
  expect_repeatable(config, source);
}

TEST(Step, IsTheSameForEveryTokenOfTheFirstGeneration) {
  const ModelConfig config = tiny_chatglm_6b();
  MemorySource source = random_chatglm_6b_weights(config, DType::kQ4_0, kSeed);
  expect_repeatable(config, source);
}

}  // namespace
}  // namespace chatglm
