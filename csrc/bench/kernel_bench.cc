#include "bench/kernel_bench.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <numeric>
#include <random>

#include "backend/cpu_backend.h"
#include "backend/cpu_brand.h"
#include "base/thread_pool.h"
#include "kv/paged_kv.h"

namespace chatglm {
namespace {

constexpr int64_t kHidden = 4096;
constexpr int64_t kHeads = 32, kKvHeads = 2, kHeadDim = 128;
constexpr int64_t kChunkRows = 512;
// Positions in all layers, which are walked round and round, so that the cache is read from memory,
// as in a model.
constexpr int64_t kCachedTokens = int64_t{1} << 16;
// More than any last-level cache.
constexpr int64_t kStreamedBytes = int64_t{1} << 28;

// All operations with one kernel table and one number of threads.
class KernelBench {
 public:
  KernelBench(const kernels::KernelTable& table, int threads, double read_bytes_per_second,
              int repetitions, std::vector<KernelMeasurement>& results)
      : backend_(make_cpu_backend(threads, table)),
        read_bytes_per_second_(read_bytes_per_second),
        table_(table),
        repetitions_(repetitions),
        results_(results) {
    backend_->reserve(kChunkRows, kHidden);
  }

  void linear(DType dtype) {
    const int64_t row_bytes = dtype_info(dtype).row_bytes(kHidden);
    product(dtype, 1, kStreamedBytes / row_bytes / 64 * 64);
    product(dtype, 8, kStreamedBytes / row_bytes / 64 * 64);
    product(dtype, kChunkRows, kHidden);
  }

  void attention(DType kv_dtype) {
    attend("attention 1 @ d4096", kv_dtype, {.depth = 4096});
    attend("attention 1 @ d32768", kv_dtype, {.depth = 32768});
    attend("attention 8 seqs @ d1024", kv_dtype, {.depth = 1024, .sequences = 8});
    attend("attention 512", kv_dtype, {.depth = kChunkRows, .rows = kChunkRows});
    attend("attention 64 @ d7680", kv_dtype, {.depth = 7680 + 64, .rows = 64});
  }

  void elementwise() {
    const int64_t count = kChunkRows * kHidden;
    const auto x = random_floats(2 * count);
    const auto y = random_floats(count);
    const double bytes = static_cast<double>(count) * sizeof(float);
    time("rms_norm 512 x 4096", "f32", peak(table_.peak_f32), 2 * bytes, 0.0, [&] {
      backend_->rms_norm({.x = x->as<float>(),
                          .weight = x->as<float>(),
                          .y = y->as<float>(),
                          .rows = kChunkRows,
                          .cols = kHidden,
                          .epsilon = 1e-5F});
    });
    time("silu_mul 512 x 4096", "f32", peak(table_.peak_f32), 3 * bytes, 0.0, [&] {
      backend_->silu_mul(
          {.gate_up = x->as<float>(), .y = y->as<float>(), .rows = kChunkRows, .cols = kHidden});
    });
  }

 private:
  // The last rows of each sequence: `rows` of `sequences` that are `depth` long.
  struct AttentionShape {
    int64_t depth;
    int64_t rows = 1;
    int64_t sequences = 1;
  };

