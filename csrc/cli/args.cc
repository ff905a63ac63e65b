#include "cli/args.h"

#include <random>

#include "base/error.h"
#include "base/option_parser.h"
#include "base/thread_pool.h"
#include "cli/console.h"

namespace chatglm::cli {
namespace {

OptionParser make_parser(Args& args) {
  OptionParser parser("chatglm-cli",
                      "Chats with a model of the GLM family. The answer goes to standard output, "
                      "everything else to\nstandard error. Exit codes: 0 done, 1 failed, 2 wrong "
                      "usage.");
  parser.text({"-m", "--model"}, "FILE", "GGUF model file; none: the bundled demo model",
              args.model);
  parser.repeated_text({"--lora"}, "[NAME=]FILE",
                       "a LoRA adapter in GGUF beside the model; may be given several times",
                       args.lora);
  parser.optional_text(
      {"--adapter"}, "NAME",
      "the LoRA adapter that answers (default: the one of --lora; of several none)", args.adapter);
  parser.optional_text({"-p", "--prompt"}, "TEXT",
                       "the prompt; none: standard input, if that is no terminal", args.prompt);
  parser.optional_text({"--pp", "--prompt_path"}, "FILE", "read the prompt from a file",
                       args.prompt_file);
  parser.optional_text({"-s", "--system"}, "TEXT", "the system message", args.system);
  parser.optional_text({"--sp", "--system_path"}, "FILE", "read the system message from a file",
                       args.system_file);
  parser.flag({"-i", "--interactive"}, "hold a conversation; /help says how", args.interactive);
  parser.choice({"--mode"}, {"chat", "generate"}, "converse, or continue a text", args.mode);
  parser.text({"--language"}, "NAME",
              "with --mode generate and CodeGeeX2: the programming language to write",
              args.language);
  parser.flag({"--sync"}, "print the answer when it is complete, not as it is generated",
              args.sync);

  parser.optional_integer({"-l", "--max_length"},
                          "tokens of prompt and answer together (default: the model's)",
                          args.max_length, 1, INT64_MAX);
  parser.optional_integer({"--max_new_tokens"},
                          "tokens of the answer (default: what max_length leaves)",
                          args.max_new_tokens, 1, INT64_MAX);
  parser.optional_integer({"-c", "--max_context_length"},
                          "tokens of the longest prompt accepted (default: max_length)",
                          args.max_context_length, 1, INT64_MAX);
  parser.optional_integer({"--top_k"},
                          "draw among the N likeliest tokens (default: 0, all of them)", args.top_k,
                          0, INT32_MAX);
  parser.optional_number({"--top_p"},
                         "draw among the likeliest, up to this probability (mostly 0.8)",
                         args.top_p, 0, 1);
  parser.optional_number({"--min_p"},
                         "draw among those at least this likely, relative to the first", args.min_p,
                         0, 1);
  parser.optional_number({"--temp", "--temperature"},
                         "0 always takes the likeliest token (default: mostly 0.8)",
                         args.temperature, 0, 1000);
  parser.optional_number({"--repeat_penalty", "--repetition_penalty"},
                         "above 1: fewer tokens that were there before (default: 1)",
                         args.repetition_penalty, 0, 1000);
  parser.optional_integer({"--seed"}, "the same seed gives the same answer (default: a new one)",
                          args.seed, 0, INT64_MAX);

  parser.optional_integer({"-t", "--threads"}, "default: one for each performance core",
                          args.num_threads, 1, ThreadPool::kMaxThreads);
  parser.text({"--device"}, "NAME",
              "where to compute: auto (a GPU, else the CPU), cpu, cuda, cuda:1, cuda:0,1 ...",
              args.device);
  parser.optional_integer({"--gpu_layers"},
                          "so many of the last layers on the GPU, the rest on the CPU (default: "
                          "all)",
                          args.gpu_layers, 0, INT64_MAX);
  parser.choice({"--kv_dtype"}, {"f32", "f16", "q8_0"}, "storage type of the context",
                args.kv_dtype);
  parser.choice({"--speculative"}, {"auto", "off", "lookup"},
                "guess tokens and verify several in one step: the answer is the same, sooner",
                args.speculative);
  parser.text({"--draft_model"}, "FILE",
              "a smaller GGUF model of the same vocabulary that guesses (default: what the text "
              "so far repeats)",
              args.draft_model);
  parser.flag({"-v", "--verbose"}, "print what is loaded and how long it takes", args.verbose);
  parser.flag({"--version"}, "print the version", args.version);
  parser.flag({"-h", "--help"}, "print this text", args.help);
  return parser;
}

[[noreturn]] void usage_error(const std::string& message) {
  throw Error(ErrorKind::kInvalidArgument, message);
}

void check_combination(const Args& args) {
  if (args.prompt && args.prompt_file) usage_error("give either --prompt or --pp, not both");
  if (args.system && args.system_file) usage_error("give either --system or --sp, not both");
  if (args.adapter && args.adapters().empty()) {
    usage_error("--adapter chooses among adapters that --lora loads, but there is none");
  }
  if (!args.draft_model.empty() && args.speculative != "auto") {
    usage_error("--draft_model is used with --speculative auto, found " + args.speculative);
  }
  if (!args.chat() && (args.system || args.system_file)) {
    usage_error("a system message belongs to --mode chat, found --mode generate");
  }
  if (args.chat() && !args.language.empty()) {
    usage_error("--language belongs to --mode generate, found --mode chat");
  }
}

}  // namespace

std::vector<NamedAdapter> Args::adapters() const {
  std::vector<NamedAdapter> named;
  for (const std::string& value : lora) {
    const std::size_t equals = value.find('=');
    if (equals != std::string::npos) {
      named.push_back({value.substr(0, equals), path_from_utf8(value.substr(equals + 1))});
    } else {
      const std::filesystem::path file = path_from_utf8(value);
      const std::u8string stem = file.stem().u8string();
      named.push_back({{stem.begin(), stem.end()}, file});
    }
  }
  return named;
}

std::string Args::chosen_adapter() const {
  if (adapter) return *adapter;
  return lora.size() == 1 ? adapters().front().name : "";
}

SamplingParams Args::sampling(const SamplingParams& recommended) const {
  SamplingParams params = recommended;
  if (top_k) params.top_k = static_cast<int32_t>(*top_k);
  if (top_p) params.top_p = *top_p;
  if (min_p) params.min_p = static_cast<float>(*min_p);
  if (repetition_penalty) {
    params.repetition_penalty = static_cast<float>(*repetition_penalty);
  }
  if (temperature) {
    params.do_sample = *temperature > 0;
    if (params.do_sample) params.temperature = static_cast<float>(*temperature);
  }
  params.seed = seed ? static_cast<uint64_t>(*seed) : std::random_device{}();
  params.validate();
  return params;
}

Args parse_args(const std::vector<std::string>& arguments) {
  Args args;
  make_parser(args).parse(arguments);
  if (args.help || args.version) return args;
  check_combination(args);
  // Ranges with an open end (top_p above 0) are told before a model is loaded, too.
  args.sampling(SamplingParams{});
  return args;
}

std::string help_text() {
  Args defaults;
  return make_parser(defaults).help();
}

}  // namespace chatglm::cli
