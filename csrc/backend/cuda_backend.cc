#include "backend/cuda_backend.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "backend/cuda_ceiling.h"
#include "backend/cuda_choice.h"
#include "backend/cuda_device.h"
#include "backend/cuda_graphs.h"
#include "backend/cuda_loader.h"
#include "backend/cuda_owned.h"
#include "backend/cuda_self_check.h"
#include "backend/cuda_staging.h"
#include "backend/operation_checks.h"
#include "base/env.h"
#include "base/error.h"
#include "base/thread_pool.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/row_ops.h"

namespace chatglm {
namespace {

using cuda::CurrentDevice;
using cuda::DeviceMemory;
using cuda::PinnedMemory;

// Steps of more rows compute for much longer than their operations take to be started one by one.
constexpr int64_t kMostRecordedRows = 64;

class CudaBuffer final : public Buffer {
 public:
  explicit CudaBuffer(DeviceMemory memory)
      : Buffer(memory.data(), memory.size_bytes()), memory_(std::move(memory)) {}

 private:
  DeviceMemory memory_;
};

class PinnedBuffer final : public Buffer {
 public:
  explicit PinnedBuffer(PinnedMemory memory)
      : Buffer(memory.data(), memory.size_bytes()), memory_(std::move(memory)) {}

 private:
  PinnedMemory memory_;
};

class CudaWeight final : public Weight {
 public:
  enum class Use { kTable, kMatrix };
  CudaWeight(Use use, const kernels::cuda::WeightLayout& layout, DeviceMemory memory,
             bool fits_half, const Backend& owner)
      : Weight(layout.n, layout.k, layout.dtype, memory.size_bytes()),
        use_(use),
        layout_(layout),
        memory_(std::move(memory)),
        fits_half_(fits_half),
        owner_(owner) {}
  kernels::cuda::DeviceWeight view() const {
    return kernels::cuda::device_weight(layout_, memory_.data());
  }
  bool fits_half() const { return fits_half_; }
  bool is(Use use, const Backend& owner) const { return use == use_ && &owner == &owner_; }

 private:
  const Use use_;
  const kernels::cuda::WeightLayout layout_;
  DeviceMemory memory_;
  const bool fits_half_;
  const Backend& owner_;
};

class CudaBackend final : public Backend {
 public:
  CudaBackend(const BackendOptions& options, int64_t most_recorded_rows)
      : device_(cuda::open_device(options.device_index)),
        name_(device_.index == 0 ? "cuda" : "cuda:" + std::to_string(device_.index)),
        isa_(device_.isa()),
        traits_{.compute_capability = device_.compute_capability,
                .multiprocessors = device_.multiprocessors},
        most_recorded_rows_(most_recorded_rows),
        threads_(options.num_threads),
        stream_(cuda::make_stream(device_.index)),
        loader_(threads_, stream_.get()),
        staging_(stream_.get()),
        graphs_(stream_.get()),
        chooser_(stream_.get(), starts_early()) {}
  ~CudaBackend() override { static_cast<void>(cudaStreamSynchronize(stream_.get())); }

  std::string_view device() const override { return name_; }
  std::string_view isa() const override { return isa_; }
  int num_threads() const override { return threads_.num_threads(); }
  std::string description() const override;
  std::optional<int64_t> free_memory_bytes() const override;
  std::optional<DeviceCeiling> measure_ceiling() override {
    const CurrentDevice current(device_.index);
    return cuda::measure_ceiling(device_, stream_.get());
  }

  std::unique_ptr<Buffer> allocate(int64_t size_bytes) override;
  std::unique_ptr<Buffer> allocate_host(int64_t size_bytes) override;
  void upload(void* destination, const void* host_source, int64_t size_bytes) override;
  void download(void* host_destination, const void* source, int64_t size_bytes) override;

  std::unique_ptr<Weight> load_matrix(std::span<const TensorView> parts, ReleaseHint after_rows,
                                      void* context) override;
  std::unique_ptr<Weight> load_table(const TensorView& table, ReleaseHint after_rows,
                                     void* context) override;
  void reserve(int64_t rows, int64_t cols) override;
  StagedBatch stage(const Batch& batch) override;
  void run_step(const StepShape& shape, const std::function<void()>& step) override;

