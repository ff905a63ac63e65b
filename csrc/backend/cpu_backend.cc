#include "backend/cpu_backend.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "backend/attention_plan.h"
#include "backend/cpu_brand.h"
#include "backend/host_memory.h"
#include "backend/load_rows.h"
#include "backend/operation_checks.h"
#include "base/ceil_div.h"
#include "base/thread_pool.h"

namespace chatglm {
namespace {

// Costs are counted in multiply-adds, about. Work below kInlineCost is over before a sleeping
// thread has woken; a chunk of kMinChunkCost hides the shared counter it was taken from; several
// chunks a thread let a fast core take over from a slow one.
constexpr int64_t kInlineCost = int64_t{1} << 17;
constexpr int64_t kMinChunkCost = int64_t{1} << 15;
constexpr int64_t kChunksPerThread = 32;
// With many threads the counter goes from core to core for every chunk: each thread computes for as
// long as the others take to get theirs.
constexpr int64_t kChunkCostPerThread = int64_t{1} << 11;
constexpr int64_t kMoveCost = 4;  // of an element through memory

// Kernels walk a few panels side by side.
constexpr int64_t kPanelsPerItem = 4;

int64_t plain_row_bytes(int64_t cols) {
  return cols * static_cast<int64_t>(sizeof(float));
}

class CpuBuffer final : public Buffer {
 public:
  explicit CpuBuffer(HostMemory memory)
      : Buffer(memory.data(), memory.size_bytes()), memory_(std::move(memory)) {}

 private:
  HostMemory memory_;
};

// Rows as they were stored.
class CpuTable final : public Weight {
 public:
  CpuTable(const TensorView& view, HostMemory memory)
      : Weight(view.rows, view.cols, view.dtype, memory.size_bytes()), memory_(std::move(memory)) {}
  const std::byte* data() const { return memory_.data(); }

 private:
  HostMemory memory_;
};

// Panels in the layout of one linear kernel.
class CpuMatrix final : public Weight {
 public:
  CpuMatrix(int64_t rows, int64_t cols, const kernels::LinearKernel& kernel, HostMemory memory)
      : Weight(rows, cols, kernel.dtype, memory.size_bytes()),
        kernel_(&kernel),
        memory_(std::move(memory)) {}
  const kernels::LinearKernel& kernel() const { return *kernel_; }
  int64_t num_panels() const { return ceil_div(rows_, kernel_->panel_rows); }
  std::byte* packed() const { return memory_.data(); }  // (num_panels, panel_bytes)

 private:
  const kernels::LinearKernel* kernel_;
  HostMemory memory_;
};

class CpuBackend final : public Backend {
 public:
  CpuBackend(int num_threads, const kernels::KernelTable& table)
      : table_(table), threads_(num_threads), attention_(table.attention, threads_.num_threads()) {}

  std::string_view device() const override { return "cpu"; }
  std::string_view isa() const override { return table_.name; }
  int num_threads() const override { return threads_.num_threads(); }
  std::string description() const override {
    const int count = num_threads();
    return cpu_brand() + ", " + std::string(isa()) + ", " + std::to_string(count) +
           (count == 1 ? " thread" : " threads");
  }

  std::unique_ptr<Buffer> allocate(int64_t size_bytes) override {
    return std::make_unique<CpuBuffer>(HostMemory(size_bytes));
  }
  void upload(void* destination, const void* host_source, int64_t size_bytes) override {
    copy(destination, host_source, size_bytes);
  }
  void download(void* host_destination, const void* source, int64_t size_bytes) override {
    copy(host_destination, source, size_bytes);
  }

  std::unique_ptr<Weight> load_matrix(std::span<const TensorView> parts, ReleaseHint after_rows,
                                      void* context) override;
  std::unique_ptr<Weight> load_table(const TensorView& table, ReleaseHint after_rows,
                                     void* context) override;
  void reserve(int64_t rows, int64_t cols) override;
  StagedBatch stage(const Batch& batch) override;

