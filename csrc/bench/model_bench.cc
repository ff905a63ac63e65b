#include "bench/model_bench.h"

#include <chrono>
#include <memory>

#include "backend/registry.h"
#include "bench/machine.h"
#include "bench/synthetic.h"
#include "kernels/cpu/kernel_table.h"

namespace chatglm {
namespace {

struct LoadedModel {
  std::string name;
  std::unique_ptr<Model> model;
};

LoadedModel load(const ModelBenchOptions& options, Backend& backend) {
  if (!options.synthetic.empty()) {
    const ModelConfig config = synthetic_config(options.synthetic);
    SyntheticTensorSource source(options.synthetic, options.dtype);
    return {"synthetic " + options.synthetic + " " + std::string(dtype_info(options.dtype).name),
            load_model(config, source, backend)};
  }
  const GgufFile file(options.model);
  GgufTensorSource source(file);
  return {options.model, load_model(read_model_config(file), source, backend)};
}

// The type of most of the weights.
DType weights_dtype(const ModelBenchOptions& options) {
  if (!options.synthetic.empty()) return options.dtype;
  const GgufFile file(options.model);
  const TensorView* const tensor = file.find_tensor("blk.0.ffn_down.weight");
  return tensor != nullptr ? tensor->dtype : DType::kF32;
}

}  // namespace

ModelReport run_model_bench(const ModelBenchOptions& options) {
  const kernels::KernelTable& table = kernels::select_kernel_table();
  const ProductPeak peak = product_peak(table, weights_dtype(options), options.measure.batch_rows);
  ModelReport report;
  report.peak_name = peak.name;
  for (const int64_t threads : options.threads) {
    const auto backend = create_backend("cpu", {.num_threads = static_cast<int>(threads)});
    const bool is_first = report.ceilings.empty();
    const auto start = std::chrono::steady_clock::now();
    const LoadedModel loaded = load(options, *backend);
    if (is_first) {
      report.load_seconds =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      report.machine = backend->description();
      report.isa = backend->isa();
      report.model = loaded.name;
    }
    const std::vector<Measurement> rows = measure(*loaded.model, *backend, options.measure);
    report.rows.insert(report.rows.end(), rows.begin(), rows.end());
    if (is_first) report.peak_rss_bytes = peak_rss_bytes();  // before the ceiling's own gigabyte
    const int num_threads = backend->num_threads();
    report.ceilings.push_back({.num_threads = num_threads,
                               .read_bytes_per_second = measure_read_bandwidth(num_threads),
                               .operations_per_second = measure_peak(num_threads, peak.loop)});
  }
  return report;
}

}  // namespace chatglm
