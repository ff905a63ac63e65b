// Loads a model with each asked number of threads, and times it beside what these threads, or the
// device that they serve, can do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/machine.h"
#include "bench/measure.h"

namespace chatglm {

struct ModelBenchOptions {
  std::string model;                   // GGUF file; empty: synthetic
  std::string synthetic;               // name of a shape
  DType dtype = DType::kQ4_0;          // of synthetic weights
  std::string device = "auto";         // see create_backend
  std::vector<int64_t> threads = {0};  // 0: one for each performance core
  MeasureOptions measure;
};

struct ModelReport {
  std::string model;    // file or "synthetic chatglm3-6b q4_0"
  std::string machine;  // Backend::description()
  std::string device;
  std::string isa;
  double load_seconds = 0.0;  // of the first load
  int64_t peak_rss_bytes = 0;
  std::string bandwidth_name;     // "read" or "copy"
  std::string peak_name;          // of what the operations are
  std::vector<Ceiling> ceilings;  // one for each number of threads
  std::vector<Measurement> rows;
};

// Throws what loading the model throws, and what measure() throws.
ModelReport run_model_bench(const ModelBenchOptions& options);

}  // namespace chatglm