  void embed(const Weight& table, const int32_t* row_ids, int64_t rows, float* output) override;
  void rms_norm(const kernels::RmsNormArgs& args) override;
  void layer_norm(const kernels::LayerNormArgs& args) override;
  void linear(const Weight& weight, const float* bias, const LinearInput& input, int64_t rows,
              float* y, bool accumulate, int64_t y_stride) override;
  void rope_table(const kernels::RopeTableArgs& args) override;
  void rope(const kernels::RopeArgs& args) override;
  void kv_store(const kernels::KvStoreArgs& args) override;
  void paged_attention(const kernels::PagedAttentionArgs& args) override;
  void silu_mul(const kernels::SiluMulArgs& args) override;
  void gelu(const kernels::GeluArgs& args) override;
  void gather_rows(const float* x, int64_t cols, const int32_t* row_ids, int64_t num_row_ids,
                   float* output) override;
  void choose(const float* logits, int64_t cols, std::span<const int32_t> rows,
              std::span<const ChoiceRule> rules, std::span<Choice> choices) override;

 private:
  const void* prepare(const kernels::LinearKernel& kernel, const LinearInput& input, int64_t rows,
                      int64_t k);

  static void copy(void* destination, const void* source, int64_t size_bytes) {
    if (size_bytes > 0) std::memcpy(destination, source, static_cast<std::size_t>(size_bytes));
  }

  // Runs body(begin, end) over parts of [0, count), on this thread alone where waking others costs
  // more.
  template <typename Body>
  void run(int64_t count, int64_t item_cost, const Body& body) {
    run_threads(count, item_cost, [&](int64_t begin, int64_t end, int) { body(begin, end); });
  }
  // The same with the number of the thread: body(begin, end, thread).
  template <typename Body>
  void run_threads(int64_t count, int64_t item_cost, const Body& body) {
    const int64_t cost = std::max<int64_t>(item_cost, 1);
    const int64_t threads = threads_.num_threads();
    if (count <= 1 || threads == 1 || count * cost < kInlineCost) {
      if (count > 0) body(0, count, 0);
      return;
    }
    const int64_t chunk_cost = std::max(kMinChunkCost, threads * kChunkCostPerThread);
    const int64_t grain =
        std::max(ceil_div(count, threads * kChunksPerThread), ceil_div(chunk_cost, cost));
    threads_.parallel_for(count, grain, body);
  }

  static void enlarge(HostMemory& memory, int64_t size_bytes) {
    if (size_bytes <= memory.size_bytes()) return;
    memory = HostMemory();  // first, so that old and new never stand side by side
    memory = HostMemory(size_bytes);
  }

