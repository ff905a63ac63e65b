#include "bench/report.h"

#include <algorithm>
#include <iomanip>
#include <ostream>
#include <sstream>

#include "bench/statistics.h"

namespace chatglm {
namespace {

// What the row's rate means for the machine: bytes (decode) or operations (prefill) a second, and
// the fraction of the measured ceiling.
struct Load {
  double per_second, fraction;
};

double share(double part, double whole) {
  return whole > 0.0 ? part / whole : 0.0;
}

Load machine_load(const ModelReport& report, const Measurement& row) {
  const auto ceiling =
      std::find_if(report.ceilings.begin(), report.ceilings.end(),
                   [&](const Ceiling& c) { return c.num_threads == row.num_threads; });
  const double rate = summarize(row.tokens_per_second).median;
  const double per_second = rate * (row.is_decode ? row.bytes_per_token : row.flops_per_token);
  return {per_second, share(per_second, row.is_decode ? ceiling->bytes_per_second
                                                      : ceiling->operations_per_second)};
}

std::string fixed(double value, int digits) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(digits) << value;
  return text.str();
}

std::string gibibytes(int64_t bytes) {
  return fixed(static_cast<double>(bytes) / (1 << 30), 2) + " GiB";
}

std::string json_string(std::string_view text) {
  std::ostringstream out;
  out << '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out << '\\' << c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out << "\\u" << std::hex << std::setw(4) << std::setfill('0') << static_cast<int>(c);
    } else {
      out << c;
    }
  }
  out << '"';
  return out.str();
}

}  // namespace

void write_markdown(std::ostream& out, const ModelReport& report) {
  out << report.model << "\n\n" << report.machine << "\n";
  for (const Ceiling& ceiling : report.ceilings) {
    out << "measured here ";
    if (report.device == "cpu") {
      out << "with " << ceiling.num_threads << (ceiling.num_threads == 1 ? " thread" : " threads");
    } else {
      out << "on " << report.device;
    }
    out << ": " << report.bandwidth_name << " bandwidth "
        << fixed(ceiling.bytes_per_second * 1e-9, 1) << " GB/s, " << report.peak_name << " peak "
        << fixed(ceiling.operations_per_second * 1e-12, 3) << " TOP/s\n";
  }
  out << "load " << fixed(report.load_seconds, 2) << " s, peak RSS "
      << gibibytes(report.peak_rss_bytes) << "\n\n"
      << "| test | tokens/s (median) | min | max | ISA | threads | KV | peak RSS | machine load | "
         "of the "
         "measured peak |\n"
      << "|---|---:|---:|---:|---|---:|---|---:|---:|---:|\n";
  for (const Measurement& row : report.rows) {
    const Summary rates = summarize(row.tokens_per_second);
    const Load load = machine_load(report, row);
    const std::string amount = row.is_decode
                                   ? fixed(row.bytes_per_token * 1e-9, 3) + " GB/token, " +
                                         fixed(load.per_second * 1e-9, 1) + " GB/s"
                                   : fixed(row.flops_per_token * 1e-9, 2) + " GOP/token, " +
                                         fixed(load.per_second * 1e-12, 3) + " TOP/s";
    out << "| " << row.test() << " | " << fixed(rates.median, 2) << " | " << fixed(rates.min, 2)
        << " | " << fixed(rates.max, 2) << " | " << report.isa << " | " << row.num_threads << " | "
        << dtype_info(row.kv_dtype).name << " | " << gibibytes(row.peak_rss_bytes) << " | "
        << amount << " | " << fixed(100.0 * load.fraction, 1) << " % |\n";
  }
}

