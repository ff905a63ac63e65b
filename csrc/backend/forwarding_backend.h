// A backend that hands every operation on to another one: the base of those that change a few.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "backend/backend.h"

namespace chatglm {

class ForwardingBackend : public Backend {
 public:
  explicit ForwardingBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  std::string_view device() const override { return inner_->device(); }
  std::string description() const override { return inner_->description(); }
  std::string_view isa() const override { return inner_->isa(); }
  int num_threads() const override { return inner_->num_threads(); }

  std::optional<int64_t> free_memory_bytes() const override { return inner_->free_memory_bytes(); }
  std::optional<DeviceCeiling> measure_ceiling() override { return inner_->measure_ceiling(); }
  std::unique_ptr<Buffer> allocate(int64_t size_bytes) override {
    return inner_->allocate(size_bytes);
  }
  std::unique_ptr<Buffer> allocate_host(int64_t size_bytes) override {
    return inner_->allocate_host(size_bytes);
  }
  void upload(void* destination, const void* host_source, int64_t size_bytes) override {
    inner_->upload(destination, host_source, size_bytes);
  }
  void download(void* host_destination, const void* source, int64_t size_bytes) override {
    inner_->download(host_destination, source, size_bytes);
  }
  using Backend::load_matrix;
  std::unique_ptr<Weight> load_matrix(std::span<const TensorView> parts, ReleaseHint after_rows,
                                      void* context) override {
    return inner_->load_matrix(parts, after_rows, context);
  }
  std::unique_ptr<Weight> load_table(const TensorView& table, ReleaseHint after_rows,
                                     void* context) override {
    return inner_->load_table(table, after_rows, context);
  }
  void reserve(int64_t rows, int64_t cols) override { inner_->reserve(rows, cols); }
  StagedBatch stage(const Batch& batch) override { return inner_->stage(batch); }
  void run_step(const StepShape& shape, const std::function<void()>& step) override {
    inner_->run_step(shape, step);
  }

  void embed(const Weight& table, const int32_t* row_ids, int64_t rows, float* output) override {
    inner_->embed(table, row_ids, rows, output);
  }
  void rms_norm(const kernels::RmsNormArgs& args) override { inner_->rms_norm(args); }
  void layer_norm(const kernels::LayerNormArgs& args) override { inner_->layer_norm(args); }
  void linear(const Weight& weight, const float* bias, const LinearInput& input, int64_t rows,
              float* y, bool accumulate, int64_t y_stride) override {
    inner_->linear(weight, bias, input, rows, y, accumulate, y_stride);
  }
  void rope_table(const kernels::RopeTableArgs& args) override { inner_->rope_table(args); }
  void rope(const kernels::RopeArgs& args) override { inner_->rope(args); }
  void kv_store(const kernels::KvStoreArgs& args) override { inner_->kv_store(args); }
  void rotate_and_store(const RotateAndStore& args) override { inner_->rotate_and_store(args); }
  void linear_rotate_store(const Weight& weight, const float* bias, const LinearInput& input,
                           int64_t rows, float* y, const RotateAndStore& heads) override {
    inner_->linear_rotate_store(weight, bias, input, rows, y, heads);
  }
  void paged_attention(const kernels::PagedAttentionArgs& args) override {
    inner_->paged_attention(args);
  }
  void silu_mul(const kernels::SiluMulArgs& args) override { inner_->silu_mul(args); }
  void gelu(const kernels::GeluArgs& args) override { inner_->gelu(args); }
  void gather_rows(const float* x, int64_t cols, const int32_t* row_ids, int64_t num_row_ids,
                   float* output) override {
    inner_->gather_rows(x, cols, row_ids, num_row_ids, output);
  }
  void choose(const float* logits, int64_t cols, std::span<const int32_t> rows,
              std::span<const ChoiceRule> rules, std::span<Choice> choices) override {
    inner_->choose(logits, cols, rows, rules, choices);
  }

 private:
  std::unique_ptr<Backend> inner_;
};

}  // namespace chatglm
