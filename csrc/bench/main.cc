// chatglm-bench: how fast a model runs here, next to what this machine can do.
#include <chrono>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "backend/registry.h"
#include "base/error.h"
#include "base/option_parser.h"
#include "bench/machine.h"
#include "bench/measure.h"
#include "bench/report.h"
#include "bench/synthetic.h"
#include "kernels/cpu/kernel_table.h"

namespace chatglm {
namespace {

struct BenchArgs {
  std::string model;
  std::string synthetic;
  std::string dtype = "q4_0";
  std::string kv_dtype = "f16";
  std::string format = "md";
  int64_t prompt_tokens = 512;
  int64_t decode_tokens = 64;
  int64_t depth = 0;
  int64_t batch_rows = 512;
  int64_t num_threads = 0;
  int64_t repetitions = 5;
  bool help = false;
};

std::vector<std::string> dtype_names() {
  std::vector<std::string> names;
  for (const DTypeInfo& info : all_dtypes()) names.emplace_back(info.name);
  return names;
}

OptionParser make_parser(BenchArgs& args) {
  std::string shapes;
  for (const SyntheticShape& shape : all_synthetic_shapes()) {
    shapes += (shapes.empty() ? "" : ", ") + std::string(shape.name);
  }
  constexpr int64_t kMost = int64_t{1} << 24;
  OptionParser parser("chatglm-bench",
                      "Times prefill and decode of a model, of a file or made in memory, and "
                      "measures in the same\nrun what the machine can do.");
  parser.text({"-m", "--model"}, "FILE", "GGUF model file", args.model);
  parser.text({"--synthetic"}, "SHAPE", "make weights of a shape in memory: " + shapes,
              args.synthetic);
  parser.choice({"--dtype"}, dtype_names(), "type of the synthetic weights", args.dtype);
  parser.integer({"-p", "--prompt_tokens"}, "tokens of the prefill test, 0: none",
                 args.prompt_tokens, 0, kMost);
  parser.integer({"-n", "--decode_tokens"}, "tokens of the decode test, 0: none",
                 args.decode_tokens, 0, kMost);
  parser.integer({"-d", "--depth"}, "positions already in the cache", args.depth, 0, kMost);
  parser.integer({"--batch_rows"}, "rows of one prefill step", args.batch_rows, 1, 4096);
  parser.choice({"--kv_dtype"}, {"f32", "f16", "q8_0"}, "type of the KV cache", args.kv_dtype);
  parser.integer({"-t", "--threads"}, "threads, 0: one for each performance core", args.num_threads,
                 0, 1024);
  parser.integer({"-r", "--repetitions"}, "repetitions of each test", args.repetitions, 1, 1000);
  parser.choice({"-o", "--output"}, {"md", "json"}, "format of the result", args.format);
  parser.flag({"-h", "--help"}, "show this text", args.help);
  return parser;
}

struct LoadedModel {
  std::string name;
  std::unique_ptr<Model> model;
};

LoadedModel load(const BenchArgs& args, Backend& backend) {
  if (!args.synthetic.empty()) {
    const ModelConfig config = synthetic_config(args.synthetic);
    SyntheticTensorSource source(config, find_dtype(args.dtype)->dtype);
    return {"synthetic " + args.synthetic + " " + args.dtype, load_model(config, source, backend)};
  }
  const GgufFile file(args.model);
  GgufTensorSource source(file);
  return {args.model, load_model(read_model_config(file), source, backend)};
}

// The loop that bounds products with this model's weights: int8 for quantized ones, else f32.
bool uses_int8(const BenchArgs& args) {
  if (!args.synthetic.empty()) return find_dtype(args.dtype)->is_quantized();
  const GgufFile file(args.model);
  const TensorView* const tensor = file.find_tensor("blk.0.ffn_down.weight");
  return tensor != nullptr && dtype_info(tensor->dtype).is_quantized();
}

void run(const BenchArgs& args) {
  const auto backend = create_backend("cpu", {.num_threads = static_cast<int>(args.num_threads)});
  const kernels::KernelTable& table = kernels::select_kernel_table();
  const bool int8 = uses_int8(args);

  ReportHeader header;
  header.machine = backend->description();
  header.isa = backend->isa();
  header.num_threads = backend->num_threads();
  header.kv_dtype = args.kv_dtype;
  header.peak_name = int8 ? "int8 dot product" : "f32 multiply-add";

  const auto start = std::chrono::steady_clock::now();
  LoadedModel loaded = load(args, *backend);
  header.load_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  header.model = loaded.name;

  const std::vector<Measurement> rows = measure(*loaded.model, *backend,
                                                {.prompt_tokens = args.prompt_tokens,
                                                 .decode_tokens = args.decode_tokens,
                                                 .depth = args.depth,
                                                 .batch_rows = args.batch_rows,
                                                 .repetitions = static_cast<int>(args.repetitions),
                                                 .kv_dtype = find_dtype(args.kv_dtype)->dtype});
  header.peak_rss_bytes = peak_rss_bytes();  // before the ceiling's own gigabyte
  header.read_bytes_per_second = measure_read_bandwidth(header.num_threads);
  header.peak_operations_per_second =
      measure_peak(header.num_threads, int8 ? table.peak_int8 : table.peak_f32);
  (args.format == "json" ? write_json : write_markdown)(std::cout, header, rows);
}

int main_with(const std::vector<std::string>& arguments) {
  BenchArgs args;
  const OptionParser parser = make_parser(args);
  try {
    parser.parse(arguments);
    if (args.help) {
      std::cout << parser.help();
      return 0;
    }
    if (args.model.empty() == args.synthetic.empty()) {
      throw Error(ErrorKind::kInvalidArgument, "give either -m FILE or --synthetic SHAPE");
    }
    if (args.prompt_tokens + args.decode_tokens == 0) {
      throw Error(ErrorKind::kInvalidArgument, "-p and -n are both 0: nothing to measure");
    }
  } catch (const Error& error) {
    std::cerr << "chatglm-bench: " << error.what() << "\ntry: chatglm-bench --help\n";
    return 2;
  }
  try {
    run(args);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "chatglm-bench: " << error.what() << '\n';
    return 1;
  }
}

}  // namespace
}  // namespace chatglm

int main(int argc, char** argv) {
  return chatglm::main_with(std::vector<std::string>(argv + 1, argv + argc));
}