  void embed(const Weight& table, const int32_t* row_ids, int64_t rows, float* output) override;
  void rms_norm(const kernels::RmsNormArgs& args) override;
  void layer_norm(const kernels::LayerNormArgs& args) override;
  void linear(const Weight& weight, const float* bias, const LinearInput& input, int64_t rows,
              float* y, bool accumulate, int64_t y_stride) override;
  void rope_table(const kernels::RopeTableArgs& args) override;
  void rope(const kernels::RopeArgs& args) override;
  void kv_store(const kernels::KvStoreArgs& args) override;
  void rotate_and_store(const RotateAndStore& args) override;
  void linear_rotate_store(const Weight& weight, const float* bias, const LinearInput& input,
                           int64_t rows, float* y, const RotateAndStore& heads) override;
  void paged_attention(const kernels::PagedAttentionArgs& args) override;
  void silu_mul(const kernels::SiluMulArgs& args) override;
  void gelu(const kernels::GeluArgs& args) override;
  void gather_rows(const float* x, int64_t cols, const int32_t* row_ids, int64_t num_row_ids,
                   float* output) override;
  void choose(const float* logits, int64_t cols, std::span<const int32_t> rows,
              std::span<const ChoiceRule> rules, std::span<Choice> choices) override;

 private:
  // Calls work(stream), which enqueues kernels that may read the staged batch.
  template <typename Work>
  void enqueue(const char* operation, const Work& work) {
    const CurrentDevice current(device_.index);
    staging_.flush();
    work(stream_.get());
    cuda::check_launch(operation);
  }
  std::unique_ptr<Weight> load(CudaWeight::Use use, std::span<const TensorView> parts, int64_t rows,
                               ReleaseHint after_rows, void* context);
  void check_embed(const cuda::RowIdCheck& check);
  void plan_attention(const kernels::cuda::AttentionShape& shape);
  void check_warpgroups();
  // What the kernels are told, where the operation is possible.
  kernels::cuda::LinearCall checked_call(const Weight& weight, const float* bias,
                                         const LinearInput& input, int64_t rows, float* y,
                                         bool accumulate, int64_t y_stride) const;
  kernels::cuda::RotateAndStoreArgs checked_heads(const RotateAndStore& args) const;
  // Kernels may start while the ones before them end (launch.cuh).
  bool starts_early() const { return device_.compute_capability >= 90; }