void write_json(std::ostream& out, const ModelReport& report) {
  out << "{\n  \"model\": " << json_string(report.model)
      << ",\n  \"machine\": " << json_string(report.machine)
      << ",\n  \"device\": " << json_string(report.device)
      << ",\n  \"isa\": " << json_string(report.isa)
      << ",\n  \"load_seconds\": " << fixed(report.load_seconds, 4)
      << ",\n  \"peak_rss_bytes\": " << report.peak_rss_bytes
      << ",\n  \"peak\": " << json_string(report.peak_name) << ",\n  \"ceilings\": [";
  const char* separator = "";
  for (const Ceiling& ceiling : report.ceilings) {
    out << separator << "\n    {\"threads\": " << ceiling.num_threads << ", \""
        << report.bandwidth_name << "_bytes_per_second\": " << fixed(ceiling.bytes_per_second, 0)
        << ", \"operations_per_second\": " << fixed(ceiling.operations_per_second, 0) << "}";
    separator = ",";
  }
  out << "\n  ],\n  \"rows\": [";
  separator = "";
  for (const Measurement& row : report.rows) {
    const Summary rates = summarize(row.tokens_per_second);
    const Load load = machine_load(report, row);
    out << separator << "\n    {\"test\": " << json_string(row.test())
        << ", \"threads\": " << row.num_threads << ", \"sequences\": " << row.sequences
        << ", \"guesses\": " << row.guesses << ", \"depth\": " << row.depth
        << ", \"peak_rss_bytes\": " << row.peak_rss_bytes
        << ", \"kv_dtype\": " << json_string(dtype_info(row.kv_dtype).name)
        << ", \"tokens_per_second\": {\"median\": " << fixed(rates.median, 4)
        << ", \"min\": " << fixed(rates.min, 4) << ", \"max\": " << fixed(rates.max, 4)
        << ", \"repetitions\": " << row.tokens_per_second.size() << "}, "
        << (row.is_decode ? "\"bytes_per_token\": " : "\"flops_per_token\": ")
        << fixed(row.is_decode ? row.bytes_per_token : row.flops_per_token, 0) << ", "
        << (row.is_decode ? "\"bytes_per_second\": " : "\"flops_per_second\": ")
        << fixed(load.per_second, 0) << ", \"fraction_of_peak\": " << fixed(load.fraction, 4)
        << "}";
    separator = ",";
  }
  out << "\n  ]\n}\n";
}

void write_markdown(std::ostream& out, const KernelReport& report) {
  out << report.machine << "\n\n"
      << "| kernel | type | ISA | threads | time (median) | GB/s | of the read bandwidth | GOP/s | "
         "of the peak |\n"
      << "|---|---|---|---:|---:|---:|---:|---:|---:|\n";
  for (const KernelMeasurement& row : report.rows) {
    const double seconds = summarize(row.seconds).median;
    const double bytes = row.bytes / seconds, operations = row.operations / seconds;
    out << "| " << row.kernel << " | " << row.type << " | " << row.isa << " | "
        << row.ceiling.num_threads << " | " << fixed(seconds * 1e6, 1) << " µs | "
        << fixed(bytes * 1e-9, 1) << " | "
        << fixed(100.0 * share(bytes, row.ceiling.bytes_per_second), 0) << " % | "
        << fixed(operations * 1e-9, 1) << " | "
        << fixed(100.0 * share(operations, row.ceiling.operations_per_second), 0) << " % |\n";
  }
}

void write_json(std::ostream& out, const KernelReport& report) {
  out << "{\n  \"machine\": " << json_string(report.machine) << ",\n  \"rows\": [";
  const char* separator = "";
  for (const KernelMeasurement& row : report.rows) {
    const Summary seconds = summarize(row.seconds);
    out << separator << "\n    {\"kernel\": " << json_string(row.kernel)
        << ", \"type\": " << json_string(row.type) << ", \"isa\": " << json_string(row.isa)
        << ", \"threads\": " << row.ceiling.num_threads
        << ", \"seconds\": {\"median\": " << fixed(seconds.median, 9)
        << ", \"min\": " << fixed(seconds.min, 9) << ", \"max\": " << fixed(seconds.max, 9)
        << ", \"repetitions\": " << row.seconds.size() << "}, \"bytes\": " << fixed(row.bytes, 0)
        << ", \"operations\": " << fixed(row.operations, 0)
        << ", \"read_bytes_per_second\": " << fixed(row.ceiling.bytes_per_second, 0)
        << ", \"operations_per_second\": " << fixed(row.ceiling.operations_per_second, 0) << "}";
    separator = ",";
  }
  out << "\n  ]\n}\n";
}

}  // namespace chatglm