  const kernels::KernelTable& table_;
  ThreadPool threads_;
  AttentionPlan attention_;                // of the call that runs
  HostMemory prepared_inputs_;             // (rows, input_row_bytes) of the product that runs
  HostMemory scratch_;                     // (num_threads, scratch_bytes) of its calls
  std::vector<ChoiceWorkspace> choosing_;  // (num_threads)
};

std::unique_ptr<Weight> CpuBackend::load_matrix(std::span<const TensorView> parts,
                                                ReleaseHint after_rows, void* context) {
  const int64_t rows = check_stackable(parts), cols = parts[0].cols;
  const kernels::LinearKernel& kernel = table_.linear_kernel(parts[0].dtype);
  auto matrix = std::make_unique<CpuMatrix>(
      rows, cols, kernel, HostMemory(ceil_div(rows, kernel.panel_rows) * kernel.panel_bytes(cols)));
  pack_rows(threads_, kernel, parts, matrix->packed(), after_rows, context);
  return matrix;
}

std::unique_ptr<Weight> CpuBackend::load_table(const TensorView& table, ReleaseHint after_rows,
                                               void* context) {
  check_loadable(table, "load_table");
  HostMemory memory(table.size_bytes());
  copy_rows(threads_, table, memory.data(), after_rows, context);
  return std::make_unique<CpuTable>(table, std::move(memory));
}

void CpuBackend::reserve(int64_t rows, int64_t cols) {
  check_reserve(rows, cols);
  int64_t input_bytes = 0, scratch_bytes = 0;
  for (const DTypeInfo& type : all_dtypes()) {
    const int64_t whole_blocks = ceil_div(cols, type.block_elements) * type.block_elements;
    const kernels::LinearKernel& kernel = table_.linear_kernel(type.dtype);
    const int64_t row_bytes = kernel.input_row_bytes(whole_blocks, rows);
    input_bytes =
        std::max(input_bytes, rows * (row_bytes > 0 ? row_bytes : plain_row_bytes(whole_blocks)));
    scratch_bytes = std::max(scratch_bytes, kernel.scratch_bytes(whole_blocks, rows));
  }
  enlarge(prepared_inputs_, input_bytes);
  enlarge(scratch_, scratch_bytes * threads_.num_threads());
}

StagedBatch CpuBackend::stage(const Batch& batch) {
  check_batch(batch);
  StagedBatch staged{};
  staged.token_ids = batch.token_ids.data();
  staged.positions = batch.positions.data();
  staged.logit_rows = batch.logit_rows.data();
  staged.num_logit_rows = static_cast<int64_t>(batch.logit_rows.size());
  staged.rows = {batch.slots.data(),       batch.visible.data(),     batch.sequence.data(),
                 batch.block_table.data(), batch.block_table_stride, batch.rows()};
  return staged;
}

void CpuBackend::embed(const Weight& table, const int32_t* row_ids, int64_t rows, float* output) {
  const auto* stored = dynamic_cast<const CpuTable*>(&table);
  if (stored == nullptr) {
    fail_operation("embed", "the weight was not made by load_table of a CPU backend");
  }
  check_row_ids({row_ids, static_cast<std::size_t>(rows)}, table.rows());
  const kernels::EmbedArgs args{stored->data(), table.dtype(), row_ids, output, rows, table.cols()};
  run(rows, kMoveCost * args.cols,
      [&](int64_t begin, int64_t end) { table_.embed(args, begin, end); });
}

void CpuBackend::rms_norm(const kernels::RmsNormArgs& args) {
  run(args.rows, kMoveCost * args.cols,
      [&](int64_t begin, int64_t end) { table_.rms_norm(args, begin, end); });
}

void CpuBackend::layer_norm(const kernels::LayerNormArgs& args) {
  run(args.rows, kMoveCost * args.cols,
      [&](int64_t begin, int64_t end) { table_.layer_norm(args, begin, end); });
}

// The rows as the kernel reads them: prepared, or for kernels that read plain rows, plain.
const void* CpuBackend::prepare(const kernels::LinearKernel& kernel, const LinearInput& input,
                                int64_t rows, int64_t k) {
  std::byte* const prepared = prepared_inputs_.data();
  const int64_t row_bytes = kernel.input_row_bytes(k, rows);
  if (row_bytes == 0 && input.is_plain()) return input.x;
  if (rows * (row_bytes > 0 ? row_bytes : plain_row_bytes(k)) > prepared_inputs_.size_bytes()) {
    fail_unreserved(rows, k);
  }
  if (row_bytes > 0) {
    const kernels::PrepareArgs args{.x = input.x,
                                    .norm_weight = input.norm_weight,
                                    .norm_epsilon = input.norm_epsilon,
                                    .gated = input.gated,
                                    .prepared = prepared,
                                    .m = rows,
                                    .k = k};
    run(rows, (input.gated ? kExpCost : kMoveCost) * k,
        [&](int64_t begin, int64_t end) { kernel.prepare_input(args, begin, end); });
  } else {
    make_plain(input, rows, k, reinterpret_cast<float*>(prepared));
  }
  return prepared;
}

void CpuBackend::linear(const Weight& weight, const float* bias, const LinearInput& input,
                        int64_t rows, float* y, bool accumulate, int64_t y_stride) {
  const auto* matrix = dynamic_cast<const CpuMatrix*>(&weight);
  if (matrix == nullptr) {
    fail_operation("linear", "the weight was not made by load_matrix of a CPU backend");
  }
  const kernels::LinearKernel& kernel = matrix->kernel();
  const int64_t k = weight.cols();
  const int64_t stride = checked_stride(weight, y_stride);

  const int64_t scratch_bytes = kernel.scratch_bytes(k, rows);
  if (scratch_bytes * threads_.num_threads() > scratch_.size_bytes()) {
    fail_unreserved(rows, k);
  }
  const kernels::LinearArgs args{.packed = matrix->packed(),
                                 .x = prepare(kernel, input, rows, k),
                                 .bias = bias,
                                 .y = y,
                                 .y_stride = stride,
                                 .m = rows,
                                 .n = weight.rows(),
                                 .k = k,
                                 .accumulate = accumulate};
  const int64_t panels = matrix->num_panels();
  run_threads(ceil_div(panels, kPanelsPerItem), kPanelsPerItem * kernel.panel_rows * rows * k,
              [&](int64_t begin, int64_t end, int thread) {
                kernels::LinearArgs own = args;
                own.scratch = scratch_.data() + thread * scratch_bytes;
                kernel.product(own, begin * kPanelsPerItem, std::min(end * kPanelsPerItem, panels));
              });
}

void CpuBackend::rope_table(const kernels::RopeTableArgs& args) {
  check_rope_table(args);
  run(args.rows, kExpCost * args.rotary_dim,
      [&](int64_t begin, int64_t end) { table_.rope_table(args, begin, end); });
}

void CpuBackend::rope(const kernels::RopeArgs& args) {
  check_rope(args);
  run(args.rows, args.heads * args.head_dim,
      [&](int64_t begin, int64_t end) { table_.rope(args, begin, end); });
}

void CpuBackend::kv_store(const kernels::KvStoreArgs& args) {
  check_kv(args.kv, args.layer, "kv_store");
  run(args.rows.rows, 2 * kMoveCost * args.kv.kv_heads * args.kv.head_dim,
      [&](int64_t begin, int64_t end) { table_.kv_store(args, begin, end); });
}

void CpuBackend::paged_attention(const kernels::PagedAttentionArgs& args) {
  check_attention(args);
  if (args.rows.rows == 0) return;
  attention_.make(args);
  const auto attend = [&](std::span<const kernels::AttentionTask> tasks, auto* kernel) {
    const auto count = static_cast<int64_t>(tasks.size());
    const auto body = [&](int64_t begin, int64_t end, int thread) {
      for (int64_t i = begin; i < end; ++i) {
        kernel(args, tasks[static_cast<std::size_t>(i)], attention_.scratch(thread));
      }
    };
    if (attention_.cost() < kInlineCost) {
      body(0, count, 0);
    } else {
      threads_.parallel_for(count, 1, body);
    }
  };
  attend(attention_.tasks(), table_.attention.attend);
  attend(attention_.merges(), table_.attention.merge);
}

void CpuBackend::silu_mul(const kernels::SiluMulArgs& args) {
  run(args.rows, kExpCost * args.cols,
      [&](int64_t begin, int64_t end) { table_.silu_mul(args, begin, end); });
}

void CpuBackend::gelu(const kernels::GeluArgs& args) {
  run(args.rows, kExpCost * args.cols,
      [&](int64_t begin, int64_t end) { table_.gelu(args, begin, end); });
}

void CpuBackend::gather_rows(const float* x, int64_t cols, const int32_t* row_ids,
                             int64_t num_row_ids, float* output) {
  const int64_t row_bytes = cols * static_cast<int64_t>(sizeof(float));
  run(num_row_ids, kMoveCost * cols, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) copy(output + i * cols, x + row_ids[i] * cols, row_bytes);
  });
}

void CpuBackend::choose(const float* logits, int64_t cols, std::span<const int32_t> rows,
                        std::span<const ChoiceRule> rules, std::span<Choice> choices) {
  choosing_.resize(static_cast<std::size_t>(threads_.num_threads()));
  const auto body = [&](int64_t begin, int64_t end, int thread) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      choices[i] =
          try_choose_token(rules[i], {logits + rows[i] * cols, static_cast<std::size_t>(cols)},
                           choosing_[static_cast<std::size_t>(thread)]);
    }
  };
  run_threads(static_cast<int64_t>(rows.size()), kExpCost * cols, body);
}

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(int num_threads, const kernels::KernelTable& table) {
  return std::make_unique<CpuBackend>(num_threads, table);
}

std::unique_ptr<Backend> create_cpu_backend(const BackendOptions& options) {
  return make_cpu_backend(options.num_threads, kernels::select_kernel_table());
}

}  // namespace chatglm
