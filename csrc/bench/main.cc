// chatglm-bench: how fast a model, or a single kernel, runs here, next to what this machine can do.
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/option_parser.h"
#include "bench/kernel_bench.h"
#include "bench/model_bench.h"
#include "bench/report.h"
#include "bench/synthetic.h"

namespace chatglm {
namespace {

constexpr int64_t kMostThreads = 1024, kMostRepetitions = 1000;

std::vector<std::string> dtype_names() {
  std::vector<std::string> names;
  for (const DTypeInfo& info : all_dtypes()) {
    if (info.encode != nullptr) names.emplace_back(info.name);
  }
  return names;
}

std::vector<DType> dtypes(const std::vector<std::string>& names) {
  std::vector<DType> found;
  for (const std::string& name : names) found.push_back(find_dtype(name)->dtype);
  return found;
}

// What both commands share.
struct CommonArgs {
  std::vector<int64_t> threads = {0};
  int64_t repetitions = 5;
  std::string format = "md";
  bool help = false;

  void declare(OptionParser& parser) {
    parser.integers({"-t", "--threads"}, "threads, 0: one for each performance core", threads, 0,
                    kMostThreads);
    parser.integer({"-r", "--repetitions"}, "repetitions of each test", repetitions, 1,
                   kMostRepetitions);
    parser.choice({"-o", "--output"}, {"md", "json"}, "format of the result", format);
    parser.flag({"-h", "--help"}, "show this text", help);
  }

  template <typename Report>
  void write(const Report& report) const {
    if (format == "json") {
      write_json(std::cout, report);
    } else {
      write_markdown(std::cout, report);
    }
  }
};

// A command is parsed first (Error: wrong usage), then run (Error: run-time error).
class ModelCommand {
 public:
  OptionParser parser() {
    std::string shapes;
    for (const SyntheticShape& shape : all_synthetic_shapes()) {
      shapes += (shapes.empty() ? "" : ", ") + std::string(shape.name);
    }
    constexpr int64_t kMost = int64_t{1} << 24;
    MeasureOptions& measure = options_.measure;
    OptionParser parser("chatglm-bench [kernels]",
                        "Times prefill and decode of a model, of a file or made in memory, and "
                        "measures in the same\nrun what the machine can do. chatglm-bench kernels: "
                        "single operations (--help tells).");
    parser.text({"-m", "--model"}, "FILE", "GGUF model file", options_.model);
    parser.text({"--synthetic"}, "SHAPE", "make weights of a shape in memory: " + shapes,
                options_.synthetic);
    parser.choice({"--dtype"}, dtype_names(), "type of the synthetic weights", dtype_);
    parser.text({"--device"}, "NAME", "auto (a GPU, else the CPU), cpu, cuda, cuda:1 ...",
                options_.device);
    parser.integer({"-p", "--prompt_tokens"}, "tokens of the prefill test, 0: none",
                   measure.prompt_tokens, 0, kMost);
    parser.integer({"-n", "--decode_tokens"}, "tokens of the decode test, 0: none",
                   measure.decode_tokens, 0, kMost);
    parser.integers({"-d", "--depth"}, "positions already in the cache", measure.depths, 0, kMost);
    parser.integers({"-b", "--batch"}, "sequences that decode together", measure.batches, 1, 1024);
    parser.integers({"--speculative"},
                    "guesses of each sequence that a decode step verifies, 0: none",
                    measure.guesses, 0, 64);
    parser.optional_number({"--acceptance"}, "share of these guesses that are right (default: 0.8)",
                           acceptance_, 0, 1);
    parser.integer({"--batch_rows"}, "rows of one prefill step", measure.batch_rows, 1, 4096);
    parser.choices({"--kv_dtype"}, {"f32", "f16", "q8_0"}, "type of the KV cache", kv_dtypes_);
    common_.declare(parser);
    return parser;
  }

  void check() const {
    if (options_.model.empty() == options_.synthetic.empty()) {
      throw Error(ErrorKind::kInvalidArgument, "give either -m FILE or --synthetic SHAPE");
    }
    if (options_.measure.prompt_tokens + options_.measure.decode_tokens == 0) {
      throw Error(ErrorKind::kInvalidArgument, "-p and -n are both 0: nothing to measure");
    }
  }

  void run() {
    options_.dtype = find_dtype(dtype_)->dtype;
    options_.threads = common_.threads;
    options_.measure.kv_dtypes = dtypes(kv_dtypes_);
    options_.measure.acceptance = acceptance_.value_or(options_.measure.acceptance);
    options_.measure.repetitions = static_cast<int>(common_.repetitions);
    common_.write(run_model_bench(options_));
  }

  bool help() const { return common_.help; }

 private:
  CommonArgs common_;
  ModelBenchOptions options_;
  std::string dtype_ = "q4_0";
  std::vector<std::string> kv_dtypes_ = {"f16"};
  std::optional<double> acceptance_;
};

class KernelCommand {
 public:
  OptionParser parser() {
    OptionParser parser("chatglm-bench kernels",
                        "Times single operations on shapes of a 6B model, with every instruction "
                        "set of this CPU, and\nmeasures in the same run what the machine can do.");
    parser.choices({"--dtype"}, dtype_names(), "types of the weights", dtypes_);
    parser.choices({"--isa"}, supported_isas(), "instruction sets", isas_);
    common_.declare(parser);
    return parser;
  }

  void check() const {}

  void run() {
    common_.write(run_kernel_bench({.isas = isas_,
                                    .dtypes = dtypes(dtypes_),
                                    .threads = common_.threads,
                                    .repetitions = static_cast<int>(common_.repetitions)}));
  }

  bool help() const { return common_.help; }

 private:
  CommonArgs common_;
  std::vector<std::string> dtypes_ = {"f32", "f16", "bf16", "q8_0", "q4_0"};
  std::vector<std::string> isas_ = supported_isas();
};

template <typename Command>
int main_with(const std::vector<std::string>& arguments) {
  Command command;
  const OptionParser parser = command.parser();
  try {
    parser.parse(arguments);
    if (command.help()) {
      std::cout << parser.help();
      return 0;
    }
    command.check();
  } catch (const Error& error) {
    std::cerr << "chatglm-bench: " << error.what() << "\ntry: chatglm-bench --help\n";
    return 2;
  }
  try {
    command.run();
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "chatglm-bench: " << error.what() << '\n';
    return 1;
  }
}

}  // namespace
}  // namespace chatglm

int main(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  if (!arguments.empty() && arguments[0] == "kernels") {
    arguments.erase(arguments.begin());
    return chatglm::main_with<chatglm::KernelCommand>(arguments);
  }
  return chatglm::main_with<chatglm::ModelCommand>(arguments);
}
