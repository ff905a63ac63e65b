#include "bench/model_bench.h"

#include <chrono>
#include <memory>
#include <optional>

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

// Adds what the backend can do at most.
void add_ceiling(const ModelBenchOptions& options, Backend& backend, ModelReport& report) {
  const int num_threads = backend.num_threads();
  if (const std::optional<DeviceCeiling> ceiling = backend.measure_ceiling()) {
    report.bandwidth_name = "copy";
    report.peak_name = ceiling->operations;
    report.ceilings.push_back(
        {num_threads, ceiling->copy_bytes_per_second, ceiling->operations_per_second});
    return;
  }
  const kernels::KernelTable& table = kernels::select_kernel_table();
  const ProductPeak peak = product_peak(table, weights_dtype(options), options.measure.batch_rows);
  report.bandwidth_name = "read";
  report.peak_name = peak.name;
  report.ceilings.push_back(
      {num_threads, measure_read_bandwidth(num_threads), measure_peak(num_threads, peak.loop)});
}

}  // namespace

ModelReport run_model_bench(const ModelBenchOptions& options) {
  ModelReport report;
  for (const int64_t threads : options.threads) {
    const auto backend = create_backend(options.device, {.num_threads = static_cast<int>(threads)});
    const bool is_first = report.ceilings.empty();
    const auto start = std::chrono::steady_clock::now();
    const LoadedModel loaded = load(options, *backend);
    if (is_first) {
      report.load_seconds =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      report.device = backend->device();
      report.isa = backend->isa();
      report.model = loaded.name;
    }
    const std::vector<Measurement> rows = measure(*loaded.model, *backend, options.measure);
    report.rows.insert(report.rows.end(), rows.begin(), rows.end());
    if (is_first) {
      report.machine = backend->description();   // with what was found out since
      report.peak_rss_bytes = peak_rss_bytes();  // before the ceiling's own gigabyte
    }
    add_ceiling(options, *backend, report);
  }
  return report;
}

}  // namespace chatglm