  const cuda::Device device_;
  const std::string name_, isa_;
  kernels::cuda::DeviceTraits traits_;
  // Why wgmma is not used, as description() says it; "": it is. Nothing: not looked at yet.
  std::optional<std::string> wgmma_refusal_;
  const int64_t most_recorded_rows_;
  ThreadPool threads_;
  const cuda::Stream stream_;
  cuda::Loader loader_;
  cuda::Staging staging_;
  cuda::Graphs graphs_;
  cuda::Chooser chooser_;
  DeviceMemory prepared_inputs_;  // of the product that runs
  DeviceMemory gemm_scratch_;     // the same; empty where no product has many rows
  kernels::cuda::AttentionPlan attention_;
  std::optional<kernels::cuda::AttentionShape> planned_;  // of the batch that was staged last
  DeviceMemory attention_workspace_;
};

std::string CudaBackend::description() const {
  return device_.description() + wgmma_refusal_.value_or("");
}

// Before the first product that would be computed by them.
void CudaBackend::check_warpgroups() {
  if (wgmma_refusal_ || device_.compute_capability != 90) return;
  if (!env::allows_wgmma()) {
    wgmma_refusal_ = "; wgmma is turned off (CHATGLM_WGMMA=0)";
    return;
  }
  traits_.warpgroups = cuda::warpgroups_agree(traits_, stream_.get());
  wgmma_refusal_ =
      traits_.warpgroups ? "" : "; wgmma products gave other results than mma.sync here; not used";
}

std::optional<int64_t> CudaBackend::free_memory_bytes() const {
  const CurrentDevice current(device_.index);
  std::size_t free_bytes = 0, total_bytes = 0;
  cuda::check(cudaMemGetInfo(&free_bytes, &total_bytes), "free_memory_bytes");
  return static_cast<int64_t>(free_bytes);
}

std::unique_ptr<Buffer> CudaBackend::allocate(int64_t size_bytes) {
  const CurrentDevice current(device_.index);
  DeviceMemory memory(size_bytes);
  if (size_bytes > 0) {
    cuda::check(
        cudaMemsetAsync(memory.data(), 0, static_cast<std::size_t>(size_bytes), stream_.get()),
        "allocate");
  }
  return std::make_unique<CudaBuffer>(std::move(memory));
}

std::unique_ptr<Buffer> CudaBackend::allocate_host(int64_t size_bytes) {
  const CurrentDevice current(device_.index);
  return std::make_unique<PinnedBuffer>(PinnedMemory(size_bytes));
}

// The source may be changed when this returns. Of memory that is not pinned the driver makes a copy
// of its own before it returns, but not where the GPU reads such memory by itself; and it may be
// pinned.
void CudaBackend::upload(void* destination, const void* host_source, int64_t size_bytes) {
  if (size_bytes == 0) return;
  const CurrentDevice current(device_.index);
  cuda::check(cudaMemcpyAsync(destination, host_source, static_cast<std::size_t>(size_bytes),
                              cudaMemcpyHostToDevice, stream_.get()),
              "upload");
  cuda::check(cudaStreamSynchronize(stream_.get()), "upload");
}

void CudaBackend::download(void* host_destination, const void* source, int64_t size_bytes) {
  const CurrentDevice current(device_.index);
  if (size_bytes > 0) {
    cuda::check(cudaMemcpyAsync(host_destination, source, static_cast<std::size_t>(size_bytes),
                                cudaMemcpyDeviceToHost, stream_.get()),
                "download");
  }
  cuda::check(cudaStreamSynchronize(stream_.get()), "download");
}

std::unique_ptr<Weight> CudaBackend::load_matrix(std::span<const TensorView> parts,
                                                 ReleaseHint after_rows, void* context) {
  return load(CudaWeight::Use::kMatrix, parts, check_stackable(parts), after_rows, context);
}

std::unique_ptr<Weight> CudaBackend::load_table(const TensorView& table, ReleaseHint after_rows,
                                                void* context) {
  check_loadable(table, "load_table");
  return load(CudaWeight::Use::kTable, {&table, 1}, table.rows, after_rows, context);
}

std::unique_ptr<Weight> CudaBackend::load(CudaWeight::Use use, std::span<const TensorView> parts,
                                          int64_t rows, ReleaseHint after_rows, void* context) {
  const CurrentDevice current(device_.index);
  const kernels::cuda::WeightLayout layout =
      kernels::cuda::weight_layout(parts[0].dtype, rows, parts[0].cols);
  DeviceMemory memory(layout.size_bytes);
  const bool fits_half = loader_.load(parts, layout, memory.data(), after_rows, context);
  return std::make_unique<CudaWeight>(use, layout, std::move(memory), fits_half, *this);
}

void CudaBackend::reserve(int64_t rows, int64_t cols) {
  check_reserve(rows, cols);
  const CurrentDevice current(device_.index);
  // The model has its weights by now, and its activations are not where they were.
  loader_.release();
  graphs_.clear();
  if (rows > kernels::cuda::kGemvRows) check_warpgroups();
  if (rows > kernels::cuda::kGemvRows && gemm_scratch_.size_bytes() == 0) {
    DeviceMemory scratch(kernels::cuda::kGemmScratchBytes);
    const auto scratch_bytes = static_cast<std::size_t>(scratch.size_bytes());
    cuda::check(cudaMemsetAsync(scratch.data(), 0, scratch_bytes, stream_.get()), "reserve");
    gemm_scratch_ = std::move(scratch);
  }
  const int64_t size_bytes = kernels::cuda::prepared_bytes(rows, cols);
  if (size_bytes <= prepared_inputs_.size_bytes()) return;
  prepared_inputs_ = DeviceMemory();  // first, so that old and new never stand side by side
  prepared_inputs_ = DeviceMemory(size_bytes);
}

StagedBatch CudaBackend::stage(const Batch& batch) {
  check_batch(batch);
  const CurrentDevice current(device_.index);
  planned_.reset();
  return staging_.stage(batch);
}

void CudaBackend::run_step(const StepShape& shape, const std::function<void()>& step) {
  const CurrentDevice current(device_.index);
  kernels::PagedAttentionArgs attention{};
  attention.heads = shape.heads;
  attention.kv = shape.kv;
  plan_attention(kernels::cuda::attention_shape(attention));
  staging_.flush();
  const auto rows = static_cast<int64_t>(staging_.sequence().size());
  if (!shape.is_repeatable || rows > most_recorded_rows_) return step();
  graphs_.run({.owner = shape.owner,
               .pages = shape.kv.pages,
               .rows = rows,
               .num_logit_rows = shape.num_logit_rows,
               .staging = staging_.device_begin(),
               .tiles = staging_.device_tiles(),
               .table_stride = staging_.table_stride(),
               .attention = attention_.grid()},
              step, [&](const cuda::RowIdCheck& check) { check_embed(check); });
}

void CudaBackend::embed(const Weight& table, const int32_t* row_ids, int64_t rows, float* output) {
  const auto* stored = dynamic_cast<const CudaWeight*>(&table);
  if (stored == nullptr || !stored->is(CudaWeight::Use::kTable, *this)) {
    fail_operation("embed", "the weight was not made by load_table of this CUDA backend");
  }
  const cuda::RowIdCheck check{row_ids, rows, table.rows()};
  check_embed(check);
  graphs_.note(check);
  enqueue("embed", [&](cudaStream_t stream) {
    kernels::cuda::embed(stored->view(), row_ids, rows, output, stream);
  });
}

// Where the ids are not those of the batch they must be asked for.
void CudaBackend::check_embed(const cuda::RowIdCheck& check) {
  std::span<const int32_t> row_ids = staging_.host_copy(check.row_ids, check.count);
  std::vector<int32_t> downloaded;
  if (row_ids.empty() && check.count > 0) {
    downloaded.resize(static_cast<std::size_t>(check.count));
    download(downloaded.data(), check.row_ids, static_cast<int64_t>(sizeof(int32_t)) * check.count);
    row_ids = downloaded;
  }
  check_row_ids(row_ids, check.table_rows);
}

void CudaBackend::rms_norm(const kernels::RmsNormArgs& args) {
  enqueue("rms_norm", [&](cudaStream_t stream) { kernels::cuda::rms_norm(args, stream); });
}

void CudaBackend::layer_norm(const kernels::LayerNormArgs& args) {
  enqueue("layer_norm", [&](cudaStream_t stream) { kernels::cuda::layer_norm(args, stream); });
}

kernels::cuda::LinearCall CudaBackend::checked_call(const Weight& weight, const float* bias,
                                                    const LinearInput& input, int64_t rows,
                                                    float* y, bool accumulate,
                                                    int64_t y_stride) const {
  const auto* matrix = dynamic_cast<const CudaWeight*>(&weight);
  if (matrix == nullptr || !matrix->is(CudaWeight::Use::kMatrix, *this)) {
    fail_operation("linear", "the weight was not made by load_matrix of this CUDA backend");
  }
  const int64_t stride = checked_stride(weight, y_stride);
  if (kernels::cuda::prepared_bytes(rows, weight.cols()) > prepared_inputs_.size_bytes()) {
    fail_unreserved(rows, weight.cols());
  }
  return {.weight = matrix->view(),
          .input = {.x = input.x,
                    .norm_weight = input.norm_weight,
                    .norm_epsilon = input.norm_epsilon,
                    .gated = input.gated,
                    .prepared = prepared_inputs_.data(),
                    .m = rows,
                    .k = weight.cols()},
          .bias = bias,
          .y = y,
          .y_stride = stride,
          .accumulate = accumulate,
          .gemm_scratch = gemm_scratch_.data(),
          .fits_half = matrix->fits_half()};
}

void CudaBackend::linear(const Weight& weight, const float* bias, const LinearInput& input,
                         int64_t rows, float* y, bool accumulate, int64_t y_stride) {
  const auto call = checked_call(weight, bias, input, rows, y, accumulate, y_stride);
  enqueue("linear", [&](cudaStream_t stream) { kernels::cuda::linear(call, traits_, stream); });
}

void CudaBackend::rope_table(const kernels::RopeTableArgs& args) {
  check_rope_table(args);
  enqueue("rope_table", [&](cudaStream_t stream) { kernels::cuda::rope_table(args, stream); });
}

void CudaBackend::rope(const kernels::RopeArgs& args) {
  check_rope(args);
  enqueue("rope", [&](cudaStream_t stream) { kernels::cuda::rope(args, stream); });
}

void CudaBackend::kv_store(const kernels::KvStoreArgs& args) {
  check_kv(args.kv, args.layer, "kv_store");
  enqueue("kv_store", [&](cudaStream_t stream) { kernels::cuda::kv_store(args, stream); });
}

kernels::cuda::RotateAndStoreArgs CudaBackend::checked_heads(const RotateAndStore& args) const {
  check_rope(args.queries);
  check_rope(args.keys);
  check_kv(args.store.kv, args.store.layer, "kv_store");
  return {args.queries, args.keys, args.store};
}

void CudaBackend::rotate_and_store(const RotateAndStore& args) {
  const auto heads = checked_heads(args);
  enqueue("rotate_and_store", [&](cudaStream_t stream) {
    kernels::cuda::rotate_and_store(heads, stream, starts_early());
  });
}

void CudaBackend::linear_rotate_store(const Weight& weight, const float* bias,
                                      const LinearInput& input, int64_t rows, float* y,
                                      const RotateAndStore& heads) {
  const auto call = checked_call(weight, bias, input, rows, y, /*accumulate=*/false, 0);
  const auto checked = checked_heads(heads);
  enqueue("linear_rotate_store", [&](cudaStream_t stream) {
    kernels::cuda::linear_rotate_store(call, checked, traits_, stream);
  });
}

// Of the batch that was staged last.
void CudaBackend::plan_attention(const kernels::cuda::AttentionShape& shape) {
  if (planned_ == shape) return;
  attention_.make(shape, staging_.sequence(), staging_.visible(), device_.multiprocessors);
  staging_.set_tiles(attention_.tiles());
  if (attention_.workspace_bytes() > attention_workspace_.size_bytes()) {
    const int64_t larger = std::max(attention_.workspace_bytes(),
                                    std::min(2 * attention_workspace_.size_bytes(),
                                             kernels::cuda::kMostAttentionWorkspaceBytes));
    graphs_.clear();  // they name the memory that goes
    attention_workspace_ = DeviceMemory();
    attention_workspace_ = DeviceMemory(larger);
  }
  planned_ = shape;
}

void CudaBackend::paged_attention(const kernels::PagedAttentionArgs& args) {
  check_attention(args);
  if (args.rows.rows == 0) return;
  const std::span<const int32_t> visible = staging_.host_copy(args.rows.visible, args.rows.rows);
  if (visible.data() != staging_.visible().data() || visible.size() != staging_.visible().size()) {
    fail_operation("paged_attention", "expected the rows of the batch that was staged last");
  }
  const kernels::cuda::AttentionShape shape = kernels::cuda::attention_shape(args);
  if (graphs_.is_recording() && planned_ != shape) {
    fail_operation("paged_attention", "the cache or the heads are not those of the step's shape");
  }
  {
    const CurrentDevice current(device_.index);
    plan_attention(shape);
  }
  enqueue("paged_attention", [&](cudaStream_t stream) {
    kernels::cuda::paged_attention(args, attention_.grid(), staging_.device_tiles(),
                                   attention_workspace_.data(), stream, starts_early());
  });
}

void CudaBackend::silu_mul(const kernels::SiluMulArgs& args) {
  enqueue("silu_mul", [&](cudaStream_t stream) { kernels::cuda::silu_mul(args, stream); });
}

void CudaBackend::gelu(const kernels::GeluArgs& args) {
  enqueue("gelu", [&](cudaStream_t stream) { kernels::cuda::gelu(args, stream); });
}

void CudaBackend::gather_rows(const float* x, int64_t cols, const int32_t* row_ids,
                              int64_t num_row_ids, float* output) {
  enqueue("gather_rows", [&](cudaStream_t stream) {
    kernels::cuda::gather_rows(x, cols, row_ids, num_row_ids, output, stream);
  });
}

void CudaBackend::choose(const float* logits, int64_t cols, std::span<const int32_t> rows,
                         std::span<const ChoiceRule> rules, std::span<Choice> choices) {
  if (cols > kernels::cuda::kMostChoiceColumns) {
    return Backend::choose(logits, cols, rows, rules, choices);
  }
  const CurrentDevice current(device_.index);
  chooser_.choose(logits, cols, rows, rules, choices);
}

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& options,
                                           int64_t most_recorded_rows) {
  return std::make_unique<CudaBackend>(options, most_recorded_rows);
}

std::unique_ptr<Backend> create_cuda_backend(const BackendOptions& options) {
  return make_cuda_backend(options, kMostRecordedRows);
}

}  // namespace chatglm
