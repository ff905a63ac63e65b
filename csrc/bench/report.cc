#include "bench/report.h"

#include <algorithm>
#include <iomanip>
#include <ostream>
#include <sstream>

namespace chatglm {
namespace {

struct Summary {
  double median, min, max;
};

Summary summarize(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[middle] : 0.5 * (values[middle - 1] + values[middle]);
  return {median, values.front(), values.back()};
}

// What the row's rate means for the machine: bytes (decode) or operations (prefill) a second, and
// the fraction of the measured ceiling.
struct Load {
  double per_second, fraction;
};

Load machine_load(const ReportHeader& header, const Measurement& row) {
  const double rate = summarize(row.tokens_per_second).median;
  const double per_second = rate * (row.is_decode ? row.bytes_per_token : row.flops_per_token);
  const double ceiling =
      row.is_decode ? header.read_bytes_per_second : header.peak_operations_per_second;
  return {per_second, ceiling > 0.0 ? per_second / ceiling : 0.0};
}

std::string fixed(double value, int digits) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(digits) << value;
  return text.str();
}

std::string json_string(const std::string& text) {
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

void write_markdown(std::ostream& out, const ReportHeader& header,
                    const std::vector<Measurement>& rows) {
  out << header.model << "\n\n"
      << header.machine << "\n"
      << "measured here: read bandwidth " << fixed(header.read_bytes_per_second * 1e-9, 1)
      << " GB/s, " << header.peak_name << " peak "
      << fixed(header.peak_operations_per_second * 1e-12, 3) << " TOP/s\n"
      << "load " << fixed(header.load_seconds, 2) << " s, peak RSS "
      << fixed(static_cast<double>(header.peak_rss_bytes) / (1 << 30), 2) << " GiB\n\n"
      << "| test | tokens/s (median) | min | max | ISA | threads | KV | machine load | of the "
         "measured peak |\n"
      << "|---|---:|---:|---:|---|---:|---|---:|---:|\n";
  for (const Measurement& row : rows) {
    const Summary rates = summarize(row.tokens_per_second);
    const Load load = machine_load(header, row);
    const std::string amount = row.is_decode
                                   ? fixed(row.bytes_per_token * 1e-9, 3) + " GB/token, " +
                                         fixed(load.per_second * 1e-9, 1) + " GB/s"
                                   : fixed(row.flops_per_token * 1e-9, 2) + " GOP/token, " +
                                         fixed(load.per_second * 1e-12, 3) + " TOP/s";
    out << "| " << row.test << " | " << fixed(rates.median, 2) << " | " << fixed(rates.min, 2)
        << " | " << fixed(rates.max, 2) << " | " << header.isa << " | " << header.num_threads
        << " | " << header.kv_dtype << " | " << amount << " | " << fixed(100.0 * load.fraction, 1)
        << " % |\n";
  }
}

void write_json(std::ostream& out, const ReportHeader& header,
                const std::vector<Measurement>& rows) {
  out << "{\n  \"model\": " << json_string(header.model)
      << ",\n  \"machine\": " << json_string(header.machine)
      << ",\n  \"isa\": " << json_string(header.isa) << ",\n  \"threads\": " << header.num_threads
      << ",\n  \"kv_dtype\": " << json_string(header.kv_dtype)
      << ",\n  \"load_seconds\": " << fixed(header.load_seconds, 4)
      << ",\n  \"peak_rss_bytes\": " << header.peak_rss_bytes
      << ",\n  \"read_bytes_per_second\": " << fixed(header.read_bytes_per_second, 0)
      << ",\n  \"peak\": " << json_string(header.peak_name)
      << ",\n  \"peak_operations_per_second\": " << fixed(header.peak_operations_per_second, 0)
      << ",\n  \"rows\": [";
  for (std::size_t index = 0; index < rows.size(); ++index) {
    const Measurement& row = rows[index];
    const Summary rates = summarize(row.tokens_per_second);
    const Load load = machine_load(header, row);
    out << (index == 0 ? "" : ",") << "\n    {\"test\": " << json_string(row.test)
        << ", \"tokens_per_second\": {\"median\": " << fixed(rates.median, 4)
        << ", \"min\": " << fixed(rates.min, 4) << ", \"max\": " << fixed(rates.max, 4)
        << ", \"repetitions\": " << row.tokens_per_second.size() << "}, "
        << (row.is_decode ? "\"bytes_per_token\": " : "\"flops_per_token\": ")
        << fixed(row.is_decode ? row.bytes_per_token : row.flops_per_token, 0) << ", "
        << (row.is_decode ? "\"bytes_per_second\": " : "\"flops_per_second\": ")
        << fixed(load.per_second, 0) << ", \"fraction_of_peak\": " << fixed(load.fraction, 4)
        << "}";
  }
  out << "\n  ]\n}\n";
}

}  // namespace chatglm
