// Prints measurements beside the machine's ceilings, as a Markdown table or as JSON.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "bench/measure.h"

namespace chatglm {

struct ReportHeader {
  std::string model;    // file or "synthetic chatglm3-6b q4_0"
  std::string machine;  // Backend::description()
  std::string isa;
  int num_threads = 0;
  std::string kv_dtype;
  double load_seconds = 0.0;
  double read_bytes_per_second = 0.0;       // measured, same threads
  double peak_operations_per_second = 0.0;  // measured, same threads and ISA
  std::string peak_name;                    // "int8 dot product" or "f32 multiply-add"
  int64_t peak_rss_bytes = 0;
};

void write_markdown(std::ostream& out, const ReportHeader& header,
                    const std::vector<Measurement>& rows);
void write_json(std::ostream& out, const ReportHeader& header,
                const std::vector<Measurement>& rows);

}  // namespace chatglm