  // The sequences' pages lie one after the other.
  class Rows {
   public:
    explicit Rows(const AttentionShape& shape)
        : pages_((shape.depth + PagedKv::kPageTokens - 1) / PagedKv::kPageTokens),
          tokens_(static_cast<std::size_t>(shape.rows * shape.sequences), 0),
          block_table_(static_cast<std::size_t>(pages_ * shape.sequences)),
          layouts_(static_cast<std::size_t>(shape.sequences)) {
      for (int64_t sequence = 0; sequence < shape.sequences; ++sequence) {
        for (int64_t slot = shape.depth - shape.rows; slot < shape.depth; ++slot) {
          positions_.push_back(static_cast<int32_t>(slot));
          visible_.push_back(static_cast<int32_t>(slot + 1));
          sequence_.push_back(static_cast<int32_t>(sequence));
        }
      }
      std::iota(block_table_.begin(), block_table_.end(), 0);
    }
    Batch batch() const {
      return {.token_ids = tokens_,
              .positions = positions_,
              .slots = positions_,
              .visible = visible_,
              .sequence = sequence_,
              .layouts = layouts_,
              .block_table = block_table_,
              .block_table_stride = pages_,
              .logit_rows = {}};
    }
    int64_t count() const { return static_cast<int64_t>(tokens_.size()); }
    int64_t num_pages() const { return static_cast<int64_t>(block_table_.size()); }
    int64_t num_scores() const {  // of one head
      return std::accumulate(visible_.begin(), visible_.end(), int64_t{0});
    }

   private:
    int64_t pages_;  // of a sequence
    std::vector<int32_t> tokens_, positions_, visible_, sequence_;
    std::vector<int32_t> block_table_;   // (sequences, pages_)
    std::vector<PromptLayout> layouts_;  // causal
  };

  std::unique_ptr<Buffer> random_floats(int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = static_cast<float>(generator_() >> 8) * 0x1p-23F - 1.0F;
    auto buffer = backend_->allocate(count * static_cast<int64_t>(sizeof(float)));
    backend_->upload(buffer->data(), values.data(), buffer->size_bytes());
    return buffer;
  }

  void product(DType dtype, int64_t rows, int64_t outputs) {
    const DTypeInfo& info = dtype_info(dtype);
    const auto row_bytes = static_cast<std::size_t>(info.row_bytes(kHidden));
    std::vector<float> values(static_cast<std::size_t>(kHidden));
    for (float& value : values) value = static_cast<float>(generator_() >> 8) * 0x1p-29F - 0.015F;
    std::vector<std::byte> data(row_bytes * static_cast<std::size_t>(outputs));
    info.encode(values.data(), data.data(), kHidden);
    for (std::size_t at = row_bytes; at < data.size(); at += row_bytes) {
      std::copy_n(data.data(), row_bytes, data.data() + at);
    }
    const auto weight = backend_->load_matrix(
        {.dtype = dtype, .rows = outputs, .cols = kHidden, .data = data.data()});
    std::vector<std::byte>().swap(data);
    const auto x = random_floats(rows * kHidden);
    const auto y = random_floats(rows * outputs);
    time("linear " + std::to_string(rows) + " x 4096", info.name,
         peak(product_peak(table_, dtype, rows).loop), static_cast<double>(weight->size_bytes()),
         2.0 * static_cast<double>(rows * outputs * kHidden),
         [&] { backend_->linear(*weight, nullptr, x->as<float>(), rows, y->as<float>()); });
  }

  void attend(const std::string& name, DType kv_dtype, const AttentionShape& shape) {
    const Rows rows(shape);
    const int64_t tokens = shape.depth * shape.sequences;
    const int64_t layers = std::max<int64_t>(1, kCachedTokens / tokens);
    const KvShape kv_shape{layers, kKvHeads, kHeadDim, kv_dtype};
    PagedKv kv(*backend_, kv_shape, rows.num_pages() * PagedKv::page_bytes(kv_shape));
    kv.grow(rows.num_pages());
    const auto numbers = random_floats(kHeadDim);
    const DTypeInfo& info = dtype_info(kv_dtype);
    std::vector<std::byte> stored(static_cast<std::size_t>(info.row_bytes(kHeadDim)));
    info.encode(numbers->as<float>(), stored.data(), kHeadDim);
    for (int64_t page = 0; page < rows.num_pages(); ++page) {
      std::byte* const bytes = kv.view().pages[page];
      for (std::size_t at = 0; at < static_cast<std::size_t>(kv.page_bytes()); at += stored.size())
        std::copy(stored.begin(), stored.end(), bytes + at);
    }

    const StagedBatch staged = backend_->stage(rows.batch());
    const auto query = random_floats(rows.count() * kHeads * kHeadDim);
    const auto output = random_floats(rows.count() * kHeads * kHeadDim);
    // Each task of many rows reads the cache again: what it costs is told by operations alone.
    const double bytes = shape.rows > 1 ? 0.0
                                        : 2.0 * static_cast<double>(tokens * kKvHeads) *
                                              static_cast<double>(stored.size());
    int64_t layer = 0;
    time(name, info.name, peak(table_.peak_f32), bytes,
         4.0 * static_cast<double>(kHeads * kHeadDim * rows.num_scores()), [&] {
           backend_->paged_attention({.query = query->as<float>(),
                                      .query_stride = kHeads * kHeadDim,
                                      .output = output->as<float>(),
                                      .heads = kHeads,
                                      .layer = layer,
                                      .scale = 0.088F,
                                      .kv = kv.view(),
                                      .rows = staged.rows});
           layer = (layer + 1) % layers;
         });
  }

  double peak(kernels::PeakLoop loop) {
    const auto [place, is_new] = peaks_.try_emplace(loop);
    if (is_new) place->second = measure_peak(backend_->num_threads(), loop);
    return place->second;
  }

  // Repetitions of at least 30 ms each, after one that warms up and tells how long a call takes.
  void time(std::string name, std::string_view type, double most_operations, double bytes,
            double operations, const std::function<void()>& call) {
    const auto run = [&](int64_t calls) {
      const auto start = std::chrono::steady_clock::now();
      for (int64_t i = 0; i < calls; ++i) call();
      return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    call();
    const int64_t calls = std::clamp<int64_t>(static_cast<int64_t>(0.03 / run(1)), 1, 10'000);
    KernelMeasurement row{
        .kernel = std::move(name),
        .type = type,
        .isa = backend_->isa(),
        .ceiling = {backend_->num_threads(), read_bytes_per_second_, most_operations},
        .seconds = {},
        .bytes = bytes,
        .operations = operations};
    for (int repetition = 0; repetition < repetitions_; ++repetition) {
      row.seconds.push_back(run(calls) / static_cast<double>(calls));
    }
    results_.push_back(std::move(row));
  }

  const std::unique_ptr<Backend> backend_;
  const double read_bytes_per_second_;
  const kernels::KernelTable& table_;
  std::map<kernels::PeakLoop, double> peaks_;  // those measured so far
  const int repetitions_;
  std::vector<KernelMeasurement>& results_;
  std::mt19937 generator_{20231027};  // NOLINT: a fixed seed on purpose
};

}  // namespace

std::vector<std::string> supported_isas() {
  std::vector<std::string> names;
  for (const kernels::KernelTable* table : kernels::all_kernel_tables()) {
    if (table->supported()) names.emplace_back(table->name);
  }
  return names;
}

KernelReport run_kernel_bench(const KernelBenchOptions& options) {
  KernelReport report{.machine = cpu_brand(), .rows = {}};
  for (const int64_t asked : options.threads) {
    const int threads = asked > 0 ? static_cast<int>(asked) : default_num_threads();
    const double read_bytes_per_second = measure_read_bandwidth(threads);
    for (const kernels::KernelTable* table : kernels::all_kernel_tables()) {
      if (!table->supported()) continue;
      if (!options.isas.empty() &&
          std::find(options.isas.begin(), options.isas.end(), table->name) == options.isas.end()) {
        continue;
      }
      KernelBench bench(*table, threads, read_bytes_per_second, options.repetitions, report.rows);
      for (const DType dtype : options.dtypes) bench.linear(dtype);
      for (const DType dtype : {DType::kF32, DType::kF16, DType::kQ8_0}) bench.attention(dtype);
      bench.elementwise();
    }
  }
  return report;
}

}  // namespace chatglm
